"""Which commands undo each other: of those that wait, only the newest wish is still wanted. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from hub.command import ARGUMENT_MARK, Hazard, resolve
from hub.commands.book import OpenCommand
from hub.points import Scalar

_PAIRS = (
    {Hazard.OPEN, Hazard.CLOSE},
    {Hazard.CUT, Hazard.RESTORE},
)


def undoes(newer: OpenCommand, older: OpenCommand) -> bool:
    """Whether the newer of two commands of one device wants the opposite of the older.

    Any opening is the opposite of any closing. A cut and a restore are opposites when their proofs cannot
    both be seen: of two channels of one board, each has its own.
    """
    pair = {newer.spec.hazard, older.spec.hazard}
    if pair not in _PAIRS or newer.number <= older.number:
        return False
    return Hazard.OPEN in pair or _contradict(_wanted(newer), _wanted(older))


def _contradict(one: dict[str, set[Scalar]], other: dict[str, set[Scalar]]) -> bool:
    return any(not one[point] & other[point] for point in one.keys() & other.keys())


def _wanted(command: OpenCommand) -> dict[str, set[Scalar]]:
    """The values that prove it, by point, but for what the device has yet to fill."""
    arguments = dict(command.record.arguments)
    return {
        expect.point: {resolve(value, arguments) for value in expect.values}
        for expect in command.spec.confirm
        if all(not _is_open(value, arguments) for value in expect.values)
    }


def _is_open(value: Scalar, arguments: Mapping[str, Scalar]) -> bool:
    text = str(value)
    return text.startswith(ARGUMENT_MARK) and text[1:] not in arguments
