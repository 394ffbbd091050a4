"""How the commands of a profile are said in Modbus: request PDUs, and what their answers must be. Pure.

    [commands.open]
    writes = [{ function = 5, at = 0x0200, argument = "pulse", pulse_ms = 100 }]

    [commands.cut]            # several values in one request: enable and state together
    writes = [{ function = 16, at = 0x0057, fields = [{ value = 1 }, { value = 1 }] }]

    [commands.tariff]         # a mailbox: the answer to the write is not yet the device's word
    writes = [{ function = 16, at = 0x1481, fields = [{ value = 2008 }, { argument = "tariff" }] }]
    result = { at = 0x14FF, ok = [0], refused = [3000, 3001], poll_ms = 200, polls = 10 }

Only what stands here can be written: a driver takes the plan of the device's own profile, by the name of
the command. Requests go in the order of the list and stop at the first that is not answered as it must be.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Annotated, Literal, TypeAlias

import msgspec

from drivers.modbus.fields import ADDRESS_MAX, Order, Wire
from drivers.modbus.words import (
    WordType,
    number_bytes,
    text_bytes,
    width,
    wire_span,
)
from hub import (
    Answer,
    Argument,
    BadValue,
    CommandSpec,
    ConfigError,
    ConfigErrors,
    Hazard,
    PointType,
    Profile,
    Value,
    is_gate,
    settings_as,
    wire_number,
)

COIL, REGISTER, REGISTERS = 5, 6, 16
COIL_ON, COIL_OFF = 0xFF00, 0x0000
REGISTERS_MAX = 123
_STANDARD = range(1, 25)
_PULSE_MAX_MS = 5000  # of everything but opening; a barrier's terminals want 500 to 1500 ms
_HEAD_SIZE = 5  # function, address, count

AnswerKind: TypeAlias = Literal["echo", "echo_head"]
Arguments: TypeAlias = Mapping[str, Value]
Pack: TypeAlias = Callable[[Arguments], bytes]


class _Field(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One value inside a request of several."""

    value: int | float | None = None
    argument: str | None = None
    type: WordType = "u16"
    word_order: Order | None = None
    length: Annotated[int, msgspec.Meta(ge=1, le=64)] | None = None


class WriteKeys(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One request of a command as written."""

    function: Annotated[int, msgspec.Meta(ge=1, le=0x7F)]
    at: Annotated[int, msgspec.Meta(ge=0, le=465_536)]
    raw: Annotated[int, msgspec.Meta(ge=0, le=0xFFFF)] | None = None
    argument: str | None = None
    fields: tuple[_Field, ...] = ()
    registers: Annotated[int, msgspec.Meta(ge=1, le=REGISTERS_MAX)] | None = None
    pulse_ms: Annotated[int, msgspec.Meta(ge=1, le=60_000)] | None = None
    answer: AnswerKind | None = None


class ResultKeys(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the device says what became of a command it has taken."""

    at: Annotated[int, msgspec.Meta(ge=0, le=465_536)]
    function: Literal[3, 4] = 3
    ok: Annotated[tuple[int, ...], msgspec.Meta(min_length=1)]
    refused: tuple[int, ...] = ()
    poll_ms: Annotated[int, msgspec.Meta(ge=20, le=10_000)] = 200
    polls: Annotated[int, msgspec.Meta(ge=1, le=100)] = 10


class CommandKeys(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The keys of one command that belong to Modbus."""

    writes: Annotated[tuple[WriteKeys, ...], msgspec.Meta(min_length=1, max_length=8)]
    result: ResultKeys | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class WritePdu:
    """One request, without unit and check, and how its answer begins and how long it is (also a PDU)."""

    pdu: bytes
    answer_head: bytes
    answer_size: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """The register in which the device says what became of a command: read it up to `polls` times."""

    function: int
    start: int
    ok: tuple[int, ...]
    refused: tuple[int, ...]
    poll_ms: int
    polls: int

    def answer(self, data: bytes) -> Answer | None:
        """What the register's two bytes say; None when the device has not decided yet."""
        code = int.from_bytes(data)
        if code in self.ok:
            return Answer.ACKNOWLEDGED
        return Answer.REFUSED if code in self.refused else None


@dataclass(frozen=True, kw_only=True, slots=True)
class WritePlan:
    """How one command is said: its requests in their order, and where the device's own word stands.

    Without `result` the answers to the requests are the acknowledgement.
    """

    command: str
    packs: tuple[Callable[[Arguments], WritePdu], ...]
    result: Result | None

    def requests(self, arguments: Arguments) -> tuple[WritePdu, ...]:
        """Every request for these arguments (an absent one has its default); raises BadValue."""
        return tuple(pack(arguments) for pack in self.packs)


def write_plan(profile: Profile) -> Mapping[str, WritePlan]:
    """Every command of a profile by its name; raises ConfigErrors with each command's first mistake."""
    wire = settings_as(Wire, profile.wire, file=profile.file, key="modbus")
    plans: dict[str, WritePlan] = {}
    errors: list[ConfigError] = []
    for name, spec in profile.commands.items():
        try:
            plans[name] = _Compiler(profile, wire, spec).plan()
        except ConfigError as error:
            errors.append(error)
    if errors:
        raise ConfigErrors(tuple(errors))
    return plans


class _Compiler:
    """Turns the wire keys of one command into its plan."""

    def __init__(self, profile: Profile, wire: Wire, spec: CommandSpec) -> None:
        self._profile = profile
        self._wire = wire
        self._spec = spec
        self._key = f"commands.{spec.name}"
        self._keys = settings_as(CommandKeys, spec.where, file=profile.file, key=self._key)

    def plan(self) -> WritePlan:
        """The plan, every argument used and every limit kept."""
        packs = tuple(self._write(place, keys) for place, keys in enumerate(self._keys.writes))
        used = {keys.argument for keys in self._keys.writes}
        used.update(field.argument for keys in self._keys.writes for field in keys.fields)
        if self._spec.rise:
            used |= self._spec.rise.remembered
        for name in self._spec.arguments:
            if name not in used:
                raise self._wrong(f"arguments.{name}", name, "write it somewhere, or leave it out")
        return WritePlan(command=self._spec.name, packs=packs, result=self._result())

    def _wrong(self, key: str, found: object, hint: str) -> ConfigError:
        return self._profile.wrong(f"{self._key}.{key}", f"found {found!r}", hint)

    def _result(self) -> Result | None:
        keys = self._keys.result
        if keys is None:
            return None
        if set(keys.ok) & set(keys.refused):
            raise self._wrong("result.ok", keys.ok, "a code is either ok or refused")
        return Result(
            function=keys.function,
            start=self._start("result", keys.at, 1),
            ok=keys.ok,
            refused=keys.refused,
            poll_ms=keys.poll_ms,
            polls=keys.polls,
        )

    def _start(self, key: str, at: int, count: int) -> int:
        start = at - self._wire.address_base
        if not 0 <= start <= ADDRESS_MAX + 1 - count:
            raise self._wrong(f"{key}.at", at, f"the wire address must be 0 to {ADDRESS_MAX}")
        return start

    def _write(self, place: int, keys: WriteKeys) -> Callable[[Arguments], WritePdu]:
        key = f"writes[{place}]"
        single = keys.function in (COIL, REGISTER)
        if not single and keys.function != REGISTERS and keys.function in _STANDARD:
            hint = "write with 5 (coil), 6 (register), 16 (registers) or the maker's own code"
            raise self._wrong(f"{key}.function", keys.function, hint)
        self._check_gate(key, keys)
        return self._single(key, keys) if single else self._several(key, keys)

    def _check_gate(self, key: str, keys: WriteKeys) -> None:
        """What moves a gate is a pulse that the board itself ends, and never a level."""
        if keys.pulse_ms is None:
            if is_gate(self._profile):
                hint = "a gate's outputs are pulses that its board ends: a timed one and pulse_ms"
                raise self._wrong(f"{key}.pulse_ms", None, hint)
            return
        if keys.function not in (COIL, REGISTER):
            raise self._wrong(f"{key}.pulse_ms", keys.pulse_ms, "only of one coil or register")
        limit_ms = Fraction(_PULSE_MAX_MS)
        if self._spec.hazard is Hazard.OPEN:
            limit_ms = Fraction(str(self._profile.chosen["open_limit_s"])) * 1000
        shortest, longest = (end * keys.pulse_ms for end in self._span(key, keys))
        if shortest <= 0 or longest > limit_ms:
            found = f"{float(shortest):g} to {float(longest):g} ms"
            raise self._wrong(f"{key}.pulse_ms", found, f"longer than 0, at most {limit_ms} ms")

    def _span(self, key: str, keys: WriteKeys) -> tuple[Fraction, Fraction]:
        if keys.raw is not None:
            return Fraction(keys.raw), Fraction(keys.raw)
        return wire_span(self._argument(key, keys.argument))

    def _single(self, key: str, keys: WriteKeys) -> Callable[[Arguments], WritePdu]:
        """Function 5 or 6: one word, answered by its echo."""
        if (keys.raw is None) is (keys.argument is None):
            raise self._wrong(key, "no single value", "write raw = … or argument = …")
        if keys.fields or keys.registers or keys.answer:
            raise self._wrong(key, "keys of several registers", "write function = 16")
        start = self._start(key, keys.at, 1)
        word = self._word(key, keys)

        def pack(arguments: Arguments) -> WritePdu:
            pdu = struct.pack(">BH", keys.function, start) + word(arguments)
            return WritePdu(pdu=pdu, answer_head=pdu, answer_size=len(pdu))

        return pack

    def _word(self, key: str, keys: WriteKeys) -> Pack:
        if keys.raw is not None:
            fixed = keys.raw.to_bytes(2)
            return lambda arguments: fixed
        argument = self._argument(key, keys.argument)
        if keys.function == COIL and argument.type is PointType.BOOL:
            on, off = COIL_ON.to_bytes(2), COIL_OFF.to_bytes(2)
            return lambda arguments: (
                on if wire_number(argument, _given(argument, arguments)) else off
            )
        return self._from_argument(key, argument, _Field(argument=argument.name))

    def _several(self, key: str, keys: WriteKeys) -> Callable[[Arguments], WritePdu]:
        """Function 16, or a maker's own with the same shape: address, count, bytes, values."""
        if keys.raw is not None or keys.argument is not None or not keys.fields:
            raise self._wrong(f"{key}.fields", None, "write fields = [{ … }]")
        if keys.function == REGISTERS and keys.answer is not None:
            raise self._wrong(f"{key}.answer", keys.answer, "function 16 has its own: leave it out")
        if keys.function != REGISTERS and keys.answer is None:
            raise self._wrong(f"{key}.answer", None, 'write "echo" or "echo_head"')
        size = sum(width(field.type, field.length) for field in keys.fields)
        count = keys.registers or (size + 1) // 2
        if not 1 <= count <= REGISTERS_MAX or size > 2 * count or (not keys.registers and size % 2):
            hint = f"whole registers, at most {keys.registers or REGISTERS_MAX}"
            raise self._wrong(f"{key}.fields", f"{size} bytes", hint)
        start = self._start(key, keys.at, count)
        head = struct.pack(">BHH", keys.function, start, count)
        packs = tuple(
            self._field(f"{key}.fields[{number}]", field)
            for number, field in enumerate(keys.fields)
        )

        def pack(arguments: Arguments) -> WritePdu:
            data = b"".join(part(arguments) for part in packs).ljust(2 * count, b"\0")
            pdu = head + bytes((len(data),)) + data
            answer = pdu if keys.answer == "echo" else pdu[:_HEAD_SIZE]
            return WritePdu(pdu=pdu, answer_head=answer, answer_size=len(answer))

        return pack

    def _field(self, key: str, field: _Field) -> Pack:
        if (field.value is None) is (field.argument is None):
            raise self._wrong(key, "no single value", "write value = … or argument = …")
        if (field.length is None) is (field.type == "ascii"):
            raise self._wrong(f"{key}.length", field.length, "the bytes of an ascii text")
        if field.value is None:
            return self._from_argument(key, self._argument(key, field.argument), field)
        if field.type == "ascii":
            raise self._wrong(f"{key}.value", field.value, "a text comes from an argument")
        fixed = self._number(key, Fraction(str(field.value)), field)
        return lambda arguments: fixed

    def _from_argument(self, key: str, argument: Argument, field: _Field) -> Pack:
        if (argument.type is PointType.TEXT) is not (field.type == "ascii"):
            raise self._wrong(f"{key}.type", field.type, f"{argument.name} is {argument.type}")
        if argument.type is PointType.TEXT:
            length = field.length or 0
            if argument.maximum > length:
                raise self._wrong(f"{key}.length", length, f"{argument.maximum:g} characters")
            return lambda arguments: text_bytes(argument, _given(argument, arguments), length)
        for end in wire_span(argument):
            self._number(key, end, field)
        order = field.word_order or self._wire.word_order
        kind = field.type

        def pack(arguments: Arguments) -> bytes:
            number = wire_number(argument, _given(argument, arguments))
            return number_bytes(number, kind, order)

        return pack

    def _number(self, key: str, number: Fraction, field: _Field) -> bytes:
        try:
            return number_bytes(number, field.type, field.word_order or self._wire.word_order)
        except BadValue as error:
            raise self._wrong(key, float(number), str(error)) from None

    def _argument(self, key: str, name: str | None) -> Argument:
        if name is None:
            raise self._wrong(key, "no single value", "write raw = … or argument = …")
        argument = self._spec.arguments.get(name)
        if argument is None:
            known = ", ".join(self._spec.arguments) or "none"
            raise self._wrong(f"{key}.argument", name, f"name an argument: {known}")
        return argument


def _given(argument: Argument, arguments: Arguments) -> Value:
    value = arguments.get(argument.name, argument.default)
    if value is None:
        raise BadValue(f"{argument.name}: not given")
    return value
