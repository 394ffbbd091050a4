"""API keys: who may come in, in which role, for which place, until when.

A key is `dormhub_<id>_<secret>`. Its secret is 256 bits of chance, stored only as a hash: argon2, or SHA-256
for the many keys of rooms, which read one room and must not keep the box busy. There is no default key: the
first start makes one for an administrator.

A room's key has the place `BUILDING/ROOM`; a `/` or `%` inside a name is written `%2F` and `%25`.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import os
import secrets
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from argon2 import PasswordHasher
from argon2.exceptions import VerifyMismatchError
from sqlalchemy import Connection, Row, func, insert, select, update

from hub import audit
from hub.clock import Clock
from hub.errors import HubError, StoreError
from hub.ledger import Ledger
from hub.ledger.tables import api_keys

EVERYWHERE = "*"
_PREFIX = "dormhub"
_LENGTH_MAX = 200
_VERIFIED_KEPT = 1_000
_CHECKS_WAITING = 16
_NOTED_EVERY_MS = 60_000
_READ_EVERY_S = 1.0
_DIGEST = "sha256:"


class Role(StrEnum):
    """What a key is for; what each role may do is said beside each route."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    FINANCE = "finance"
    INSTALLER = "installer"
    ADMIN = "admin"
    ROOM = "room"  # whoever lives there: reads one room, and nothing else


class BadPlace(HubError):
    """A key cannot be for this place; the text says what would be right."""


class TooManyChecks(HubError):
    """Too many unknown keys are being checked at once; try again in some seconds."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Caller:
    """Who presented a good key. `actor` is how the audit names them."""

    id: str
    name: str
    role: Role
    place: str

    @property
    def actor(self) -> str:
        """The name in the audit and in commands."""
        return f"key/{self.id}"

    def covers(self, building: str) -> bool:
        """Whether the key is good for what stands in this building; a room's is for none."""
        return self.role is not Role.ROOM and self.place in (EVERYWHERE, building)

    @property
    def room(self) -> tuple[str, str] | None:
        """The building and room of a room's key; None for every other."""
        return room_of_place(self.place) if self.role is Role.ROOM else None


@dataclass(frozen=True, kw_only=True, slots=True)
class Key:
    """What may be shown of a key; times are UTC milliseconds, None where it has not come or never will."""

    id: str
    name: str
    role: Role
    place: str
    created_ms: int
    expires_ms: int | None
    revoked_ms: int | None
    last_used_ms: int | None

    def good(self, now_ms: int) -> bool:
        """Whether it opens anything now."""
        return self.revoked_ms is None and (self.expires_ms is None or now_ms < self.expires_ms)


class Keys:
    """The keys in the ledger. `checks` counts how often a secret was hashed to be compared.

    A wrong key, an unknown one, a revoked and an expired one cost the same one hash; only a key that was good
    before is known again by the SHA-256 of what was presented, which is kept in memory alone. What the
    ledger says of such a key is read again after a second, and at once when it was revoked here.
    """

    def __init__(self, ledger: Ledger, clock: Clock, hasher: PasswordHasher | None = None) -> None:
        self.checks = 0
        self._ledger = ledger
        self._clock = clock
        self._hasher = hasher or PasswordHasher()
        self._nobody = self._hasher.hash(secrets.token_hex(32))
        self._verified: OrderedDict[bytes, str] = OrderedDict()
        self._noted: dict[str, int] = {}
        self._read: dict[str, tuple[float, tuple[Key, str]]] = {}  # when, and what it said
        self._revocations = 0
        self._turn = asyncio.Semaphore(1)  # one hash takes 64 MiB and a core
        self._waiting = 0

    async def add(
        self,
        *,
        name: str,
        role: Role,
        actor: str,
        place: str = EVERYWHERE,
        expires_ms: int | None = None,
    ) -> str:
        """Make a key and return it; it cannot be shown again. Raises BadPlace, StoreError."""
        if role is Role.ROOM and room_of_place(place) is None:
            raise BadPlace("a room's key is for BUILDING/ROOM, such as B1/101")
        text, row = await self._make(name, role, place, expires_ms)
        await self._ledger.run(lambda connection: _add(connection, row, actor))
        return text

    async def is_one_person(self, actor: str, other: str) -> bool:
        """Whether one of two actors made the other's key, or made who made it. Raises StoreError."""
        makers = await self._ledger.read(_makers)
        return actor in _line(other, makers) or other in _line(actor, makers)

    async def add_first(self, folder: Path) -> str | None:
        """On the first start: an administrator's key, also left in `folder/admin.key` (0600) for its owner.

        None when there has ever been a key. The file is there before the key is good, so a crash between
        the two leaves a file that the next start replaces. Raises StoreError.
        """
        if await self._ledger.read(_count):
            return None
        text, row = await self._make("first administrator", Role.ADMIN, EVERYWHERE, None)
        _write_private(folder / "admin.key", text + "\n")
        await self._ledger.run(lambda connection: _add(connection, row, "hub"))
        return text

    async def revoke(self, key_id: str, actor: str) -> bool:
        """End a key now and for good; False when there is none of this id, or none that was not revoked."""
        now_ms = self._clock.now_ms()
        try:
            return await self._ledger.run(lambda link: _revoke(link, key_id, actor, now_ms))
        finally:
            self._revocations += 1  # whoever is reading it at this moment may have read too early
            self._read.pop(key_id, None)

    async def all(self) -> list[Key]:
        """Every key there ever was, oldest first, without what would open anything."""
        return await self._ledger.read(
            lambda connection: [
                _key(row) for row in connection.execute(select(api_keys).order_by(api_keys.c.id))
            ]
        )

    async def check(self, presented: str) -> Caller | None:
        """Whose key this is, or None when it opens nothing now.

        Raises TooManyChecks when many unknown keys are presented at once, StoreError when the ledger
        cannot be read.
        """
        if len(presented) > _LENGTH_MAX or not (presented.isascii() and presented.isprintable()):
            return None  # no key looks like this, so nothing is told by answering sooner
        key_id, secret = _parts(presented)
        mark = hashlib.sha256(presented.encode()).digest()
        is_known = self._verified.get(mark) == key_id
        found = await self._look_up(key_id, is_known=is_known)
        if found and found[1].startswith(_DIGEST):
            is_known = hmac.compare_digest(found[1], _digest(secret))
            if not is_known:
                return None
        if not is_known and not await self._verify(mark, found, secret):
            return None
        if not found or not found[0].good(self._clock.now_ms()):
            self._verified.pop(mark, None)
            return None
        await self._note_use(found[0])
        key = found[0]
        return Caller(id=key.id, name=key.name, role=key.role, place=key.place)

    async def _look_up(self, key_id: str, *, is_known: bool) -> tuple[Key, str] | None:
        now_s, revocations = self._clock.monotonic_s(), self._revocations
        read_s, found = self._read.get(key_id, (0.0, None))
        if found and is_known and now_s - read_s < _READ_EVERY_S:
            return found
        found = await self._ledger.read(lambda connection: _find(connection, key_id))
        if found and revocations == self._revocations:
            self._read[key_id] = now_s, found
        return found

    async def _verify(self, mark: bytes, found: tuple[Key, str] | None, secret: str) -> bool:
        if self._waiting >= _CHECKS_WAITING:
            raise TooManyChecks("too many keys are being checked; try again in some seconds")
        self._waiting += 1
        try:
            async with self._turn:
                self.checks += 1
                hashed = found[1] if found else self._nobody
                right = await asyncio.to_thread(_matches, self._hasher, hashed, secret)
        finally:
            self._waiting -= 1
        if not right or not found:
            return False
        self._verified[mark] = found[0].id
        if len(self._verified) > _VERIFIED_KEPT:
            self._verified.popitem(last=False)
        return True

    async def _note_use(self, key: Key) -> None:
        """Once a minute; a full disk must not keep anyone from looking."""
        now_ms = self._clock.now_ms()
        if abs(now_ms - self._noted.get(key.id, 0)) < _NOTED_EVERY_MS:
            return
        self._noted[key.id] = now_ms
        used = update(api_keys).where(api_keys.c.id == key.id).values(last_used_ms=now_ms)
        try:
            await self._ledger.run(lambda connection: connection.execute(used).rowcount)
        except StoreError:  # the ledger counts it and says so itself
            del self._noted[key.id]

    async def _make(
        self, name: str, role: Role, place: str, expires_ms: int | None
    ) -> tuple[str, dict[str, object]]:
        key_id = self._clock.new_id()
        # The clock's chance can be fixed by a seed; a secret's must not.
        secret = secrets.token_hex(32)
        if role is Role.ROOM:
            hashed = _digest(secret)
        else:
            hashed = await asyncio.to_thread(self._hasher.hash, secret)
        row: dict[str, object] = {
            "id": key_id,
            "name": name,
            "hash": hashed,
            "role": str(role),
            "place": place,
            "created_ms": self._clock.now_ms(),
            "expires_ms": expires_ms,
        }
        return f"{_PREFIX}_{key_id}_{secret}", row


def room_place(building: str, room: str) -> str:
    """The place of a key for this room."""
    return f"{_quoted(building)}/{_quoted(room)}"


def end_room_keys(connection: Connection, building: str, room: str, actor: str, now_ms: int) -> int:
    """End every key of this room, for who had them has left; how many. In the caller's transaction.

    One that is in use ends within the second for which a good key is believed.
    """
    place = room_place(building, room)
    wanted = (api_keys.c.role == str(Role.ROOM)) & (api_keys.c.place == place)
    query = select(api_keys.c.id).where(wanted & api_keys.c.revoked_ms.is_(None))
    names = list(connection.scalars(query))
    return sum(_revoke(connection, name, actor, now_ms) for name in names)


def room_of_place(place: str) -> tuple[str, str] | None:
    """The building and room of such a place; None for what is none, or is not written as it must be."""
    names = tuple(_unquoted(name) for name in place.split("/"))
    if len(names) != 2 or not all(names) or room_place(*names) != place:
        return None
    return names[0], names[1]


def _quoted(name: str) -> str:
    return name.replace("%", "%25").replace("/", "%2F")


def _unquoted(name: str) -> str:
    return name.replace("%2F", "/").replace("%25", "%")


def _digest(secret: str) -> str:
    return _DIGEST + hashlib.sha256(secret.encode()).hexdigest()


def _parts(presented: str) -> tuple[str, str]:
    prefix, _, rest = presented.partition("_")
    key_id, _, secret = rest.partition("_")
    return (key_id, secret) if prefix == _PREFIX else ("", presented)


def _matches(hasher: PasswordHasher, hashed: str, secret: str) -> bool:
    try:
        return hasher.verify(hashed, secret)
    except VerifyMismatchError:
        return False


def _count(connection: Connection) -> int:
    return connection.scalar(select(func.count()).select_from(api_keys)) or 0


def _makers(connection: Connection) -> dict[str, str]:
    rows = connection.execute(select(api_keys.c.id, api_keys.c.maker))
    return {f"key/{row.id}": row.maker for row in rows}


def _line(actor: str, makers: Mapping[str, str]) -> set[str]:
    """This actor, who made its key, who made that one's, and so on."""
    line: set[str] = set()
    while actor and actor not in line:
        line.add(actor)
        actor = makers.get(actor, "")
    return line


def _add(connection: Connection, row: dict[str, object], actor: str) -> None:
    connection.execute(insert(api_keys).values(maker=actor, **row))
    shown = {name: value for name, value in row.items() if name != "hash"}
    audit.append(
        connection,
        actor=actor,
        cause="",
        subject=f"key/{row['id']}",
        action="added",
        before="",
        after=json.dumps(shown, sort_keys=True, separators=(",", ":")),
        time_ms=int(str(row["created_ms"])),
    )


def _revoke(connection: Connection, key_id: str, actor: str, now_ms: int) -> bool:
    open_key = (api_keys.c.id == key_id) & api_keys.c.revoked_ms.is_(None)
    ended = connection.execute(update(api_keys).where(open_key).values(revoked_ms=now_ms))
    if not ended.rowcount:
        return False
    audit.append(
        connection,
        actor=actor,
        cause="",
        subject=f"key/{key_id}",
        action="revoked",
        before="",
        after="",
        time_ms=now_ms,
    )
    return True


def _find(connection: Connection, key_id: str) -> tuple[Key, str] | None:
    row = connection.execute(select(api_keys).where(api_keys.c.id == key_id)).first()
    return (_key(row), row.hash) if row else None


def _key(row: Row[tuple[object, ...]]) -> Key:
    return Key(
        id=row.id,
        name=row.name,
        role=Role(row.role),
        place=row.place,
        created_ms=row.created_ms,
        expires_ms=row.expires_ms,
        revoked_ms=row.revoked_ms,
        last_used_ms=row.last_used_ms,
    )


def _write_private(path: Path, text: str) -> None:
    """The whole file or none, readable by its owner alone from its first moment."""
    new = path.with_name(path.name + ".new")
    new.unlink(missing_ok=True)
    handle = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(handle)
    new.rename(path)
    folder = os.open(path.parent, os.O_RDONLY)
    os.fsync(folder)
    os.close(folder)
