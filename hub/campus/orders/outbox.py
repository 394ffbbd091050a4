"""What platforms are told of their orders: signed, again and again by a published schedule, then a person.

A call-back may arrive more than once, always with the same `webhook-id`, and out of order: `sequence` tells.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import httpx2
import msgspec
from sqlalchemy import Connection, Row, select, update

from hub import audit
from hub.campus.alarms import Alarms
from hub.campus.orders.platforms import Platform
from hub.campus.orders.signatures import sealed
from hub.clock import Clock
from hub.errors import StoreDamaged, StoreError
from hub.ledger import Ledger, tables

# Seconds after each try that was not taken; the tries span 24 h 4 min. After the last it is a person's.
SCHEDULE_S = (
    *(15, 15, 30, 180, 600, 1_200, 1_800, 1_800, 1_800, 3_600),
    *(10_800, 10_800, 10_800, 21_600, 21_600),
)
NEVER_MS = 2**53 - 1
ANSWER_TIMEOUT_S = 5.0
_AT_ONCE = 4  # to one platform
_STEP = 100
_LOOK_S = 1.0
_ANSWER_MAX_BYTES = 1_024
_TAKEN = (200, 204)
_t, _orders = tables.outbox, tables.orders


@dataclass(frozen=True, kw_only=True, slots=True)
class Word:
    """What is to be told: `event` is the state an order came to, `attempts` the tries until now."""

    id: str
    platform: str
    number: str
    order_id: str
    event: str
    amount_fen: int
    reason: str
    attempts: int
    error: str

    @property
    def body(self) -> bytes:
        """What the platform reads."""
        return msgspec.json.encode(
            {
                "type": "order.changed",
                "id": self.id,
                "sequence": int(self.id.rpartition("-")[2]),
                "order": self.order_id,
                "number": self.number,
                "state": self.event,
                "amount_fen": self.amount_fen,
                "reason": self.reason,
            }
        )


class Outbox:
    """Tells every platform what stands in the ledger's outbox; a slow one holds up no other."""

    def __init__(
        self, *, ledger: Ledger, clock: Clock, http: httpx2.AsyncClient, alarms: Alarms
    ) -> None:
        self.counts: Counter[str] = Counter()
        self._ledger = ledger
        self._clock = clock
        self._http = http
        self._alarms = alarms
        self._platforms: Mapping[str, Platform] = {}
        self._busy: set[str] = set()

    def configure(self, platforms: Mapping[str, Platform]) -> None:
        """Go by these platforms from now on."""
        self._platforms = dict(platforms)

    async def run(self) -> None:
        """Tell what is due, for ever. Raises StoreDamaged."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                for name in set(self._platforms) - self._busy:
                    self._busy.add(name)
                    tasks.create_task(self._turn(name), name=f"outbox {name}")
                await self._clock.sleep(_LOOK_S)

    async def tell(self, name: str) -> int:
        """Tell this platform what is due now, a hundred words at most; how many were tried.

        Raises StoreError.
        """
        platform, now_ms = self._platforms[name], self._clock.now_ms()
        if not platform.callback_url:
            return await self._ledger.run(lambda connection: _drop(connection, name, now_ms))
        words = await self._ledger.read(lambda connection: _due(connection, name, now_ms))
        room = asyncio.Semaphore(_AT_ONCE)
        async with asyncio.TaskGroup() as tasks:
            for word in words:
                tasks.create_task(self._tell(platform, word, room), name=f"word {word.id}")
        return len(words)

    async def stuck(self) -> Sequence[Word]:
        """Words that no try brought home: a person's, the oldest first."""
        return await self._ledger.read(_stuck)

    async def again(self, word: str, actor: str) -> bool:
        """Begin anew with one that is a person's; False when it is none. Raises StoreError."""
        now_ms = self._clock.now_ms()
        return await self._ledger.run(lambda connection: _again(connection, word, actor, now_ms))

    async def _turn(self, name: str) -> None:
        try:
            await self.tell(name)
        except* StoreDamaged:
            raise
        except* StoreError:
            self.counts["refused by the store"] += 1  # it stands in the ledger, and is due again
        finally:
            self._busy.discard(name)

    async def _tell(self, platform: Platform, word: Word, room: asyncio.Semaphore) -> None:
        async with room:
            error = await self._post(platform, word)
        now_ms, tries = self._clock.now_ms(), word.attempts
        is_last = bool(error) and tries >= len(SCHEDULE_S)
        next_ms = NEVER_MS if not error or is_last else now_ms + SCHEDULE_S[tries] * 1000
        done_ms = None if error else now_ms
        values = {
            "attempts": tries + 1,
            "next_ms": next_ms,
            "done_ms": done_ms,
            "error": error,
        }
        self.counts["refused" if error else "taken"] += 1
        if is_last:
            key = f"order/{word.platform}/{word.number}"
            self._alarms.say(key, f"{word.event} could not be told: {error}")
        await self._ledger.run(
            lambda connection: (
                connection.execute(update(_t).where(_t.c.id == word.id).values(**values)) and None
            )
        )

    async def _post(self, platform: Platform, word: Word) -> str:
        """Why it was not taken; empty when it was. A redirect is no answer: the address was agreed."""
        body = word.body
        headers = sealed(platform.secrets[:1], word.id, self._clock.now_ms() // 1000, body)
        headers |= {"content-type": "application/json", "accept-encoding": "identity"}
        try:
            async with (
                asyncio.timeout(ANSWER_TIMEOUT_S),
                self._http.stream(
                    "POST", platform.callback_url, content=body, headers=headers
                ) as answer,
            ):
                said = await _beginning(answer)
        except TimeoutError:
            return "no answer in time"
        except httpx2.HTTPError as error:
            return type(error).__name__
        if answer.status_code not in _TAKEN:
            return f"status {answer.status_code}"
        wanted = platform.callback_answer
        return "" if not wanted or said == wanted.encode() else "another answer than agreed"


async def _beginning(answer: httpx2.Response) -> bytes:
    said = b""
    async for part in answer.aiter_bytes():
        said += part
        if len(said) > _ANSWER_MAX_BYTES:
            break
    return said


_COLUMNS = (
    *(_t.c[name] for name in ("id", "order_id", "event", "attempts", "error")),
    *(_orders.c[name] for name in ("platform", "number", "amount_fen", "state", "reason")),
)
_WORDS = select(*_COLUMNS).join(_orders, _orders.c.id == _t.c.order_id)


def _due(connection: Connection, platform: str, now_ms: int) -> list[Word]:
    query = _WORDS.where(
        _t.c.done_ms.is_(None), _t.c.next_ms <= now_ms, _orders.c.platform == platform
    )
    return [_word(row) for row in connection.execute(query.order_by(_t.c.next_ms).limit(_STEP))]


def _stuck(connection: Connection) -> list[Word]:
    query = _WORDS.where(_t.c.done_ms.is_(None), _t.c.next_ms == NEVER_MS)
    return [_word(row) for row in connection.execute(query.order_by(_t.c.id).limit(_STEP))]


def _again(connection: Connection, word: str, actor: str, now_ms: int) -> bool:
    stuck = (_t.c.id == word) & _t.c.done_ms.is_(None) & (_t.c.next_ms == NEVER_MS)
    found = connection.execute(_WORDS.where(stuck)).one_or_none()
    if found is None:
        return False
    connection.execute(update(_t).where(stuck).values(attempts=0, next_ms=now_ms))
    audit.append(
        connection,
        actor=actor,
        cause=word,
        subject=f"order/{found.platform}/{found.number}",
        action="told again",
        before=found.error,
        after=found.event,
        time_ms=now_ms,
    )
    return True


def _drop(connection: Connection, platform: str, now_ms: int) -> int:
    """This platform wants to be told nothing."""
    ids = [word.id for word in _due(connection, platform, now_ms)]
    if ids:
        told = {"done_ms": now_ms, "error": "no callback_url"}
        connection.execute(update(_t).where(_t.c.id.in_(ids)).values(**told))
    return len(ids)


def _word(row: Row[tuple[object, ...]]) -> Word:
    return Word(
        id=row.id,
        platform=row.platform,
        number=row.number,
        order_id=row.order_id,
        event=row.event,
        amount_fen=row.amount_fen,
        reason=row.reason if row.state == row.event else "",
        attempts=row.attempts,
        error=row.error,
    )
