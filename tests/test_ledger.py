"""The ledger: what a work may count on, alone and among many."""

from __future__ import annotations

import asyncio
import contextlib
import stat
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, insert, select, update
from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import IntegrityError
from sqlalchemy.schema import CreateTable

from hub import StoreError, SystemClock
from hub.ledger import open_ledger, open_reader
from hub.ledger.tables import attempts, latches, metadata
from tests.inline import Inline
from tests.ledger_child import add, numbers

CLOCK = SystemClock()


async def test_a_work_returns_its_result_and_every_later_read_sees_its_rows(
    place: Path | str,
) -> None:
    async with open_ledger(place, clock=CLOCK) as ledger:
        assert await ledger.run(lambda connection: add(connection, 7)) == 7
        assert await ledger.read(numbers) == [7]


async def test_what_was_written_is_there_after_closing_and_opening(place: Path | str) -> None:
    for number in range(3):
        async with open_ledger(place, clock=CLOCK) as ledger:
            await ledger.run(lambda connection, n=number: add(connection, n))
            assert await ledger.read(numbers) == list(range(number + 1))


async def test_many_works_at_once_share_a_few_commits(place: Path | str) -> None:
    async with open_ledger(place, clock=CLOCK) as ledger:
        works = [ledger.run(lambda connection, n=n: add(connection, n)) for n in range(1000)]
        assert await asyncio.gather(*works) == list(range(1000))
        assert ledger.stats().works == 1000
        assert ledger.stats().commits <= 10


async def test_a_work_that_fails_is_undone_alone_and_told_to_its_caller_alone(
    place: Path | str,
) -> None:
    def half(connection: Connection) -> None:
        add(connection, 100)
        raise LookupError("no such room")

    async with open_ledger(place, clock=CLOCK) as ledger:
        told = await asyncio.gather(
            ledger.run(lambda connection: add(connection, 1)),
            ledger.run(half),
            ledger.run(lambda connection: add(connection, 1)),
            ledger.run(lambda connection: add(connection, 2)),
            return_exceptions=True,
        )
        assert [type(one) for one in told] == [int, LookupError, IntegrityError, int]
        assert await ledger.read(numbers) == [1, 2]
        assert ledger.stats().commits == 2  # the first alone, the three that waited for it together
        assert ledger.stats().healthy


async def test_a_work_that_breaks_off_everything_is_told_to_nobody_as_done(
    place: Path | str,
) -> None:
    def leave(connection: Connection) -> None:
        add(connection, 2)
        raise SystemExit

    async with open_ledger(place, clock=CLOCK) as ledger:
        told = await asyncio.gather(
            ledger.run(lambda connection: add(connection, 0)),
            ledger.run(lambda connection: add(connection, 1)),
            ledger.run(leave),
            return_exceptions=True,
        )
        assert [type(one) for one in told] == [int, StoreError, StoreError]
        assert not ledger.stats().healthy
        assert await ledger.run(lambda connection: add(connection, 3)) == 3
        assert await ledger.read(numbers) == [0, 3]
        assert ledger.stats().healthy


async def test_a_work_may_let_a_statement_fail_in_a_savepoint_of_its_own(
    place: Path | str,
) -> None:
    def careful(connection: Connection) -> str:
        with contextlib.suppress(IntegrityError), connection.begin_nested():
            add(connection, 1)
        add(connection, 2)
        return "fine"

    async with open_ledger(place, clock=CLOCK) as ledger:
        await ledger.run(lambda connection: add(connection, 1))
        assert await ledger.run(careful) == "fine"
        assert await ledger.read(numbers) == [1, 2]


async def test_a_work_that_swallows_its_own_error_harms_no_other(place: Path | str) -> None:
    def careless(connection: Connection) -> None:
        with contextlib.suppress(IntegrityError):
            add(connection, 1)

    async with open_ledger(place, clock=CLOCK) as ledger:
        await ledger.run(lambda connection: add(connection, 1))
        told = await asyncio.gather(
            ledger.run(lambda connection: add(connection, 2)),
            ledger.run(careless),
            ledger.run(lambda connection: add(connection, 3)),
            return_exceptions=True,
        )
        assert (told[0], told[2]) == (2, 3)
        assert not isinstance(told[1], StoreError)
        assert await ledger.read(numbers) == [1, 2, 3]
        assert ledger.stats().healthy


async def test_works_run_in_the_order_they_were_given(place: Path | str) -> None:
    def put(connection: Connection, number: int) -> None:
        connection.execute(update(latches).values(changed_ms=latches.c.changed_ms * 10 + number))

    async with open_ledger(place, clock=CLOCK) as ledger:
        await ledger.run(lambda connection: add(connection, 0))
        await asyncio.gather(
            *(ledger.run(lambda connection, n=n: put(connection, n)) for n in range(1, 6))
        )
        assert await ledger.read(numbers) == [12345]


async def test_a_cancelled_caller_harms_no_other(place: Path | str) -> None:
    async with open_ledger(place, clock=CLOCK) as ledger:
        tasks = [
            asyncio.create_task(ledger.run(lambda connection, n=n: add(connection, n)))
            for n in range(20)
        ]
        await asyncio.sleep(0)
        tasks[3].cancel()
        told = await asyncio.gather(*tasks, return_exceptions=True)
        assert [n for n, one in enumerate(told) if isinstance(one, BaseException)] == [3]
        assert set(await ledger.read(numbers)) >= set(range(20)) - {3}


async def test_leaving_waits_until_everything_begun_is_on_disk(place: Path | str) -> None:
    async with open_ledger(place, clock=CLOCK) as ledger:
        tasks = [
            asyncio.create_task(ledger.run(lambda connection, n=n: add(connection, n)))
            for n in range(500)
        ]
        await asyncio.sleep(0)
    assert [await task for task in tasks] == list(range(500))
    async with open_ledger(place, clock=CLOCK) as ledger:
        assert await ledger.read(numbers) == list(range(500))


async def test_a_closed_ledger_refuses(place: Path | str) -> None:
    async with open_ledger(place, clock=CLOCK) as ledger:
        pass
    with pytest.raises(StoreError, match="closed"):
        await ledger.run(numbers)
    with pytest.raises(StoreError, match="closed"):
        await ledger.read(numbers)


async def test_a_query_cannot_write(place: Path | str) -> None:
    async with open_ledger(place, clock=CLOCK) as ledger:
        with pytest.raises(StoreError, match=r"read-?only"):
            await ledger.read(lambda connection: add(connection, 1))
        assert await ledger.read(numbers) == []


async def test_a_read_does_not_wait_for_a_work(place: Path | str) -> None:
    begun, seen = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def slow(connection: Connection) -> None:
        add(connection, 1)
        loop.call_soon_threadsafe(begun.set)
        asyncio.run_coroutine_threadsafe(seen.wait(), loop).result(timeout=30)

    async with open_ledger(place, clock=CLOCK) as ledger:
        work = asyncio.create_task(ledger.run(slow))
        await begun.wait()
        assert await ledger.read(numbers) == []
        seen.set()
        await work
        assert await ledger.read(numbers) == [1]


async def test_a_row_that_points_nowhere_is_refused(place: Path | str) -> None:
    lost = insert(attempts).values(command="nobody", number=1, sent_ms=1)
    async with open_ledger(place, clock=CLOCK) as ledger:
        with pytest.raises(IntegrityError):
            await ledger.run(lambda connection: connection.execute(lost))


async def test_with_an_executor_of_the_callers_everything_runs_on_its_thread(
    place: Path | str,
) -> None:
    async with open_ledger(place, clock=CLOCK, executor=Inline()) as ledger:
        works = [ledger.run(lambda connection, n=n: add(connection, n)) for n in range(50)]
        assert await asyncio.gather(*works) == list(range(50))
        assert await ledger.read(numbers) == list(range(50))


async def test_a_url_opens_the_same_ledger_as_its_path(tmp_path: Path) -> None:
    async with open_ledger(f"sqlite:///{tmp_path}/ledger.db", clock=CLOCK) as ledger:
        await ledger.run(lambda connection: add(connection, 1))
    async with open_ledger(tmp_path / "ledger.db", clock=CLOCK) as ledger:
        assert await ledger.read(numbers) == [1]


async def test_the_migrations_make_exactly_the_tables_in_tables(place: Path | str) -> None:
    def differences(connection: Connection) -> list[object]:
        return list(compare_metadata(MigrationContext.configure(connection), metadata))

    async with open_ledger(place, clock=CLOCK) as ledger:
        assert await ledger.run(differences) == []


@pytest.mark.parametrize("name", metadata.tables)
def test_the_tables_are_ones_postgresql_takes(name: str) -> None:
    text = str(CreateTable(metadata.tables[name]).compile(dialect=postgresql.dialect()))
    assert text.strip().startswith(f"CREATE TABLE {name}")


async def test_the_connection_that_writes_syncs_every_commit(tmp_path: Path) -> None:
    def settings(connection: Connection) -> list[object]:
        names = ["journal_mode", "foreign_keys"]
        return [connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in names]

    async with open_ledger(tmp_path / "ledger.db", clock=CLOCK) as ledger:
        assert await ledger.run(settings) == ["wal", 1]
        assert await ledger.run(lambda c: c.exec_driver_sql("PRAGMA synchronous").scalar()) == 2
        assert (
            await ledger.read(lambda c: c.exec_driver_sql("PRAGMA wal_autocheckpoint").scalar())
        ) == 0


async def test_the_files_are_for_their_owner_alone(tmp_path: Path) -> None:
    async with open_ledger(tmp_path / "ledger.db", clock=CLOCK) as ledger:
        await ledger.run(lambda connection: add(connection, 1))
        modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()}
    assert set(modes) >= {"ledger.db", "ledger.db-wal", "ledger.db.lock"}
    assert set(modes.values()) == {0o600}


async def test_a_work_may_look_before_it_writes(place: Path | str) -> None:
    def next_number(connection: Connection) -> int:
        taken = connection.scalar(select(latches.c.changed_ms).order_by(-latches.c.changed_ms))
        return add(connection, 0 if taken is None else taken + 1)

    async with open_ledger(place, clock=CLOCK) as ledger:
        assert sorted(await asyncio.gather(*(ledger.run(next_number) for _ in range(50)))) == list(
            range(50)
        )


async def test_a_long_query_does_not_keep_another_waiting(place: Path | str) -> None:
    begun, seen = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def slow(connection: Connection) -> list[int]:
        loop.call_soon_threadsafe(begun.set)
        asyncio.run_coroutine_threadsafe(seen.wait(), loop).result(timeout=30)
        return numbers(connection)

    async with open_ledger(place, clock=CLOCK) as ledger:
        long = asyncio.create_task(ledger.read(slow))
        await begun.wait()
        await ledger.run(lambda connection: add(connection, 1))
        assert await ledger.read(numbers) == [1]
        seen.set()
        assert await long == [1]


async def test_a_ledger_can_be_looked_at_from_outside_while_it_is_written_and_after(
    place: Path | str,
) -> None:
    async with open_ledger(place, clock=CLOCK) as ledger:
        await ledger.run(lambda connection: add(connection, 1))
        with open_reader(place) as connection:
            assert numbers(connection) == [1]
            await ledger.run(lambda connection: add(connection, 2))
            assert numbers(connection) == [1]
    with open_reader(place) as connection:
        assert numbers(connection) == [1, 2]
    with (
        pytest.raises(StoreError, match=r"read-?only"),
        open_reader(place) as looking,
    ):
        add(looking, 3)


def test_looking_at_a_ledger_that_is_not_there_is_refused_and_makes_none(tmp_path: Path) -> None:
    with (
        pytest.raises(StoreError, match="unable to open"),
        open_reader(tmp_path / "ledger.db") as connection,
    ):
        numbers(connection)
    assert not list(tmp_path.iterdir())
