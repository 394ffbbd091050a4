"""The errors of the hub, one tree.

HubError
├── ConfigError     stop: a person must change a file (names file, key, what was found, what would be right)
│   └── RowError         the same about one device of the table of devices
├── LinkError       the link as a whole is down; the supervisor opens it again after a pause
├── DeviceError     this device, this time; its neighbours go on
├── BadValue        this point of this reading; the other points go on
├── Rejected        the other side will never take this; sending it again is pointless
├── SinkBusy        the other side asks for patience, and may say how long
└── StoreError      nothing was stored; the caller must not acknowledge, and may try again
    └── StoreDamaged    the file on disk cannot be trusted; a person must look before the hub starts
"""

from __future__ import annotations

_SHOWN_MAX = 400


class HubError(Exception):
    """Root of every error this project raises on purpose."""


class ConfigError(HubError):
    """A mistake in what a person wrote, with the place and the remedy.

    `file` and `key` name the place (`key` may be a line, a column or a dotted key), `found` is what stood
    there and `hint` what would be right. The text shows all four; of a place or a find that is longer than
    anybody reads, the beginning.
    """

    def __init__(self, *, file: str, key: str, found: str, hint: str) -> None:
        self.file = file
        self.key = _short(key)
        self.found = _short(found)
        self.hint = hint
        super().__init__(f"{file}: {self.key}: {self.found}; {hint}")


class RowError(ConfigError):
    """A mistake about one device: its row of the table of devices, by `line` or `device`, and the `column`.

    `also` is the line that already says the same, where that is the mistake. A driver, which knows no
    lines, names the device.
    """

    def __init__(
        self,
        *,
        file: str,
        key: str,
        found: str,
        hint: str,
        column: str,
        line: int = 0,
        device: str = "",
        also: int = 0,
    ) -> None:
        super().__init__(file=file, key=key, found=found, hint=hint)
        self.column = column
        self.line = line
        self.device = device
        self.also = also


class ConfigErrors(ConfigError):
    """Every mistake found in one reading of the configuration, so that a person mends them in one go."""

    errors: tuple[ConfigError, ...]

    def __init__(self, errors: tuple[ConfigError, ...]) -> None:
        first = errors[0]
        super().__init__(file=first.file, key=first.key, found=first.found, hint=first.hint)
        self.errors: tuple[ConfigError, ...] = tuple(
            one
            for error in errors
            for one in (error.errors if isinstance(error, ConfigErrors) else (error,))
        )
        self.args = ("\n".join(str(error) for error in self.errors),)


def _short(text: str) -> str:
    return text if len(text) <= _SHOWN_MAX else f"{text[:_SHOWN_MAX]}… ({len(text)} characters)"


def unreadable(file: object, error: OSError) -> ConfigError:
    """The mistake of a file that is there and cannot be read: a folder, or another user's."""
    found = error.strerror or str(error)
    hint = "make it a file that this user may read"
    return ConfigError(file=str(file), key="file", found=found, hint=hint)


class LinkError(HubError):
    """The link is down (refused, reset, unplugged); opening it again later may work."""


class DeviceError(HubError):
    """One device did not answer as it should, this time. `reason` is a short word fit for a counter."""

    def __init__(self, reason: str, detail: str = "") -> None:
        self.reason = reason
        super().__init__(f"{reason}: {detail}" if detail else reason)


class BadValue(HubError):
    """One value of a reading cannot be used; the text is the reason stored beside the point."""


class Rejected(HubError):
    """The receiver refuses this content for good."""


class SinkBusy(HubError):
    """The receiver cannot take anything now; `retry_after_s` is its own wish, when it named one."""

    def __init__(self, detail: str, retry_after_s: float | None = None) -> None:
        self.retry_after_s = retry_after_s
        super().__init__(detail)


class StoreError(HubError):
    """Nothing of what was given has been stored (disk full, store closing)."""


class StoreDamaged(StoreError):
    """The store's file fails its check; it is left as it is for a person."""
