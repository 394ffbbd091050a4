"""What the devices' own ledgers say of the commands of a crash campaign: a list of complaints, or none."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

from hub import State
from hub.cli.tell import CommandRow
from simulators.campus import Campus
from simulators.ledger import Deed, Entry
from tests.crash_town import DEVICES, Aftermath

_FOREVER_MS = 2**62
_NEVER_TWICE = ("lane", "barrier", "washer", "meter")  # a meter takes each purchase count once


def complaints(after: Aftermath) -> list[str]:
    """Every promise that was broken, in words; empty when none was."""
    return [*_forgotten(after), *_untrue(after), *_unordered(after), *after.caller.contradictions]


def effects(campus: Campus, row: CommandRow, next_ms: int) -> list[Entry]:
    """What the device did for this command, up to the creation of its next one."""
    entries = list(campus.ledger.entries(row.device))
    match DEVICES[row.device]:
        case "lane" | "washer":
            return [
                entry
                for entry in entries
                if entry.deed is Deed.HEARD and entry.values.get("id") == row.id
            ]
        case "meter":
            amount = row.arguments["amount"]
            return [
                entry
                for entry in entries
                if entry.deed is Deed.CREDITED and entry.values["fen"] == amount
            ]
        case _:
            return [
                entry
                for entry in entries
                if entry.deed is Deed.WRITTEN
                and entry.values["on"] is (row.name != "cut_1")
                and row.created_ms <= entry.time_ms < next_ms
            ]


def _forgotten(after: Aftermath) -> Iterator[str]:
    """What was acknowledged to a caller and is not there, or is not as it was shown."""
    known = {row.key: row for row in after.known}
    for key, command in after.caller.taken.items():
        row = known.get(key)
        if row is None or row.id != command:
            yield f"{key} was taken as {command}, the hub knows {row}"
        elif row != after.caller.ended[command]:
            yield f"{key} has changed after its end: {after.caller.ended[command]} to {row}"
    for row in after.known:
        if row.key not in after.caller.taken:
            yield f"{row.key} was declined ({after.caller.declined.get(row.key)}) and is there"
        if not row.state.final:
            yield f"{row.key} has not ended: {row.state}"


def _untrue(after: Aftermath) -> Iterator[str]:
    """What was done twice, and what was called done and was not."""
    for row, next_ms in windows(after.known):
        done = effects(after.campus, row, next_ms)
        if DEVICES[row.device] in _NEVER_TWICE and len(done) > 1:
            yield f"{row.key} {row.state} was executed {len(done)} times: {done}"
        if row.state is State.CONFIRMED and not _is_so(after.campus, row, done):
            yield f"{row.key} is confirmed by {row.proof}, its device has done {done}"
        if row.state in (State.EXPIRED, State.REFUSED) and done:
            yield f"{row.key} is {row.state} ({row.reason}), its device has done {done}"


def _unordered(after: Aftermath) -> Iterator[str]:
    """What a device heard and the hub does not know of."""
    ids = {row.id for row in after.known}
    for entry in after.campus.ledger.entries(deed=Deed.HEARD):
        command = entry.values.get("id")
        if entry.values.get("command") != "report" and command not in ids:
            yield f"nobody ordered {entry}"


def _is_so(campus: Campus, row: CommandRow, done: Sequence[Entry]) -> bool:
    """Whether the device is as the command wants it; a relay may have been so before."""
    entries = list(campus.ledger.entries(row.device))
    match DEVICES[row.device]:
        case "board":
            finished_ms = row.finished_ms or 0
            moved = [e for e in entries if e.deed is Deed.MOVED and e.time_ms <= finished_ms]
            on = bool(moved) and moved[-1].values["on"]
            return on is (row.name == "restore_1")
        case "washer":
            order = row.arguments["order"]
            begun = [e for e in entries if e.deed is Deed.CYCLE_BEGUN]
            return any(entry.values["order"] == order for entry in begun)
        case _:
            return bool(done)


def windows(known: Sequence[CommandRow]) -> Iterator[tuple[CommandRow, int]]:
    """Each command with the creation of the next one of its device."""
    by_device: dict[str, list[CommandRow]] = defaultdict(list)
    for row in sorted(known, key=lambda row: row.created_ms):
        by_device[row.device].append(row)
    for rows in by_device.values():
        ends = [*(row.created_ms for row in rows[1:]), _FOREVER_MS]
        yield from zip(rows, ends, strict=True)
