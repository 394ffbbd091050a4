"""How far a scan has come, in a file, so that it can go on where it was stopped."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import msgspec

from hub.errors import ConfigError
from hub.scanner import Search, Sight, Sighting, Spot

_SAVE_EVERY = 20


class _State(msgspec.Struct):
    link: str
    search: Search
    done: list[Spot] = []
    found: list[Sighting] = []


class ScanState:
    """What was asked for, what was looked at, and what was found; saved as it goes."""

    def __init__(self, path: Path, state: _State) -> None:
        self.path = path
        self._state = state
        self._done = set(state.done)
        self._unsaved = 0

    @classmethod
    def begin(cls, path: Path, link: str, search: Search) -> ScanState:
        """A new scan; what the file held of an earlier one is lost."""
        return cls(path, _State(link=link, search=search))

    @classmethod
    def go_on(cls, path: Path, link: str) -> ScanState:
        """An earlier scan of this link; raises ConfigError when there is none."""

        def wrong(found: str) -> ConfigError:
            hint = f"scan without --resume: dormhub scan {link}"
            return ConfigError(file=str(path), key="--resume", found=found, hint=hint)

        try:
            state = msgspec.json.decode(path.read_bytes(), type=_State)
        except OSError as error:
            raise wrong(f"no scan to go on with: {error.strerror}") from None
        except msgspec.DecodeError as error:
            raise wrong(f"not a scan's file: {error}") from None
        if state.link != link:
            raise wrong(f"a scan of link {state.link!r}")
        return cls(path, state)

    @property
    def search(self) -> Search:
        """What was asked for."""
        return self._state.search

    @property
    def found(self) -> Sequence[Sighting]:
        """Everything that was not silence, in the order it was found."""
        return self._state.found

    def left(self, spots: Sequence[Spot]) -> list[Spot]:
        """Those of the spots where nobody has looked yet."""
        return [spot for spot in spots if spot not in self._done]

    def note(self, sighting: Sighting) -> None:
        """One more spot is done."""
        self._done.add(sighting.spot)
        self._state.done.append(sighting.spot)
        self._unsaved += 1
        if sighting.sight is not Sight.SILENT:
            self._state.found.append(sighting)
        if sighting.sight is not Sight.SILENT or self._unsaved >= _SAVE_EVERY:
            self.save()

    def save(self) -> None:
        """Write the file, whole or not at all. Raises ConfigError when it cannot be written."""
        self._unsaved = 0
        new = self.path.with_suffix(".new")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            new.write_bytes(msgspec.json.encode(self._state))
            os.replace(new, self.path)
        except OSError as error:
            raise ConfigError(
                file=str(self.path), key="state", found=str(error), hint="name another with --state"
            ) from None

    def forget(self) -> None:
        """The scan is complete: there is nothing to go on with."""
        self.path.unlink(missing_ok=True)
