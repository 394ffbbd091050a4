"""The audit's chain: whatever is done to a row behind its back is found, and where."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Connection, create_engine, delete, func, insert, select, update

from hub import audit
from hub.audit import Broken, Head
from hub.ledger.tables import audit as table
from hub.ledger.tables import audit_head, latches, metadata

FIELDS = ["time_ms", "actor", "cause", "subject", "action", "before", "after"]
words = st.text(max_size=12)
changes = st.lists(st.tuples(words, words, words, words, words, words), min_size=2, max_size=12)


@contextmanager
def written(rows: list[tuple[str, ...]]) -> Iterator[Connection]:
    """A chain of these rows, in memory."""
    engine = create_engine("sqlite://")
    with engine.connect() as connection:
        metadata.create_all(connection)
        for time_ms, (actor, cause, subject, action, before, after) in enumerate(rows):
            audit.append(
                connection,
                actor=actor,
                cause=cause,
                subject=subject,
                action=action,
                before=before,
                after=after,
                time_ms=time_ms,
            )
        yield connection
    engine.dispose()


def number_of(data: st.DataObject, rows: list[tuple[str, ...]]) -> int:
    return data.draw(st.integers(1, len(rows)))


@given(changes)
def test_a_chain_nobody_touched_is_whole(rows: list[tuple[str, ...]]) -> None:
    with written(rows) as connection:
        assert audit.verify(connection) is None
        assert audit.head(connection).number == len(rows)


@given(changes, st.sampled_from(FIELDS), st.data())
def test_an_edited_field_is_found_at_its_row(
    rows: list[tuple[str, ...]], field: str, data: st.DataObject
) -> None:
    number = number_of(data, rows)
    with written(rows) as connection:
        one = table.c.number == number
        old = connection.scalar(select(table.c[field]).where(one))
        new = data.draw((st.integers(0, 99) if field == "time_ms" else words).filter(old.__ne__))
        connection.execute(update(table).where(one).values({field: new}))
        assert audit.verify(connection) == Broken(number=number, reason="changed")


@given(changes, st.data())
def test_a_word_moved_into_the_next_field_is_found(
    rows: list[tuple[str, ...]], data: st.DataObject
) -> None:
    number = number_of(data, rows)
    with written([("ab", "c", *row[2:]) for row in rows]) as connection:
        moved = update(table).where(table.c.number == number).values(actor="a", cause="bc")
        connection.execute(moved)
        assert audit.verify(connection) == Broken(number=number, reason="changed")


@given(changes, st.data())
def test_a_removed_row_is_found_also_when_it_was_the_last(
    rows: list[tuple[str, ...]], data: st.DataObject
) -> None:
    number = number_of(data, rows)
    with written(rows) as connection:
        connection.execute(delete(table).where(table.c.number == number))
        assert audit.verify(connection) == Broken(number=number, reason="missing")


@given(changes, st.data())
def test_a_chain_cut_short_is_found(rows: list[tuple[str, ...]], data: st.DataObject) -> None:
    number = number_of(data, rows)
    with written(rows) as connection:
        connection.execute(delete(table).where(table.c.number >= number))
        assert audit.verify(connection) == Broken(number=number, reason="missing")


@given(changes, st.data())
def test_two_rows_swapped_are_found_at_the_first(
    rows: list[tuple[str, ...]], data: st.DataObject
) -> None:
    first = data.draw(st.integers(1, len(rows) - 1))
    second = data.draw(st.integers(first + 1, len(rows)))
    with written(rows) as connection:
        for old, new in ((first, -9), (second, first), (-9, second)):
            connection.execute(update(table).where(table.c.number == old).values(number=new))
        assert audit.verify(connection) == Broken(number=first, reason="changed")


@given(changes, st.data())
def test_a_removed_row_is_found_when_the_later_ones_close_up(
    rows: list[tuple[str, ...]], data: st.DataObject
) -> None:
    number = data.draw(st.integers(1, len(rows) - 1))
    with written(rows) as connection:
        connection.execute(delete(table).where(table.c.number == number))
        for later in range(number + 1, len(rows) + 1):
            moved = update(table).where(table.c.number == later).values(number=later - 1)
            connection.execute(moved)
        assert audit.verify(connection) == Broken(number=number, reason="changed")


@given(changes)
def test_a_row_added_by_a_stranger_is_found(rows: list[tuple[str, ...]]) -> None:
    with written(rows) as connection:
        forged = {"time_ms": 1, "actor": "me", "subject": "gate", "action": "opened"}
        connection.execute(insert(table).values(number=len(rows) + 1, hash="0" * 64, **forged))
        assert audit.verify(connection) == Broken(number=len(rows) + 1, reason="changed")


@pytest.mark.parametrize("number", [0, -5])
def test_a_row_put_before_the_first_is_found(number: int) -> None:
    with written([("a", "b", "c", "d", "e", "f")]) as connection:
        forged = {"time_ms": 1, "actor": "me", "subject": "gate", "action": "opened"}
        connection.execute(insert(table).values(number=number, hash="0" * 64, **forged))
        assert audit.verify(connection) == Broken(number=number, reason="added")


@given(changes, st.data())
def test_a_chain_written_anew_from_a_row_on_is_found_by_a_head_noted_before(
    rows: list[tuple[str, ...]], data: st.DataObject
) -> None:
    with written(rows) as connection:
        noted = audit.head(connection)
    forged = list(rows)
    place = data.draw(st.integers(0, len(rows) - 1))
    forged[place] = (rows[place][0] + "!", *rows[place][1:])
    with written([*forged, rows[0]]) as connection:
        assert audit.verify(connection) is None
        found = audit.verify(connection, noted=noted)
        assert found == Broken(number=len(rows), reason="not the row that was noted")


def test_a_whole_chain_shorter_than_the_noted_head_is_found() -> None:
    with written([("a", "b", "c", "d", "e", "f")]) as connection:
        noted = Head(number=3, hash="0" * 64)
        assert audit.verify(connection, noted=noted) == Broken(number=2, reason="missing")


def test_a_lost_end_of_the_chain_is_found() -> None:
    with written([("a", "b", "c", "d", "e", "f")]) as connection:
        connection.execute(delete(audit_head))
        found = audit.verify(connection)
        assert found == Broken(number=1, reason="not the recorded end of the chain")


def test_a_long_chain_is_read_in_steps_to_its_end() -> None:
    with written([("a", "b", "c", "d", "e", str(n)) for n in range(2500)]) as connection:
        assert connection.scalar(select(func.count()).select_from(table)) == 2500
        assert audit.verify(connection) is None
        connection.execute(update(table).where(table.c.number == 2400).values(after="x"))
        assert audit.verify(connection) == Broken(number=2400, reason="changed")


def test_rows_are_listed_by_subject_and_from_a_number_on() -> None:
    rows = [("a", "", f"gate-{n % 2}", "opened", "", str(n)) for n in range(10)]
    with written(rows) as connection:
        assert [row.after for row in audit.rows(connection, subject="gate-1")] == list("13579")
        assert [row.number for row in audit.rows(connection, after=4, limit=3)] == [5, 6, 7]


def test_a_nul_is_written_as_its_picture_and_the_chain_is_whole() -> None:
    with written([("a\0", "b", "c", "d", "e", "f")]) as connection:
        assert [row.actor for row in audit.rows(connection)] == ["a\u2400"]
        assert audit.verify(connection) is None


def test_an_emptied_chain_is_found_when_something_has_happened() -> None:
    with written([]) as connection:
        assert audit.verify(connection) is None
        latch = {"name": "fire", "latched": True, "changed_ms": 1, "actor": "a", "cause": ""}
        connection.execute(insert(latches).values(latch))
        assert audit.verify(connection) == Broken(number=1, reason="missing")
