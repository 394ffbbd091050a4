"""API keys: what opens, what does not, and what is left of them on the disk."""

from __future__ import annotations

import asyncio
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from argon2 import PasswordHasher
from sqlalchemy import update

from hub import VirtualClock, audit
from hub.auth import Keys, Role, TooManyChecks
from hub.ledger import Ledger, open_ledger
from hub.ledger.tables import api_keys

NOW_MS = 1_800_000_000_000
QUICK = PasswordHasher(time_cost=1, memory_cost=64, parallelism=1)


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock(start_ms=NOW_MS)


@pytest.fixture
async def ledger(place: Path | str, clock: VirtualClock) -> AsyncIterator[Ledger]:
    async with open_ledger(place, clock=clock) as ledger:
        yield ledger


@pytest.fixture
def keys(ledger: Ledger, clock: VirtualClock) -> Keys:
    return Keys(ledger, clock, QUICK)


@pytest.fixture
async def keys_in_file(tmp_path: Path, clock: VirtualClock) -> AsyncIterator[Keys]:
    """Keys whose ledger's bytes can be looked at, and which are found faster than they are hashed."""
    async with open_ledger(tmp_path / "ledger.db", clock=clock) as ledger:
        yield Keys(ledger, clock, QUICK)


async def test_a_key_says_who_comes_in_which_role_and_where(keys: Keys) -> None:
    text = await keys.add(name="desk", role=Role.OPERATOR, place="east", actor="hub")
    caller = await keys.check(text)
    assert caller is not None
    assert (caller.name, caller.role, caller.place) == ("desk", Role.OPERATOR, "east")
    assert caller.covers("east")
    assert not caller.covers("west")
    assert not caller.covers("")
    assert caller.actor == f"key/{(await keys.all())[0].id}"


async def test_a_key_for_everywhere_covers_every_building(keys: Keys) -> None:
    caller = await keys.check(await keys.add(name="desk", role=Role.VIEWER, actor="hub"))
    assert caller is not None
    assert caller.covers("east")
    assert caller.covers("")


async def test_the_secret_is_nowhere_on_the_disk(keys_in_file: Keys, tmp_path: Path) -> None:
    text = await keys_in_file.add(name="desk", role=Role.ADMIN, actor="hub")
    secret = text.rsplit("_", 1)[1]
    assert len(secret) == 64
    assert await keys_in_file.check(text) is not None
    written = b"".join(file.read_bytes() for file in tmp_path.glob("ledger.db*"))
    assert b"desk" in written
    assert secret.encode() not in written
    assert bytes.fromhex(secret) not in written


async def test_every_key_has_a_secret_of_its_own(ledger: Ledger) -> None:
    made = [
        await Keys(ledger, VirtualClock(start_ms=NOW_MS + n, seed=1), QUICK).add(
            name="twin", role=Role.VIEWER, actor="hub"
        )
        for n in range(2)
    ]
    assert made[0].rsplit("_", 1)[1] != made[1].rsplit("_", 1)[1]


@pytest.mark.parametrize("spoil", ["x", "dormhub", "dormhub__", "", "dormhub_a_b", "\ud800é" * 3])
async def test_what_is_no_key_opens_nothing(keys: Keys, spoil: str) -> None:
    await keys.add(name="desk", role=Role.ADMIN, actor="hub")
    assert await keys.check(spoil) is None


async def test_a_key_with_one_letter_changed_opens_nothing(keys: Keys) -> None:
    text = await keys.add(name="desk", role=Role.ADMIN, actor="hub")
    assert await keys.check(text) is not None
    for place in range(len(text)):
        spoilt = text[:place] + ("0" if text[place] != "0" else "1") + text[place + 1 :]
        assert await keys.check(spoilt) is None


async def test_an_expired_key_is_refused_from_that_moment_on(
    keys: Keys, clock: VirtualClock
) -> None:
    text = await keys.add(name="desk", role=Role.ADMIN, actor="hub", expires_ms=NOW_MS + 60_000)
    clock.advance(59.9)
    assert await keys.check(text) is not None
    clock.advance(0.1)
    assert await keys.check(text) is None
    assert await keys.check(text) is None


async def test_a_revoked_key_is_refused_at_once_although_it_was_known(keys: Keys) -> None:
    text = await keys.add(name="desk", role=Role.ADMIN, actor="hub")
    caller = await keys.check(text)
    assert caller is not None
    assert await keys.revoke(caller.id, "key/other")
    assert await keys.check(text) is None
    assert not await keys.revoke(caller.id, "key/other")
    assert not await keys.revoke("nobody", "key/other")


async def test_a_key_revoked_while_it_is_being_checked_opens_nothing_any_more(keys: Keys) -> None:
    text = await keys.add(name="desk", role=Role.ADMIN, actor="hub")
    await keys.check(text)
    [key] = await keys.all()
    checks = [keys.check(text) for _ in range(6)]
    await asyncio.gather(*checks[:3], keys.revoke(key.id, "ann"), *checks[3:])
    assert await keys.check(text) is None


async def test_what_another_hand_wrote_of_a_known_key_holds_after_a_second(
    keys: Keys, ledger: Ledger, clock: VirtualClock
) -> None:
    text = await keys.add(name="desk", role=Role.ADMIN, actor="hub")
    await keys.check(text)
    ended = update(api_keys).values(revoked_ms=NOW_MS)
    await ledger.run(lambda connection: connection.execute(ended).rowcount)
    clock.advance(1.0)
    assert await keys.check(text) is None


async def test_whatever_is_wrong_with_a_key_it_costs_one_hash_each_time(
    keys: Keys, clock: VirtualClock
) -> None:
    good = await keys.add(name="desk", role=Role.ADMIN, actor="hub")
    revoked = await keys.add(name="lost", role=Role.ADMIN, actor="hub")
    await keys.revoke(revoked.split("_")[1], "hub")
    expired = await keys.add(name="old", role=Role.ADMIN, actor="hub", expires_ms=NOW_MS - 1)
    wrong = good[:-1] + ("0" if good[-1] != "0" else "1")
    unknown = f"dormhub_{'0' * 26}_{'0' * 64}"
    for text in (revoked, expired, wrong, unknown, "nonsense"):
        for _ in range(2):
            before = keys.checks
            assert await keys.check(text) is None
            assert keys.checks == before + 1


async def test_a_good_key_is_hashed_once_and_then_known(keys: Keys) -> None:
    text = await keys.add(name="desk", role=Role.ADMIN, actor="hub")
    for _ in range(5):
        assert await keys.check(text) is not None
    assert keys.checks == 1


async def test_a_flood_of_wrong_keys_is_turned_away_and_known_keys_still_open(
    keys_in_file: Keys,
) -> None:
    text = await keys_in_file.add(name="desk", role=Role.ADMIN, actor="hub")
    assert await keys_in_file.check(text) is not None
    flood = [keys_in_file.check(f"dormhub_{n:026}_{'0' * 64}") for n in range(200)]
    told = await asyncio.gather(*flood, keys_in_file.check(text), return_exceptions=True)
    assert {type(one) for one in told[:-1]} == {type(None), TooManyChecks}
    assert told[-1] is not None
    assert not isinstance(told[-1], BaseException)


async def test_the_first_start_makes_one_administrators_key_in_a_file_of_its_owner(
    keys: Keys, tmp_path: Path
) -> None:
    text = await keys.add_first(tmp_path)
    file = tmp_path / "admin.key"
    assert text is not None
    assert file.read_text() == text + "\n"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    caller = await keys.check(text)
    assert caller is not None
    assert (caller.role, caller.place) == (Role.ADMIN, "*")
    assert await keys.add_first(tmp_path) is None
    assert file.read_text() == text + "\n"


async def test_a_file_left_by_a_first_start_that_was_cut_off_is_replaced(
    keys: Keys, tmp_path: Path
) -> None:
    file = tmp_path / "admin.key"
    file.write_text("dormhub_left_over\n")
    file.chmod(0o644)
    text = await keys.add_first(tmp_path)
    assert file.read_text() == f"{text}\n"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


async def test_there_is_no_key_before_one_is_made(keys: Keys) -> None:
    assert await keys.all() == []


async def test_making_and_revoking_leave_audit_rows_without_hash_or_secret(
    keys: Keys, ledger: Ledger
) -> None:
    text = await keys.add(name="desk", role=Role.FINANCE, actor="key/boss")
    key_id = text.split("_")[1]
    await keys.revoke(key_id, "key/boss")
    rows = await ledger.read(lambda connection: audit.rows(connection, subject=f"key/{key_id}"))
    assert [(row.actor, row.action) for row in rows] == [
        ("key/boss", "added"),
        ("key/boss", "revoked"),
    ]
    assert "argon2" not in rows[0].after
    assert '"role":"finance"' in rows[0].after
    assert await ledger.read(audit.verify) is None


async def test_the_last_use_is_noted_about_once_a_minute(keys: Keys, clock: VirtualClock) -> None:
    text = await keys.add(name="desk", role=Role.VIEWER, actor="hub")
    noted = []
    for _ in range(4):
        assert await keys.check(text) is not None
        noted.append((await keys.all())[0].last_used_ms)
        clock.advance(40)
    assert noted == [NOW_MS, NOW_MS, NOW_MS + 80_000, NOW_MS + 80_000]


async def test_a_hash_that_was_exchanged_in_the_ledger_does_not_open_for_the_old_key_anew(
    ledger: Ledger, clock: VirtualClock
) -> None:
    text = await Keys(ledger, clock, QUICK).add(name="desk", role=Role.VIEWER, actor="hub")
    other = update(api_keys).values(hash=QUICK.hash("another"))
    await ledger.run(lambda connection: connection.execute(other).rowcount)
    assert await Keys(ledger, clock, QUICK).check(text) is None


async def test_the_hash_of_real_keys_is_argon2id_of_no_less_than_sixteen_mebibytes(
    ledger: Ledger, clock: VirtualClock
) -> None:
    keys = Keys(ledger, clock)
    text = await keys.add(name="desk", role=Role.VIEWER, actor="hub")
    hashed = await ledger.read(
        lambda connection: connection.scalar(api_keys.select().with_only_columns(api_keys.c.hash))
    )
    assert str(hashed).startswith("$argon2id$")
    assert int(str(hashed).split("m=")[1].split(",")[0]) >= 16 * 1024
    assert await keys.check(text) is not None
