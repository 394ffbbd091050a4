"""The files that say what is installed, as the bytes they were at one moment.

Whoever has them can make a Site of them (`hub.site.site_of`) without the disk: so a ledger can keep what was
applied.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from hub.errors import ConfigError, ConfigErrors, StoreDamaged, unreadable

SITE_FILE = "site.toml"
DEVICES_FILE = "devices.csv"
PROFILES_FOLDER = "profiles"
_CHINESE = "gb18030"  # and with it GBK and GB 2312, what spreadsheets on Chinese Windows write


class _Packed(msgspec.Struct, frozen=True, array_like=True):
    """The contents, profiles sorted by name."""

    site: bytes
    devices: bytes
    profiles: list[tuple[str, bytes]]


@dataclass(frozen=True, kw_only=True, slots=True)
class SiteFiles:
    """`site.toml`, `devices.csv` and the site's own profiles, by file name; `folder` is where they stand."""

    folder: Path
    site: bytes
    devices: bytes
    profiles: Mapping[str, bytes] = field(default_factory=dict)

    def digest(self) -> str:
        """SHA-256 of every name and content, hexadecimal; the folder does not count."""
        return hashlib.sha256(self._encoded()).hexdigest()

    def pack(self) -> bytes:
        """Everything but the folder, compressed; `unpack` reads it."""
        return zlib.compress(self._encoded())

    def changed(self, before: SiteFiles) -> tuple[str, ...]:
        """The names of the files that are not what they were, `profiles/x.toml` for a profile."""
        now, then = self._named(), before._named()
        return tuple(name for name in sorted(now | then) if now.get(name) != then.get(name))

    def _named(self) -> dict[str, bytes]:
        own = {f"{PROFILES_FOLDER}/{name}": content for name, content in self.profiles.items()}
        return {SITE_FILE: self.site, DEVICES_FILE: self.devices, **own}

    def _encoded(self) -> bytes:
        packed = _Packed(self.site, self.devices, sorted(self.profiles.items()))
        return msgspec.msgpack.encode(packed)


def unpack(folder: Path, packed: bytes) -> SiteFiles:
    """What was packed, as standing in `folder`; raises StoreDamaged when it is not what `pack` made."""
    try:
        found = msgspec.msgpack.decode(zlib.decompress(packed), type=_Packed)
    except (zlib.error, msgspec.DecodeError) as error:
        raise StoreDamaged(f"the stored files of the site cannot be read: {error}") from None
    return SiteFiles(
        folder=folder, site=found.site, devices=found.devices, profiles=dict(found.profiles)
    )


def read_files(folder: Path, *, devices: bytes | None = None) -> SiteFiles:
    """The files as they are now; raises ConfigErrors for each that is missing or unreadable.

    With `devices` these are what devices.csv would say, and the file is left alone.
    """
    errors: list[ConfigError] = []
    files = SiteFiles(
        folder=folder,
        site=_read(folder / SITE_FILE, errors),
        devices=_read(folder / DEVICES_FILE, errors) if devices is None else devices,
        profiles={
            path.name: _read(path, errors)
            for path in sorted((folder / PROFILES_FOLDER).glob("*.toml"))
        },
    )
    if errors:
        raise ConfigErrors(tuple(errors))
    return files


def _read(path: Path, errors: list[ConfigError]) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        hint = f"see config/{path.name}"
        errors.append(ConfigError(file=str(path), key="file", found="it does not exist", hint=hint))
    except OSError as error:
        errors.append(unreadable(path, error))
    return b""


def text_of(file: str, content: bytes, hint: str = "save it as UTF-8") -> str:
    """A file's text; raises ConfigError naming the first byte that is not UTF-8, and GBK where it is that."""
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        found = f"not UTF-8 on line {line}{_guess(content)}"
        raise ConfigError(file=file, key=f"byte {error.start}", found=found, hint=hint) from None


def _guess(content: bytes) -> str:
    try:
        content.decode(_CHINESE)
    except UnicodeDecodeError:
        return ""
    return ", it looks like GBK"
