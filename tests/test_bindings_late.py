"""Bindings entered long after, cut and taken back, and the words of counters that are kept with them."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from hub import Place, Reading, VirtualClock, audit, load_site
from hub.inventory.bindings import Binding, Chosen, Figure, find_bindings
from hub.inventory.figures import Figures
from hub.inventory.late import Entered, Entry, Misfit, Overlap, Planned, Wish, end_binding
from hub.journal import Journal, open_journal
from hub.ledger import Ledger, open_ledger
from hub.plausibility import CLOCK_EARLY_MS
from tests.provisioned import apply, without, write_building

START = 1_700_000_000_000
HOUR = 3_600_000
R101, R102 = (
    Place(building="B1", floor="1", room=room, circuit="socket") for room in ("101", "102")
)
NEW = "m-4,eastron_sdm120,bus-1,4,B1,1,102,socket,,"


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock(start_ms=START)


@pytest.fixture
async def ledger(place: Path | str, tmp_path: Path, clock: VirtualClock) -> AsyncIterator[Ledger]:
    """m-2 served 102 for ten hours; then the files were applied that have m-4 in its stead."""
    async with open_ledger(place, clock=clock) as opened:
        await apply(opened, write_building(tmp_path / "config"), clock=clock)
        clock.advance(36_000)
        folder = write_building(tmp_path / "config", *without("m-2"), NEW)
        await apply(opened, folder, prune=True, clock=clock)
        clock.advance(36_000)
        yield opened


async def enter(ledger: Ledger, clock: VirtualClock, wish: Wish) -> Entered:
    entry = Entry(wish, actor="test", cause="late", clock=clock, counts=lambda _: True)
    return await ledger.run(entry.write)


async def served(
    ledger: Ledger, *, device: str = "", room: str = ""
) -> list[tuple[str, str, float, float | None]]:
    """Device, room, and the hours since the first apply from and to which."""
    chosen = Chosen(device=device, room=room)
    found = await ledger.read(lambda connection: find_bindings(connection, chosen))
    return sorted(
        (
            one.device,
            one.place.room,
            (one.from_ms - START) / HOUR,
            None if one.to_ms is None else (one.to_ms - START) / HOUR,
        )
        for one in found
    )


async def of(ledger: Ledger, device: str) -> Binding:
    (found,) = await ledger.read(
        lambda connection: find_bindings(connection, Chosen(device=device))
    )
    return found


async def test_a_swap_entered_late_is_refused_naming_the_others(
    ledger: Ledger, clock: VirtualClock
) -> None:
    before = await served(ledger)
    with pytest.raises(Overlap, match=r"m-2 in B1/102/socket") as refused:
        await enter(ledger, clock, Wish(device="m-4", place=R102, from_ms=START + 6 * HOUR))
    assert {other.device for other in refused.value.others} == {"m-2", "m-4"}
    assert "--cut" in str(refused.value)
    assert await served(ledger) == before


async def test_with_cut_the_earlier_ends_and_the_audit_keeps_how_it_stood(
    ledger: Ledger, clock: VirtualClock
) -> None:
    wish = Wish(device="m-4", place=R102, from_ms=START + 6 * HOUR, first=17, cut=True)
    entered = await enter(ledger, clock, wish)
    assert await served(ledger, room="102") == [("m-2", "102", 0, 6), ("m-4", "102", 6, None)]
    assert entered.binding.first == Figure(value=17, time_ms=START + 6 * HOUR)
    assert {one.device for one in entered.superseded} == {"m-2", "m-4"}
    rows = await ledger.read(lambda connection: audit.rows(connection, limit=1000))
    told = {row.action: row for row in rows if row.subject.startswith("binding/")}
    assert set(told) == {"cut", "superseded", "entered"}
    assert json.loads(told["cut"].before)["to_ms"] == START + 10 * HOUR
    assert json.loads(told["cut"].after)["to_ms"] == START + 6 * HOUR
    assert (told["superseded"].after, told["entered"].cause) == ("", "late")
    assert await ledger.read(audit.verify) is None


async def test_an_earlier_binding_is_split_around_a_later_one(
    ledger: Ledger, clock: VirtualClock
) -> None:
    wish = Wish(device="m-1", place=R102, from_ms=START + 2 * HOUR, to_ms=START + 3 * HOUR)
    with pytest.raises(Overlap):
        await enter(ledger, clock, wish)
    await enter(ledger, clock, replace(wish, cut=True))
    assert await served(ledger, device="m-1") == [
        ("m-1", "101", 0, 2),
        ("m-1", "101", 3, None),
        ("m-1", "102", 2, 3),
    ]
    assert await served(ledger, device="m-2") == [("m-2", "102", 0, 2), ("m-2", "102", 3, 10)]


async def test_bindings_that_only_touch_do_not_overlap(ledger: Ledger, clock: VirtualClock) -> None:
    wish = Wish(device="m-2", place=R102, from_ms=START - HOUR, to_ms=START)
    await enter(ledger, clock, wish)
    assert await served(ledger, device="m-2") == [("m-2", "102", -1, 0), ("m-2", "102", 0, 10)]


async def test_a_device_without_a_counter_is_in_nobody_s_way(
    ledger: Ledger, clock: VirtualClock
) -> None:
    wish = Wish(device="m-2", place=R101, from_ms=START + 11 * HOUR, to_ms=START + 12 * HOUR)
    with pytest.raises(Overlap):
        await enter(ledger, clock, wish)
    entry = Entry(wish, actor="test", cause="", clock=clock, counts=lambda name: name != "m-1")
    assert (await ledger.run(entry.write)).superseded == ()


async def test_a_binding_entered_anew_keeps_what_was_known_of_its_other_end(
    ledger: Ledger, clock: VirtualClock
) -> None:
    begin, end = START - 3 * HOUR, START - HOUR
    wish = Wish(device="m-1", place=R101, from_ms=begin, to_ms=end, first=5, last=9)
    await enter(ledger, clock, wish)
    anew = replace(wish, from_ms=begin - HOUR, first=3, last=None, cut=True)
    entered = await enter(ledger, clock, anew)
    assert entered.binding.first == Figure(value=3, time_ms=begin - HOUR)
    assert entered.binding.last == Figure(value=9, time_ms=end)


@pytest.mark.parametrize(
    ("wish", "field"),
    [
        (Wish(device="m-9", place=R101, from_ms=START), "device"),
        (Wish(device="m-2", place=R101, from_ms=START + 21 * HOUR), "from_ms"),
        (Wish(device="m-2", place=R101, from_ms=START, to_ms=START + 21 * HOUR), "to_ms"),
        (Wish(device="m-2", place=R101, from_ms=START, to_ms=START), "to_ms"),
        (Wish(device="m-4", place=R102, from_ms=START, last=3), "last"),
    ],
)
async def test_what_cannot_be_is_refused_by_its_field(
    ledger: Ledger, clock: VirtualClock, wish: Wish, field: str
) -> None:
    before = await served(ledger)
    with pytest.raises(Misfit) as refused:
        await enter(ledger, clock, wish)
    assert refused.value.field == field
    assert await served(ledger) == before


@pytest.mark.parametrize(("device", "room"), [("m-2", R102), ("m-1", R102)])
async def test_what_serves_still_must_be_what_was_applied(
    ledger: Ledger, clock: VirtualClock, device: str, room: Place
) -> None:
    with pytest.raises(Planned, match=r"devices\.csv"):
        await enter(ledger, clock, Wish(device=device, place=room, from_ms=START, cut=True))


async def test_a_binding_is_ended_earlier_or_taken_back_and_the_audit_keeps_it(
    ledger: Ledger, clock: VirtualClock
) -> None:
    name = (await of(ledger, "m-2")).id

    async def end(at_ms: int | None) -> Binding | None:
        return await ledger.run(
            lambda connection: end_binding(
                connection, name, at_ms, actor="test", cause="wrong", now_ms=clock.now_ms()
            )
        )

    with pytest.raises(Misfit):
        await end(START + 11 * HOUR)
    await end(START + 4 * HOUR)
    assert await served(ledger, device="m-2") == [("m-2", "102", 0, 4)]
    await end(None)
    assert await served(ledger, device="m-2") == []
    assert await end(None) is None
    rows = await ledger.read(lambda connection: audit.rows(connection, subject=f"binding/{name}"))
    assert [row.action for row in rows] == ["ended", "removed"]
    assert json.loads(rows[0].before)["to_ms"] == START + 10 * HOUR


async def test_what_the_files_ask_for_is_not_taken_back(
    ledger: Ledger, clock: VirtualClock
) -> None:
    name = (await of(ledger, "m-4")).id
    with pytest.raises(Planned):
        await ledger.run(
            lambda connection: end_binding(
                connection, name, None, actor="test", cause="", now_ms=clock.now_ms()
            )
        )


@pytest.fixture
async def journal(tmp_path: Path, clock: VirtualClock) -> AsyncIterator[Journal]:
    async with open_journal(tmp_path / "journal.db", clock=clock) as opened:
        yield opened


def figures(ledger: Ledger, journal: Journal, clock: VirtualClock, folder: Path) -> Figures:
    site = load_site(folder)
    return Figures(ledger=ledger, journal=journal, clock=clock, profiles=lambda: site.profiles)


async def say(journal: Journal, device: str, at_ms: int, value: int) -> None:
    reading = Reading(
        device=device, time_ms=at_ms, received_ms=at_ms, values={"energy_import": value}
    )
    await journal.append([reading])


async def test_the_last_word_of_the_old_and_the_first_of_the_new_are_kept(
    ledger: Ledger, journal: Journal, clock: VirtualClock, tmp_path: Path
) -> None:
    swap = START + 10 * HOUR
    noting = figures(ledger, journal, clock, tmp_path / "config")
    assert await noting.note() == 0
    for at_ms, value in (
        (START - HOUR, 1),
        (START + 5000, 100),
        (swap - 1000, 900),
        (swap + 1, 901),
    ):
        await say(journal, "m-2", at_ms, value)
    assert await noting.note() == 1
    await say(journal, "m-4", swap + HOUR, 7)
    await say(journal, "m-4", swap + 2 * HOUR, 9)
    assert await noting.note() == 1
    assert await noting.note() == 0
    old, new = await of(ledger, "m-2"), await of(ledger, "m-4")
    assert (old.first, old.last) == (
        Figure(value=100, time_ms=START + 5000),
        Figure(value=900, time_ms=swap - 1000),
    )
    assert (new.first, new.last) == (Figure(value=7, time_ms=swap + HOUR), None)


async def test_a_meter_that_moved_begins_with_its_word_just_before(
    ledger: Ledger, journal: Journal, clock: VirtualClock, tmp_path: Path
) -> None:
    await say(journal, "m-4", START + 10 * HOUR - 60_000, 70)
    await say(journal, "m-4", START + 10 * HOUR + 60_000, 80)
    await figures(ledger, journal, clock, tmp_path / "config").note()
    assert (await of(ledger, "m-4")).first == Figure(value=70, time_ms=START + 10 * HOUR - 60_000)


async def test_what_a_person_read_is_never_noted_over(
    ledger: Ledger, journal: Journal, clock: VirtualClock, tmp_path: Path
) -> None:
    wish = Wish(device="m-4", place=R102, from_ms=START + 10 * HOUR, first=60, cut=True)
    await enter(ledger, clock, wish)
    await say(journal, "m-4", START + 10 * HOUR + 60_000, 80)
    await figures(ledger, journal, clock, tmp_path / "config").note()
    assert (await of(ledger, "m-4")).first == Figure(value=60, time_ms=START + 10 * HOUR)


async def test_a_word_for_a_binding_that_ended_long_ago_is_not_waited_for(
    ledger: Ledger, journal: Journal, clock: VirtualClock, tmp_path: Path
) -> None:
    clock.advance(CLOCK_EARLY_MS / 1000 + 2 * 86_400)
    await say(journal, "m-2", START + 5000, 100)
    assert await figures(ledger, journal, clock, tmp_path / "config").note() == 0
