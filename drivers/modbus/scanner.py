"""Looks for devices on a Modbus link, one unit address after the other, at each speed that can be set.

It sends reads of coils and registers only (functions 1 to 4). An answer that is none, twice, is told as a
collision: two meters with one address talk at the same time, and neither can be understood.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from itertools import groupby

import msgspec

from drivers.modbus.exchange import BusCounts, Exchange
from drivers.modbus.frames import Answer, FrameError, Request, TcpEnvelope, read_request
from drivers.modbus.line import Line
from drivers.modbus.recognition import Ask, Mark, likest
from drivers.modbus.registers import register_map
from drivers.modbus.settings import LinkSettings, link_settings
from drivers.modbus.transports import opener_for
from hub import (
    ConfigError,
    DeviceError,
    Host,
    Link,
    LinkError,
    Profile,
    Scanner,
    Search,
    Sight,
    Sighting,
    Spot,
)

UNITS = "1-247"
_UNIT_LAST = 247
_BAUDS, _FORMATS = (2400, 4800, 9600, 19_200), ("8N1", "8E1")
_GREETINGS: tuple[Ask, ...] = ((4, 0x0000, 2), (3, 0x0000, 1))  # asked of every address, in turn
_FRAMES_BYTES = 8 + 9
_GATEWAY_EXCEPTIONS = (10, 11)  # nobody is there, says the gateway
_GUARD_S = 0.03  # a second answer follows closely
_OPENINGS_MAX = 3
_REOPEN_S = 0.02


def open_scanner(link: Link, profiles: Sequence[Profile], search: Search) -> Scanner:
    """The scanner of a Modbus link; raises ConfigError for a wrong setting, address or profile."""
    settings = msgspec.structs.replace(link_settings(link), timeout_s=search.timeout_s)
    units = _units(search.addresses or UNITS)
    ways, notes = _ways(settings, search)
    return ModbusScanner(units, ways, [one for one in profiles if one.protocol == "modbus"], notes)


class ModbusScanner:
    """See Scanner. A way is the settings of the link at one speed and format."""

    def __init__(
        self,
        units: Sequence[int],
        ways: Mapping[str, LinkSettings],
        profiles: Sequence[Profile],
        notes: Sequence[str],
    ) -> None:
        self._units = units
        self._ways = ways
        self._profiles = profiles
        self.notes = notes

    def spots(self) -> Sequence[Spot]:
        """Every unit at the link's own speed first, then at each of the others."""
        return [Spot(address=str(unit), way=way) for way in self._ways for unit in self._units]

    def expected_s(self, spots: Sequence[Spot]) -> float:
        """Every address is asked twice, and after each silence the line is left alone as long again."""
        return sum(_silent_s(self._ways[spot.way]) for spot in spots)

    async def scan(self, spots: Sequence[Spot], host: Host) -> AsyncGenerator[Sighting]:
        """See Scanner.scan."""
        for way, group in groupby(spots, key=lambda spot: spot.way):
            settings = self._ways[way]
            marks = [
                Mark(profile, settings.cost(register_map(profile).wire))
                for profile in self._profiles
            ]
            async with aclosing(_Asker(settings, host)) as asker:
                for spot in group:
                    yield await _Look(asker, marks, spot).sighting()


class _Garbled(Exception):
    """Something came, and it was no answer; `reason` is what was wrong with it."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


class _Asker:
    """The line of one way, opened when it is wanted."""

    def __init__(self, settings: LinkSettings, host: Host) -> None:
        self._settings = settings
        self._clock = host.clock
        self._opener = opener_for(settings, host)
        self._exchange = Exchange(settings, host, BusCounts())
        self._line: Line | None = None
        self._heard = b""

    async def ask(self, unit: int, ask: Ask) -> Answer | None:
        """The answer, None for silence; raises _Garbled, and LinkError when the link cannot be used."""
        function, start, count = ask
        request = read_request(unit, function, start, count)
        timeout_s = _timeout_s(self._settings, request.answer_size)
        for opening in range(_OPENINGS_MAX):
            line = await self._ready(request, last=opening == _OPENINGS_MAX - 1)
            if line is None:
                continue
            try:
                return await self._run(line, request, timeout_s)
            except LinkError:
                if opening == _OPENINGS_MAX - 1:
                    raise
        raise LinkError("the line is lost again and again")

    async def aclose(self) -> None:
        """Close what is open."""
        if self._line is not None:
            self._line.abort()
        await self._opener.close()

    async def _ready(self, request: Request, *, last: bool) -> Line | None:
        """The line, when the request may begin on it; None to try once more."""
        try:
            if self._line is None or self._line.lost:
                await self._clock.sleep(_REOPEN_S)
                line = Line(self._exchange.rtu or TcpEnvelope(), self._clock)
                await self._opener.open(line)
                self._line = line
            await self._exchange.ready(self._line, request)
        except LinkError:
            if self._line is not None:
                self._line.abort()
            if last:
                raise
            return None
        return self._line

    async def _run(self, line: Line, request: Request, timeout_s: float) -> Answer | None:
        self._heard = b""
        line.record = self._record
        try:
            answer = await self._exchange.run(line, request, timeout_s)
        except DeviceError:
            if self._is_noise(self._heard):
                return None
            raise _Garbled("only part of an answer") from None
        except FrameError as error:
            raise _Garbled(error.reason) from None
        finally:
            line.record = None
        if self._settings.serial is not None:
            await self._clock.sleep(_GUARD_S)
            if not self._is_noise(line.take_unasked()):
                raise _Garbled("two answers")
        return None if answer.exception in _GATEWAY_EXCEPTIONS else answer

    def _record(self, outgoing: bool, data: bytes) -> None:
        if not outgoing:
            self._heard += data

    def _is_noise(self, data: bytes) -> bool:
        return not data or (self._exchange.rtu is not None and self._exchange.rtu.noise(data))


class _Look:
    """One spot: is somebody there, and who."""

    def __init__(self, asker: _Asker, marks: Sequence[Mark], spot: Spot) -> None:
        self._asker = asker
        self._marks = marks
        self._spot = spot
        self._unit = int(spot.address)
        self._told: dict[Ask, bytes] = {}
        self._asked: set[Ask] = set()
        self._reason = ""

    async def sighting(self) -> Sighting:
        """What there is to say of this spot."""
        try:
            if not await self._is_there():
                return self._says(Sight.SILENT)
            return await self._recognised()
        except _Garbled as error:
            text = f"garbled ({error.reason}): two devices with one address, or a bad line"
            return self._says(Sight.COLLISION, text=text)

    async def _is_there(self) -> bool:
        """Whether it answers anything; raises _Garbled when all that came was garbled."""
        garbled: _Garbled | None = None
        for ask in _GREETINGS:
            try:
                answer = await self._asker.ask(self._unit, ask)
            except _Garbled as error:
                garbled = error
                continue
            if answer is not None:
                self._note(ask, answer)
                return True
        if garbled is not None:
            raise garbled
        return False

    async def _recognised(self) -> Sighting:
        for mark in self._marks:
            if mark.identity is None:
                continue
            await self._learn(mark.identity)
            if mark.is_this(self._told):
                return await self._known(mark)
        for ask in dict.fromkeys(ask for mark in self._marks for ask in mark.asks):
            await self._learn(ask)
        found = likest(self._marks, self._told)
        if not found:
            text = self._reason or "answers, and like no product known here"
            return self._says(Sight.STRANGER, text=text)
        text = f"answers like it: {', '.join(found[0].values)}"
        if len(found) > 1:
            names = " or ".join(likeness.profile for likeness in found)
            return self._says(Sight.STRANGER, text=f"answers like {names}")
        return self._says(Sight.PERHAPS, found[0].profile, text)

    async def _known(self, mark: Mark) -> Sighting:
        """Its identity is right; its values are read too, for two of a kind have one identity."""
        for ask in mark.asks:
            await self._learn(ask)
        likeness = mark.likeness(self._told)
        if mark.asks and likeness is None:
            text = "its identity is right, its voltage or frequency is not"
            return self._says(Sight.PERHAPS, mark.profile.id, text)
        values = ", ".join(likeness.values) if likeness else ""
        return self._says(Sight.KNOWN, mark.profile.id, f"by its identity; {values}{mark.doubt}")

    async def _learn(self, ask: Ask) -> None:
        """Ask, once more when the answer was garbled or missing; raises _Garbled the second time."""
        if ask in self._asked:
            return
        self._asked.add(ask)
        try:
            answer = await self._asker.ask(self._unit, ask)
        except _Garbled:
            answer = None
        if answer is None:
            answer = await self._asker.ask(self._unit, ask)
        if answer is not None:
            self._note(ask, answer)

    def _note(self, ask: Ask, answer: Answer) -> None:
        self._asked.add(ask)
        if answer.exception:
            self._reason = f"answers, and like no product known here ({answer.reason})"
        else:
            self._told[ask] = answer.data

    def _says(self, sight: Sight, profile: str = "", text: str = "") -> Sighting:
        return Sighting(spot=self._spot, sight=sight, profile=profile, text=text)


def _units(text: str) -> tuple[int, ...]:
    """`1-30,40` as unit numbers, each once; raises ConfigError."""
    units: dict[int, None] = {}
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        ends = (first, last if dash else first)
        if not all(end.isascii() and end.isdecimal() and len(end) <= 3 for end in ends):
            raise _wrong("units", text)
        low, high = int(ends[0]), int(ends[1])
        if not 1 <= low <= high <= _UNIT_LAST:
            raise _wrong("units", text)
        units |= dict.fromkeys(range(low, high + 1))
    return tuple(units)


def _wrong(key: str, found: object) -> ConfigError:
    hint = (
        f"write unit addresses from 1 to {_UNIT_LAST}, as 1-30,40; formats as 8N1; bauds from 300"
    )
    return ConfigError(file="search", key=key, found=f"found {found!r}", hint=hint)


def _ways(settings: LinkSettings, search: Search) -> tuple[dict[str, LinkSettings], list[str]]:
    """Every speed and format to be tried, the link's own first, and what cannot be tried from here."""
    if settings.transport == "tcp":
        notes = ["the speed behind a gateway is set in the gateway"] * bool(search.bauds)
        return {"": settings}, notes
    own = (settings.baud, settings.format)
    usual = settings.transport == "rtu" and not search.own_way
    bauds = search.bauds or (_BAUDS if usual else own[:1])
    formats = search.formats or (_FORMATS if usual else own[1:])
    wanted = [own] if own[0] in bauds and own[1] in formats else []
    wanted += [(baud, format_) for baud in bauds for format_ in formats]
    if settings.transport != "rtu":
        others = [way for way in wanted if way != own]
        text = f"the speed of this box is set in the box: only {own[0]} {own[1]} is tried"
        return {_name(*own): settings}, [text] * bool(others)
    return {_name(*way): _at(settings, *way) for way in wanted}, []


def _at(settings: LinkSettings, baud: int, format_: str) -> LinkSettings:
    keys = {**msgspec.structs.asdict(settings), "baud": baud, "format": format_}
    try:
        return msgspec.convert(keys, LinkSettings)
    except msgspec.ValidationError:
        raise _wrong("baud or format", f"{baud} {format_}") from None


def _name(baud: int, format_: str) -> str:
    return f"{baud} {format_}"


def _timeout_s(settings: LinkSettings, answer_size: int) -> float:
    timing = settings.serial
    frames_s = (_FRAMES_BYTES + answer_size) * timing.byte_s if timing else 0.0
    return settings.timeout_s + frames_s


def _silent_s(settings: LinkSettings) -> float:
    settle_s = settings.timeout_s if settings.serial else _REOPEN_S
    return len(_GREETINGS) * (_timeout_s(settings, 4) + settle_s)
