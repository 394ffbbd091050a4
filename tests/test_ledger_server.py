"""The ledger on a PostgreSQL server that dies, freezes, breaks its line off or belongs to another."""

from __future__ import annotations

import asyncio
import random
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager

import pytest
from sqlalchemy import URL, Connection, create_engine, insert, inspect, select

from hub import StoreDamaged, StoreError, SystemClock, VirtualClock, audit
from hub.ledger import Ledger, open_ledger, open_reader
from hub.ledger.books import place_of
from hub.ledger.postgresql import ServerBooks
from hub.ledger.tables import latches, metadata
from tests.ledger_child import add, audited, numbers
from tests.postgresql_server import (
    PASSWORD,
    Database,
    PostgreSQL,
    fresh_database,
    postgresql_server,
)
from tests.servers import free_port
from tests.test_ledger_faults import OLDER, child, make_old, tables_and_latches

CLOCK = SystemClock()
WRITERS = 8


@pytest.fixture(scope="module")
def own_cluster() -> Iterator[PostgreSQL]:
    """A server that may be killed."""
    with postgresql_server() as server:
        yield server


@pytest.fixture
def own(own_cluster: PostgreSQL) -> Iterator[Database]:
    """A database on it."""
    with fresh_database(own_cluster) as database:
        yield database
        own_cluster.start()


@asynccontextmanager
async def opened(database: Database) -> AsyncIterator[Ledger]:
    async with open_ledger(database.url, clock=CLOCK) as ledger:
        yield ledger


async def open_once(url: str) -> None:
    async with asyncio.timeout(2), open_ledger(url, clock=CLOCK):
        pass


async def until(condition: Callable[[], bool]) -> None:
    """Return when it holds."""
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.01)


async def insist(ledger: Ledger, number: int) -> int:
    """Add a row as soon as the ledger takes it; how often it refused."""
    async with asyncio.timeout(30):
        for refusals in range(3000):
            try:
                await ledger.run(lambda connection: add(connection, number))
            except StoreError:
                await asyncio.sleep(0.01)
            else:
                return refusals
    raise AssertionError("refused for ever")


async def go_on(ledger: Ledger, first: int, over: asyncio.Event, told: dict[int, bool]) -> None:
    """Add rows until it is over, whatever the ledger says; `told` keeps which were acknowledged."""
    for number in range(first, first + 1_000_000):
        if over.is_set():
            return
        try:
            await ledger.run(lambda connection, n=number: add(connection, n))
            told[number] = True
        except StoreError:
            told[number] = False
            await asyncio.sleep(0.05)


async def test_a_killed_server_has_all_that_was_acknowledged_and_nothing_that_was_refused(
    own: Database, seed: int
) -> None:
    chance, told, over = random.Random(seed), dict[int, bool](), asyncio.Event()
    async with opened(own) as ledger:
        async with asyncio.TaskGroup() as tasks:
            for writer in range(WRITERS):
                tasks.create_task(go_on(ledger, writer * 1_000_000, over, told))
            for _ in range(4):
                await asyncio.sleep(chance.uniform(0.1, 0.5))
                await asyncio.to_thread(own.server.kill)
                await until(lambda: not ledger.stats().healthy)
                await asyncio.to_thread(own.server.start)
                await until(lambda: ledger.stats().healthy)
            over.set()
        found = await ledger.read(numbers)
        assert await ledger.read(audited) == len(found)
        assert await ledger.read(audit.verify) is None
    assert sorted(number for number, stored in told.items() if stored) == found
    assert not all(told.values())


async def test_without_a_server_everything_is_refused_and_it_comes_back_by_itself(
    own: Database,
) -> None:
    async with opened(own) as ledger:
        await ledger.run(lambda connection: add(connection, 1))
        own.server.kill()
        await until(lambda: not ledger.stats().healthy)
        with pytest.raises(StoreError):
            await ledger.run(lambda connection: add(connection, 2))
        with pytest.raises(StoreError):
            await ledger.read(numbers)
        assert ledger.stats().reason
        own.server.start()
        await until(lambda: ledger.stats().healthy)
        assert await ledger.read(numbers) == [1]
        await ledger.run(lambda connection: add(connection, 3))
        assert await ledger.read(numbers) == [1, 3]


async def test_a_server_that_stands_still_is_given_up_and_taken_again_when_it_moves(
    own: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ServerBooks, "answer_s", 0.5)
    async with opened(own) as ledger:
        await ledger.run(lambda connection: add(connection, 1))
        own.server.freeze()
        told = await asyncio.gather(
            ledger.run(lambda connection: add(connection, 2)),
            ledger.read(numbers),
            return_exceptions=True,
        )
        assert [type(one) for one in told] == [StoreError, StoreError]
        own.server.freeze(signal.SIGCONT)
        await insist(ledger, 3)
        assert await ledger.read(numbers) == [1, 3]


async def test_a_server_that_stands_still_does_not_keep_the_hub_from_closing(
    own: Database,
) -> None:
    try:
        async with asyncio.timeout(30), opened(own) as ledger:
            own.server.freeze()
            working = asyncio.create_task(ledger.run(lambda connection: add(connection, 1)))
            reading = asyncio.create_task(ledger.read(numbers))
            await asyncio.sleep(0)
            reading.cancel()
        assert isinstance(working.exception(), StoreError)
    finally:
        own.server.freeze(signal.SIGCONT)


@asynccontextmanager
async def closed_door(port: int) -> AsyncIterator[list[object]]:
    """Somebody in the server's place who lets nobody in, and who has knocked."""
    knocks: list[object] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        knocks.append(reader)
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", port):
        yield knocks


async def test_a_server_that_is_away_is_asked_at_growing_pauses_however_much_is_to_be_written(
    own: Database,
) -> None:
    options = {"sslmode": "disable", "gssencmode": "disable"}  # or one try would be several knocks
    at = URL.create("postgresql", "postgres", PASSWORD, "127.0.0.1", own.server.port, own.name)
    clock = VirtualClock(start_ms=0)
    async with open_ledger(at.update_query_dict(options), clock=clock) as ledger:
        own.server.kill()
        async with closed_door(own.server.port) as knocks:
            counts = []
            for _ in range(100):
                works = [ledger.run(lambda connection: add(connection, 1)) for _ in range(5)]
                told = await asyncio.gather(*works, return_exceptions=True)
                assert {type(one) for one in told} == {StoreError}
                counts.append(len(knocks))
                clock.advance(1.0)
        assert counts[0] <= 1  # the ledger's own look may have met the empty doorway
        assert 15 <= counts[-1] <= 30  # every five seconds in the end, give or take a quarter


async def test_a_broken_line_is_made_anew_without_anybody_noticing(postgresql: Database) -> None:
    async with opened(postgresql) as ledger:
        await ledger.run(lambda connection: add(connection, 1))
        assert await ledger.read(numbers) == [1]
        postgresql.end_sessions()
        assert await ledger.run(lambda connection: add(connection, 2)) == 2
        assert await ledger.read(numbers) == [1, 2]


async def committing(database: Database, event: str) -> None:
    """Return when a session waits for this in its COMMIT."""
    query = (
        f"SELECT 1 FROM pg_stat_activity WHERE wait_event = '{event}' AND query LIKE 'COMMIT%'"
        f" AND datname = '{database.name}'"
    )
    await until(lambda: bool(database.run(query)))


def wait_for_nobody(own: Database, change: str) -> None:
    """Have a COMMIT that is on this server's disk wait for another one's, which is not there; or no more."""
    own.run(f"ALTER SYSTEM {change}")
    own.run("SELECT pg_reload_conf()")


async def test_a_commit_that_was_done_but_not_answered_is_told_as_done_once_it_is_known(
    own: Database,
) -> None:
    async with opened(own) as ledger:
        await ledger.run(lambda connection: add(connection, 1))
        wait_for_nobody(own, "SET synchronous_standby_names = 'nobody'")
        work = asyncio.create_task(ledger.run(lambda connection: add(connection, 2)))
        await committing(own, "SyncRep")
        own.end_sessions()
        wait_for_nobody(own, "RESET synchronous_standby_names")
        assert await work == 2
        await insist(ledger, 3)
        assert await ledger.read(numbers) == [1, 2, 3]
        assert ledger.stats().works == 3


SLOW_COMMIT = """
CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(60); RETURN NULL; END';
CREATE CONSTRAINT TRIGGER slow AFTER INSERT ON latches DEFERRABLE INITIALLY DEFERRED
FOR EACH ROW EXECUTE FUNCTION slow()
"""


async def test_a_commit_that_broke_off_is_told_as_not_stored_and_is_not(own: Database) -> None:
    async with opened(own) as ledger:
        await ledger.run(lambda connection: add(connection, 1))
        own.run(SLOW_COMMIT)
        work = asyncio.create_task(ledger.run(lambda connection: add(connection, 2)))
        await committing(own, "PgSleep")
        own.end_sessions()
        with pytest.raises(StoreError, match="lost while it was committed"):
            await work
        own.run("DROP TRIGGER slow ON latches")
        await insist(ledger, 3)
        assert await ledger.read(numbers) == [1, 3]


async def test_a_doubt_that_outlives_the_hub_is_left_to_the_next_start(own: Database) -> None:
    async with opened(own) as ledger:
        await ledger.run(lambda connection: add(connection, 1))
        own.run(SLOW_COMMIT)
        work = asyncio.create_task(ledger.run(lambda connection: add(connection, 2)))
        await committing(own, "PgSleep")
        own.server.kill()
        await until(lambda: not ledger.stats().healthy)
        assert not work.done()
    with pytest.raises(StoreError, match="only the next start will show"):
        await work
    own.server.start()
    async with opened(own) as ledger:
        assert await ledger.read(numbers) == [1]


async def test_a_second_process_is_refused_within_two_seconds_in_clear_words(
    postgresql: Database,
) -> None:
    with child("hold", postgresql.url) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n"
        with pytest.raises(StoreError, match="written by another process; stop that hub first"):
            await open_once(postgresql.url)
        process.communicate("", timeout=30)
    await open_once(postgresql.url)


async def test_a_hub_that_was_killed_leaves_the_ledger_to_the_next_at_once(
    postgresql: Database,
) -> None:
    with child("hold", postgresql.url) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n"
        process.kill()
    await open_once(postgresql.url)


@asynccontextmanager
async def opened_by_a_role(own: Database) -> AsyncIterator[Ledger]:
    """A ledger with one row, whose hub can be kept out."""
    role = f"{own.name}_hub"
    own.run(f"CREATE ROLE {role} LOGIN")
    own.run(f"ALTER DATABASE {own.name} OWNER TO {role}")
    async with open_ledger(own.url.replace("postgres@", f"{role}@"), clock=CLOCK) as ledger:
        await ledger.run(lambda connection: add(connection, 1))
        yield ledger


@asynccontextmanager
async def locked_out(own: Database) -> AsyncIterator[Ledger]:
    """A ledger with one row, whose hub has lost its line and is kept out."""
    async with opened_by_a_role(own) as ledger:
        keep_out(own)
        await until(lambda: not ledger.stats().healthy)
        yield ledger


def keep_out(own: Database) -> None:
    own.run(f"ALTER ROLE {own.name}_hub NOLOGIN")
    own.end_sessions()


def let_in(own: Database) -> None:
    own.run(f"ALTER ROLE {own.name}_hub LOGIN")


async def test_a_transaction_whose_number_a_crashed_server_gave_to_another_is_not_told_as_done(
    own: Database,
) -> None:
    async with opened_by_a_role(own) as ledger:
        wait_for_nobody(own, "SET synchronous_standby_names = 'nobody'")
        work = asyncio.create_task(ledger.run(lambda connection: add(connection, 2)))
        await committing(own, "SyncRep")
        keep_out(own)
        wait_for_nobody(own, "RESET synchronous_standby_names")
        own.run("DELETE FROM latches WHERE changed_ms = 2")  # as if it had never been written
        own.run("DELETE FROM audit WHERE number = 2")
        own.run("UPDATE audit_head SET number = 1, hash = (SELECT hash FROM audit)")
        let_in(own)
        with pytest.raises(StoreError, match="lost while it was committed"):
            await work
        await insist(ledger, 3)
        assert await ledger.read(numbers) == [1, 3]


async def test_a_hub_whose_ledger_another_has_written_meanwhile_never_writes_again(
    own: Database,
) -> None:
    async with locked_out(own) as first:
        async with opened(own) as second:
            await second.run(lambda connection: add(connection, 2))
        let_in(own)
        await until(lambda: "restart this hub" in first.stats().reason)
        with pytest.raises(StoreError, match="written by another hub, or restored"):
            await first.run(lambda connection: add(connection, 3))
    async with opened(own) as third:
        assert await third.read(numbers) == [1, 2]
        assert await third.read(audit.verify) is None


async def test_a_hub_waits_for_another_that_holds_its_ledger_and_goes_on_if_nothing_was_written(
    own: Database,
) -> None:
    async with locked_out(own) as first:
        async with opened(own):
            let_in(own)
            await until(lambda: "another process" in first.stats().reason)
            with pytest.raises(StoreError):
                await first.run(lambda connection: add(connection, 2))
        await insist(first, 3)
        assert await first.read(numbers) == [1, 3]


async def test_a_ledger_restored_to_an_earlier_state_under_a_running_hub_is_not_written(
    own: Database,
) -> None:
    async with locked_out(own) as first:
        own.run("DELETE FROM audit")
        own.run("DELETE FROM audit_head")
        let_in(own)
        await until(lambda: "restart this hub" in first.stats().reason)


async def test_an_unreachable_server_is_named_without_the_password() -> None:
    port = free_port()
    with pytest.raises(StoreError, match=f"127.0.0.1:{port}/ledger") as caught:
        await open_once(f"postgresql://hub:tell-nobody@127.0.0.1:{port}/ledger")
    assert "tell-nobody" not in str(caught.value)


async def test_a_wrong_password_is_said_and_not_shown(own: Database) -> None:
    with pytest.raises(StoreError, match="password authentication failed") as caught:
        await open_once(f"postgresql://postgres:tell-nobody@127.0.0.1:{own.server.port}/{own.name}")
    assert "tell-nobody" not in str(caught.value)


async def test_a_server_that_does_not_sync_is_refused(own: Database) -> None:
    own.run("ALTER SYSTEM SET fsync = off")
    own.run("SELECT pg_reload_conf()")
    await until(lambda: own.run("SHOW fsync") == [("off",)])
    try:
        with pytest.raises(StoreError, match="acknowledging would be a lie"):
            await open_once(own.url)
    finally:
        own.run("ALTER SYSTEM RESET fsync")
        own.run("SELECT pg_reload_conf()")
    await until(lambda: own.run("SHOW fsync") == [("on",)])
    await open_once(own.url)


async def test_a_database_that_would_not_wait_for_the_disk_is_made_to(postgresql: Database) -> None:
    postgresql.run(f"ALTER DATABASE {postgresql.name} SET synchronous_commit = off")
    async with opened(postgresql) as ledger:
        shown = "SHOW synchronous_commit"
        assert await ledger.run(lambda c: c.exec_driver_sql(shown).scalar()) == "on"


async def test_a_database_that_cannot_hold_every_letter_is_refused(own: Database) -> None:
    name = own.name + "_latin"
    own.run(f"CREATE DATABASE {name} TEMPLATE template0 ENCODING LATIN1 LOCALE 'C'")
    try:
        with pytest.raises(StoreError, match="ENCODING 'UTF8'"):
            await open_once(own.server.url(name))
    finally:
        own.run(f"DROP DATABASE {name} WITH (FORCE)")


async def test_another_programs_database_is_refused_and_left_alone(postgresql: Database) -> None:
    postgresql.run("CREATE TABLE a (b int)")
    with pytest.raises(StoreDamaged, match="another program"):
        await open_once(postgresql.url)
    tables = "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
    assert postgresql.run(tables) == [("a",)]


async def test_a_newer_hubs_database_is_refused_in_clear_words(postgresql: Database) -> None:
    await open_once(postgresql.url)
    postgresql.run("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(StoreError, match="newer dormhub"):
        await open_once(postgresql.url)


@pytest.mark.parametrize(
    ("deed", "broken"),
    [
        ("UPDATE audit SET after = 'nothing' WHERE number = 2", (2, "changed")),
        ("DELETE FROM audit WHERE number = 2", (2, "missing")),
        ("DELETE FROM audit WHERE number = 3", (3, "missing")),
        ("DELETE FROM audit_head", (3, "not the recorded end of the chain")),
    ],
)
async def test_what_a_stranger_did_to_the_audit_is_found(
    postgresql: Database, deed: str, broken: tuple[int, str]
) -> None:
    async with opened(postgresql) as ledger:
        for number in range(3):
            await ledger.run(lambda connection, n=number: add(connection, n))
    postgresql.run(deed)
    with open_reader(postgresql.url) as connection:
        found = audit.verify(connection)
    assert found == audit.Broken(number=broken[0], reason=broken[1])


async def test_the_audit_is_read_as_of_one_moment_while_it_grows(postgresql: Database) -> None:
    async with opened(postgresql) as ledger:
        await ledger.run(lambda connection: add(connection, 1))
        with open_reader(postgresql.url) as connection:
            assert audit.head(connection).number == 1
            await ledger.run(lambda connection: add(connection, 2))
            assert audit.verify(connection) is None
            assert audit.head(connection).number == 1


async def test_a_nul_in_a_text_is_written_as_its_picture(postgresql: Database) -> None:
    def odd(connection: Connection) -> None:
        row = {"name": "a\0b", "latched": True, "changed_ms": 1, "actor": "\0"}
        connection.execute(insert(latches).values(**row))

    async with opened(postgresql) as ledger:
        await ledger.run(odd)
        query = select(latches.c.actor).where(latches.c.name == "a\0b")
        assert await ledger.read(lambda connection: connection.scalar(query)) == "\u2400"


@pytest.mark.parametrize("step", OLDER)
async def test_an_older_ledger_is_brought_up_with_its_rows(postgresql: Database, step: str) -> None:
    make_old(create_engine(place_of(postgresql.url)), step)
    async with opened(postgresql) as ledger:
        assert await ledger.read(tables_and_latches) == (set(metadata.tables), ["fire"])


@pytest.mark.parametrize("statement", [5, 8, 12, 15])
async def test_a_migration_killed_at_any_statement_leaves_a_ledger_that_opens(
    postgresql: Database, statement: int
) -> None:
    make_old(create_engine(place_of(postgresql.url)), "0001")
    process = child("migrate", postgresql.url, str(statement))
    await asyncio.to_thread(process.communicate)
    assert process.returncode == -signal.SIGKILL
    assert postgresql.run("SELECT version_num FROM alembic_version") == [("0001",)]
    async with opened(postgresql) as ledger:
        assert await ledger.read(tables_and_latches) == (set(metadata.tables), ["fire"])


def test_looking_at_a_ledger_that_is_not_there_is_refused_and_makes_none(
    postgresql: Database,
) -> None:
    with pytest.raises(StoreError), open_reader(postgresql.url) as connection:
        numbers(connection)
    with open_reader(postgresql.url) as connection:
        assert inspect(connection).get_table_names() == []
