"""Every device of one link asked once, and what is to be said of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import msgspec

from hub.cli.borrow import borrowed
from hub.cli.visit import TRIES, Visit, pay, visiting
from hub.errors import ConfigError, HubError
from hub.model import Device, Link, Reading
from hub.presence import ONLINE
from hub.profile import Profile
from hub.scanner import Scanner, Search, Sight, Sighting, open_scanner

_ONCE_S = 86_400.0  # a visit reads each device in its first round and then no more
_FIRST_ROUND_S = 20.0
_DEVICE_S = 4.0  # the most that one device takes, silences and a second try included
_HEARTBEAT_LATE_S = 5.0
_SHOWN = 3


class Verdict(StrEnum):
    """What verifying says of a device."""

    ANSWERED = "answered"
    SILENT = "silent"
    WRONG_MODEL = "wrong model"
    IMPLAUSIBLE = "implausible"
    NOT_ASKED = "not asked"


class VerdictRow(msgspec.Struct, frozen=True, kw_only=True):
    """One device: where it is, the verdict, and why."""

    id: str
    link: str
    address: str
    building: str
    floor: str
    room: str
    circuit: str
    profile: str
    verdict: Verdict
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Terms:
    """How links are inspected: at most `seconds` for devices that speak by themselves."""

    config: Path
    profiles: Sequence[Profile]
    seconds: float
    force: bool


class Inspection:
    """One link with the devices chosen of it; `rows` fills as verdicts fall."""

    def __init__(self, terms: Terms, link: Link, devices: Sequence[Device]) -> None:
        self._terms = terms
        self._link = link
        self._devices = devices
        self._scanner = self._make_scanner()
        self.rows: list[VerdictRow] = []

    async def run(self) -> None:
        """Ask all; where the link has one wire, nobody else uses it meanwhile."""
        alone = borrowed(self._terms.config, self._link, force=self._terms.force, cause="verify")
        visit = Visit(self._devices, enough=self._is_enough)
        sightings: dict[str, Sighting] = {}
        asked = False
        try:
            async with alone:
                await pay(visit, visiting(self._link, self._devices, _ONCE_S), self._limit_s())
                asked = True
                sightings = await self._identify(visit)
        except HubError as error:
            visit.troubles.append(str(error))
        finally:
            self._judge_all(visit, sightings, asked=asked)

    def _make_scanner(self) -> Scanner | None:
        """For links whose wire is used by one at a time; others have nothing to scan."""
        addresses = ",".join(device.address for device in self._devices)
        search = Search(addresses=addresses, own_way=True)
        try:
            return open_scanner(self._link, self._terms.profiles, search)
        except ConfigError:
            return None

    def _limit_s(self) -> float:
        if self._scanner:
            return _FIRST_ROUND_S + _DEVICE_S * len(self._devices)
        heartbeat_s = max(device.period_s for device in self._devices) + _HEARTBEAT_LATE_S
        return min(self._terms.seconds, heartbeat_s)

    def _is_enough(self, visit: Visit) -> bool:
        return all(
            device.id in visit.first
            or (self._scanner is not None and len(visit.misses.get(device.id, ())) >= TRIES)
            for device in self._devices
        )

    async def _identify(self, visit: Visit) -> dict[str, Sighting]:
        """Who those are that have an identity register, or did not say what their product says."""
        if self._scanner is None:
            return {}
        wanted = {
            device.address
            for device in self._devices
            if (reading := visit.first.get(device.id)) is not None
            and ("identity" in device.profile.wire or reading.bad)
        }
        spots = [spot for spot in self._scanner.spots() if spot.address in wanted]
        async with aclosing(self._scanner.scan(spots, Visit(()))) as sightings:
            return {sighting.spot.address: sighting async for sighting in sightings}

    def _judge_all(self, visit: Visit, sightings: Mapping[str, Sighting], *, asked: bool) -> None:
        for device in self._devices:
            reading = visit.first.get(device.id)
            if reading is not None:
                verdict, reason = judge(device, reading, sightings.get(device.address))
            elif asked or visit.misses.get(device.id):
                verdict, reason = Verdict.SILENT, self._why(visit, device)
            else:
                verdict, reason = Verdict.NOT_ASKED, "; ".join(visit.troubles[-1:])
            self.rows.append(row_of(device, verdict, reason))

    def _why(self, visit: Visit, device: Device) -> str:
        misses = visit.misses.get(device.id)
        if misses:
            return misses[-1]
        return "; ".join(visit.troubles[-1:]) or f"not heard within {self._limit_s():g} s"


def judge(device: Device, reading: Reading, sighting: Sighting | None) -> tuple[Verdict, str]:
    """The verdict over a device that said something, and the reason."""
    if reading.values.get(ONLINE) is False:
        return Verdict.SILENT, "says it is offline"
    if sighting is not None:
        if sighting.sight is Sight.COLLISION:
            return Verdict.IMPLAUSIBLE, f"collision? {sighting.text}"
        wrong = _other_model(device, reading, sighting)
        if wrong:
            return Verdict.WRONG_MODEL, wrong
    if not reading.values:
        return Verdict.WRONG_MODEL, f"none of its registers is as its profile says: {_bad(reading)}"
    if reading.bad:
        return Verdict.IMPLAUSIBLE, _bad(reading)
    return Verdict.ANSWERED, ""


def _other_model(device: Device, reading: Reading, sighting: Sighting) -> str:
    """Why it is another product than configured; empty when nothing says so."""
    if sighting.profile and sighting.profile != device.profile.id:
        doubtful = bool(reading.bad) or "identity" in device.profile.wire
        if sighting.sight is Sight.KNOWN or doubtful:
            return f"it is {'' if sighting.sight is Sight.KNOWN else 'perhaps '}{sighting.profile}"
    if "identity" in device.profile.wire and sighting.sight is Sight.STRANGER:
        return "its identity register is not as its profile says"
    return ""


def _bad(reading: Reading) -> str:
    """The first few points that could not be used, and how many more."""
    texts = [f"{name}: {reason}" for name, reason in reading.bad.items()]
    more = len(texts) - _SHOWN
    return ", ".join(texts[:_SHOWN]) + (f" and {more} more" if more > 0 else "")


def row_of(device: Device, verdict: Verdict, reason: str) -> VerdictRow:
    """The device's row."""
    place = device.place
    return VerdictRow(
        id=device.id,
        link=device.link,
        address=device.address,
        building=place.building,
        floor=place.floor,
        room=place.room,
        circuit=place.circuit,
        profile=device.profile.id,
        verdict=verdict,
        reason=reason,
    )
