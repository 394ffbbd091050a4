"""The books: whatever is posted in whatever order, every sum stays right and nothing is booked twice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, create_engine, delete, insert, update

from hub import VirtualClock
from hub.campus.accounts import books
from hub.campus.accounts.accounts import (
    BookError,
    Room,
    Unit,
    Utility,
    correction,
    ensure,
    ensure_room,
    grant,
    is_open,
    kind_of,
    platform,
    revenue,
    room_of,
)
from hub.campus.accounts.books import Entry, Kind, Mismatch, Posting, transfer
from hub.ledger import Ledger, open_ledger
from hub.ledger.tables import balances, metadata, postings

Result = TypeVar("Result")
START_MS = 1_700_000_000_000
ROOM = Room(building="B1", room="101")
OTHER = Room(building="B1", room="102")
HOUSE = (platform("campus"), revenue(Utility.ELECTRICITY), grant(Utility.ELECTRICITY))


def open_all(connection: Connection) -> None:
    """Two rooms and a platform."""
    ensure_room(connection, ROOM, now_ms=START_MS)
    ensure_room(connection, OTHER, now_ms=START_MS)
    ensure(connection, *HOUSE, now_ms=START_MS)


@pytest.fixture
async def ledger(tmp_path: Path) -> AsyncIterator[Ledger]:
    async with open_ledger(tmp_path / "ledger.db", clock=VirtualClock(start_ms=START_MS)) as opened:
        await opened.run(open_all)
        yield opened


@pytest.fixture
async def stored(place: Path | str) -> AsyncIterator[Ledger]:
    """The same in a file, and in a database of a server."""
    async with open_ledger(place, clock=VirtualClock(start_ms=START_MS)) as opened:
        await opened.run(open_all)
        yield opened


def paying(
    key: str, amount: int = 5_000, room: Room = ROOM, unit: Unit = Unit.FEN
) -> Callable[[Connection], int | None]:
    """An order is accepted."""
    said = transfer(platform("campus"), room.held, unit, amount)
    return lambda connection: posted(connection, key, said)


def posted(
    connection: Connection, key: str, said: tuple[Posting, ...], kind: Kind = Kind.ACCEPTED
) -> int | None:
    return books.post(
        connection, key=key, kind=kind, postings=said, actor="t", cause="", time_ms=START_MS
    )


async def held(ledger: Ledger, room: Room = ROOM) -> int:
    return await ledger.read(lambda connection: books.balance(connection, room.held))


async def test_what_is_accepted_stands_on_both_sides(ledger: Ledger) -> None:
    assert await ledger.run(paying("order/campus/1")) == 1
    assert await held(ledger) == 5_000
    owed = await ledger.read(lambda connection: books.balance(connection, platform("campus")))
    assert owed == -5_000
    assert await ledger.read(books.check) == []


async def test_concurrent_equal_keys_book_once(stored: Ledger) -> None:
    works = [stored.run(paying(f"order/campus/{n % 3}")) for n in range(60)]
    numbers = await asyncio.gather(*works)
    assert sorted(n for n in numbers if n) == [1, 2, 3]
    assert await held(stored) == 15_000


async def test_one_key_with_other_amounts_is_refused_and_changes_nothing(stored: Ledger) -> None:
    await stored.run(paying("order/campus/1"))
    with pytest.raises(BookError, match="otherwise"):
        await stored.run(paying("order/campus/1", 5_001))
    assert await held(stored) == 5_000


async def test_one_key_of_another_kind_is_refused(ledger: Ledger) -> None:
    said = transfer(platform("campus"), ROOM.held, Unit.FEN, 5)
    await ledger.run(lambda connection: posted(connection, "k", said))
    with pytest.raises(BookError, match="otherwise"):
        await ledger.run(lambda connection: posted(connection, "k", said, Kind.REFUNDED))


@pytest.mark.parametrize("amount", [1.0, 0.1 + 0.2, True, 0, "5", None, 10**12 + 1, float("nan")])
async def test_money_is_never_anything_but_a_whole_number(ledger: Ledger, amount: object) -> None:
    wrong = Posting(account=ROOM.held, unit=Unit.FEN, amount=amount)  # type: ignore[arg-type]
    with pytest.raises(BookError, match="cannot be booked"):
        await ledger.run(lambda connection: posted(connection, "k", (wrong, wrong)))
    assert await held(ledger) == 0


async def test_postings_that_do_not_come_to_nothing_are_refused(ledger: Ledger) -> None:
    wrong = (
        Posting(account=ROOM.held, unit=Unit.FEN, amount=5),
        Posting(account=ROOM.account, unit=Unit.WH, amount=-5),
    )
    with pytest.raises(BookError, match="not to 0"):
        await ledger.run(lambda connection: posted(connection, "k", wrong))
    with pytest.raises(BookError, match="nothing"):
        await ledger.run(lambda connection: posted(connection, "k", ()))


async def test_nothing_is_booked_on_an_account_that_nobody_opened(ledger: Ledger) -> None:
    unknown = Room(building="B1", room="999")
    with pytest.raises(BookError, match="is open"):
        await ledger.run(paying("k", room=unknown))
    assert await ledger.run(paying("k")) == 1


async def test_a_correction_needs_a_person_and_a_reason_and_is_its_own_entry(
    ledger: Ledger,
) -> None:
    def correcting(reason: str) -> Callable[[Connection], int | None]:
        return lambda connection: books.correct(
            connection,
            key="correction/1",
            account=ROOM.account,
            unit=Unit.FEN,
            amount=-300,
            actor="finance",
            reason=reason,
            time_ms=START_MS,
        )

    with pytest.raises(BookError, match="reason"):
        await ledger.run(correcting(" "))
    await ledger.run(correcting("counted twice"))
    lines = await ledger.read(lambda connection: books.statement(connection, ROOM.account))
    assert [(line.kind, line.amount, line.cause) for line in lines] == [
        (Kind.CORRECTION, -300, "counted twice")
    ]
    other = correction(Utility.ELECTRICITY)
    assert await ledger.read(lambda connection: books.balance(connection, other)) == 300


async def test_a_statement_goes_back_page_by_page(ledger: Ledger) -> None:
    for number in range(5):
        await ledger.run(paying(f"order/campus/{number}", number + 1))

    def page(before: int | None) -> Callable[[Connection], list[books.Line]]:
        return lambda connection: books.statement(connection, ROOM.held, before=before, limit=2)

    first = await ledger.read(page(None))
    second = await ledger.read(page(first[-1].number))
    assert [line.amount for line in (*first, *second)] == [5, 4, 3, 2]


async def test_a_balance_that_somebody_changed_is_found(ledger: Ledger) -> None:
    await ledger.run(paying("order/campus/1"))
    meddled = update(balances).where(balances.c.account == ROOM.held).values(amount=1)
    await ledger.run(lambda connection: connection.execute(meddled).close())
    assert await ledger.read(books.check) == [
        Mismatch(subject=ROOM.held, unit="fen", booked=5_000, found=1)
    ]


async def test_a_balance_without_postings_is_found(ledger: Ledger) -> None:
    row = {"account": ROOM.meter, "unit": "fen", "amount": 7}
    await ledger.run(lambda connection: connection.execute(insert(balances), row).close())
    assert await ledger.read(books.check) == [
        Mismatch(subject=ROOM.meter, unit="fen", booked=0, found=7)
    ]


async def test_a_posting_that_somebody_removed_is_found(stored: Ledger) -> None:
    await stored.run(paying("order/campus/1"))
    gone = delete(postings).where(postings.c.account == ROOM.held)
    await stored.run(lambda connection: connection.execute(gone).close())
    found = await stored.read(books.check)
    assert {mismatch.subject for mismatch in found} == {ROOM.held, "transaction/1"}


async def test_many_entries_are_booked_together_or_not_at_all(stored: Ledger) -> None:
    good = Entry(key="a", kind=Kind.USE, postings=transfer(ROOM.account, HOUSE[1], Unit.FEN, 9))
    wrong = Entry(key="b", kind=Kind.USE, postings=transfer("room/B9/1/gas", "x", Unit.FEN, 9))

    def book(*entries: Entry) -> Callable[[Connection], list[int]]:
        return lambda connection: books.post_all(connection, entries, actor="t", time_ms=START_MS)

    with pytest.raises(BookError):
        await stored.run(book(good, wrong))
    assert await stored.read(books.check) == []
    assert await stored.run(book(good, good)) == [1]
    assert await stored.run(book(good)) == []


def test_no_two_places_share_an_account() -> None:
    one = Room(building="A/1", room="2")
    two = Room(building="A", room="1/2")
    three = Room(building="A%2F1", room="2")
    assert len({one.account, two.account, three.account}) == 3
    assert [room_of(room.meter) for room in (one, two, three)] == [one, two, three]


@pytest.mark.parametrize("text", ["", "room", "room/B1/1/gas", "platform", "cash/x", "revenue/gas"])
def test_what_is_no_account_is_refused(text: str) -> None:
    with pytest.raises(BookError, match="no account"):
        kind_of(text)


async def test_an_account_is_opened_once(ledger: Ledger) -> None:
    await ledger.run(open_all)
    assert await ledger.read(lambda connection: is_open(connection, ROOM.account))
    assert not await ledger.read(lambda connection: is_open(connection, "room/B1/103/electricity"))


ACCOUNTS = (ROOM.account, ROOM.held, ROOM.meter, OTHER.account, *HOUSE)
POSTS = st.lists(
    st.tuples(
        st.integers(0, 8),  # the key: repeats are wanted
        st.sampled_from(ACCOUNTS),
        st.sampled_from(ACCOUNTS),
        st.sampled_from(list(Unit)),
        st.integers(-books.AMOUNT_MAX - 1, books.AMOUNT_MAX + 1),
    ),
    max_size=40,
)


@settings(deadline=None)
@given(said=POSTS, undone=st.sets(st.integers(0, 40)))
def test_any_interleaving_of_posts_keeps_every_sum(
    said: list[tuple[int, str, str, Unit, int]], undone: set[int]
) -> None:
    """Repeats, contradictions, impossible amounts and transactions that were undone, all mixed."""
    engine = create_engine("sqlite://")
    with engine.connect() as connection, connection.begin():
        metadata.create_all(connection)
        open_all(connection)
        expected: dict[str, int] = {}
        for place, (key, source, target, unit, amount) in enumerate(said):
            wish = transfer(source, target, unit, amount)
            done = attempt(connection, str(key), wish, undo=place in undone)
            expected |= {f"{key}": place} if done else {}
        assert books.check(connection) == []
        assert totals(connection) == {unit: 0 for unit in totals(connection)}
        lines = {line.key for account in ACCOUNTS for line in books.statement(connection, account)}
        assert lines == expected.keys()
    engine.dispose()


class Undone(Exception):
    """The work around a post failed after it."""


def attempt(
    connection: Connection, key: str, said: tuple[Posting, Posting], *, undo: bool
) -> int | None:
    """Post in a savepoint, as the ledger does; None where it was refused, repeated or undone."""
    try:
        with connection.begin_nested():
            number = posted(connection, key, said)
            if undo:
                raise Undone
            return number
    except (BookError, Undone):
        return None


def totals(connection: Connection) -> dict[Unit, int]:
    found: dict[Unit, int] = {}
    for account in ACCOUNTS:
        for unit, amount in books.balances_of(connection, account).items():
            found[unit] = found.get(unit, 0) + amount
    return found
