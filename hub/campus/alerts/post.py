"""What channels have still to say: several alerts in one message, again and again, then a person.

A message goes out at least once. What went out together goes again together, under the same id.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import httpx2
from sqlalchemy import Connection, Row, delete, select, update

from hub.campus.alarms import Alarms
from hub.campus.alerts.kinds import Alert
from hub.campus.alerts.rows import alert_of, mutes
from hub.campus.alerts.senders import Batch, Wire
from hub.campus.alerts.settings import Channel
from hub.clock import Clock
from hub.errors import StoreDamaged, StoreError
from hub.ledger import Ledger
from hub.ledger.tables import alert_messages, alerts

# Seconds after each try that was not taken: an hour and three quarters, then it is given up aloud.
SCHEDULE_S = (15, 30, 60, 120, 300, 600, 1_200, 1_800, 2_400)
DOWN_TRIES = 5  # after so many, not four minutes, a channel is said to be down
KEPT_MS = 400 * 86_400_000
_LOOK_S = 2.0
_MINUTE_S = 60.0
_STEP = 400
_OVER, _OPTED_OUT = "over before it was told", "opted out"
_t = alert_messages
_OPEN = (
    select(alerts, _t.c.id.label("message"), _t.c.batch, _t.c.attempts, _t.c.next_ms)
    .join(_t, _t.c.alert == alerts.c.id)
    .where(_t.c.done_ms.is_(None))
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Waiting:
    """A batch that is due; `ids` are its messages, `attempts` the tries until now."""

    id: str
    ids: Sequence[str]
    alerts: Sequence[Alert]
    attempts: int


class Post:
    """Says what stands in the ledger for each channel; a slow one holds up no other."""

    def __init__(
        self, *, ledger: Ledger, clock: Clock, http: httpx2.AsyncClient, alarms: Alarms
    ) -> None:
        self.counts: Counter[str] = Counter()
        self._ledger = ledger
        self._clock = clock
        self._http = http
        self._alarms = alarms
        self._channels: Mapping[str, Channel] = {}
        self._busy: set[str] = set()
        self._free_s: dict[str, float] = {}

    def configure(self, channels: Mapping[str, Channel]) -> None:
        """Go by these channels from now on."""
        self._channels = dict(channels)

    async def run(self) -> None:
        """Say what is due, for ever. Raises StoreDamaged."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                for name in set(self._channels) - self._busy:
                    self._busy.add(name)
                    tasks.create_task(self._turn(name), name=f"alerts to {name}")
                await self._clock.sleep(_LOOK_S)

    async def forget(self) -> None:
        """What was for channels that are gone is given up, and what is old is dropped. Raises StoreError."""
        now_ms, names = self._clock.now_ms(), sorted(self._channels)
        given_up = await self._ledger.run(partial(_forget, names=names, now_ms=now_ms))
        if given_up:
            self.counts["no such channel"] += given_up

    async def say(self, name: str) -> int:
        """Send this channel's next message when it is due and the channel free; how many alerts it held.

        Raises StoreError.
        """
        channel, now_s = self._channels[name], self._clock.monotonic_s()
        if now_s < self._free_s.get(name, now_s):
            return 0
        now_ms, id = self._clock.now_ms(), self._clock.new_id()
        if not await self._ledger.read(partial(_is_due, channel=channel, now_ms=now_ms)):
            return 0
        batch = await self._ledger.run(partial(_take, channel=channel, id=id, now_ms=now_ms))
        if batch is None:
            return 0
        self._free_s[name] = now_s + _MINUTE_S / channel.per_minute
        error = await self._send(channel, batch.id, batch.alerts)
        await self._settle(channel, batch, error)
        return len(batch.alerts)

    async def test(self, name: str, alert: Alert) -> str:
        """Send this one now, whatever waits; why it was not taken, empty when it was."""
        return await self._send(self._channels[name], alert.id, [alert])

    @property
    def names(self) -> Sequence[str]:
        """The channels there are."""
        return sorted(self._channels)

    async def _turn(self, name: str) -> None:
        try:
            await self.say(name)
        except StoreDamaged:
            raise
        except (StoreError, KeyError):  # it stands in the ledger, or the channel is gone
            self.counts["put off"] += 1
        finally:
            self._busy.discard(name)

    async def _send(self, channel: Channel, id: str, raised: Sequence[Alert]) -> str:
        batch = Batch(id=id, alerts=raised, language=channel.language)
        wire = Wire(http=self._http, now_ms=self._clock.now_ms())
        return await channel.sender.send(batch, wire)

    async def _settle(self, channel: Channel, batch: Waiting, error: str) -> None:
        tries, now_ms = batch.attempts, self._clock.now_ms()
        is_last = bool(error) and tries >= len(SCHEDULE_S)
        is_over = not error or is_last
        values = {
            "attempts": tries + 1,
            "next_ms": now_ms if is_over else now_ms + SCHEDULE_S[tries] * 1000,
            "done_ms": now_ms if is_over else None,
            "error": error,
        }
        await self._ledger.run(partial(_note, ids=batch.ids, values=values))
        self.counts["given up" if is_last else "refused" if error else "taken"] += 1
        subject = f"alerts/{channel.name}"
        if is_last:
            self._alarms.say(subject, f"{len(batch.ids)} alerts could not be sent: {error}")
        elif not error:
            self._alarms.end(subject)
        elif tries + 1 >= DOWN_TRIES:
            self._alarms.say(subject, f"takes nothing, its alerts wait: {error}")


def _is_due(connection: Connection, *, channel: Channel, now_ms: int) -> bool:
    due = (_t.c.channel == channel.name) & _t.c.done_ms.is_(None) & (_t.c.next_ms <= now_ms)
    return connection.execute(select(_t.c.id).where(due).limit(1)).first() is not None


def _take(connection: Connection, *, channel: Channel, id: str, now_ms: int) -> Waiting | None:
    """The batch that goes next; what is over by now, or wanted no more, is dropped from a new one."""
    waiting = _OPEN.where(_t.c.channel == channel.name)
    begun = connection.execute(waiting.where(_t.c.batch != "").order_by(_t.c.id)).all()
    if begun:  # one message after the other: while it waits for its next try, the channel is down
        return _waiting(begun[0].batch, begun) if begun[0].next_ms <= now_ms else None
    due = waiting.where(_t.c.next_ms <= now_ms).order_by(_t.c.next_ms, _t.c.id)
    opted_out, told = mutes(connection), []
    dropped: dict[str, list[str]] = {}
    for row in connection.execute(due.limit(channel.sender.batch_max)):
        alert = alert_of(row)
        reason = _OVER if _is_over(alert) else ""
        reason = _OPTED_OUT if opted_out.hide(alert, channel.to) else reason
        if reason:
            dropped.setdefault(reason, []).append(row.message)
        else:
            told.append(row)
    for reason, ids in dropped.items():
        _note(connection, ids=ids, values={"done_ms": now_ms, "error": reason})
    if not told:
        return None
    batch = _waiting(id, told)
    _note(connection, ids=batch.ids, values={"batch": id})
    return batch


def _is_over(alert: Alert) -> bool:
    """Whether nobody need know any more: it was a state, and has ended."""
    return alert.ended_ms is not None and alert.ended_ms > alert.raised_ms


def _waiting(id: str, rows: Sequence[Row[tuple[object, ...]]]) -> Waiting:
    return Waiting(
        id=id,
        ids=[row.message for row in rows],
        alerts=[alert_of(row) for row in rows],
        attempts=rows[0].attempts,
    )


def _note(connection: Connection, *, ids: Sequence[str], values: Mapping[str, object]) -> None:
    for first in range(0, len(ids), _STEP):
        chosen = _t.c.id.in_(ids[first : first + _STEP])
        connection.execute(update(_t).where(chosen).values(**values))


def _forget(connection: Connection, *, names: Sequence[str], now_ms: int) -> int:
    stranded = _t.c.done_ms.is_(None) & _t.c.channel.not_in(names)
    gone = {"done_ms": now_ms, "error": "no such channel"}
    given_up = connection.execute(update(_t).where(stranded).values(**gone)).rowcount
    old = select(alerts.c.id).where(
        alerts.c.ended_ms.is_not(None), alerts.c.ended_ms < now_ms - KEPT_MS
    )
    connection.execute(delete(_t).where(_t.c.alert.in_(old)))
    connection.execute(
        delete(alerts).where(alerts.c.ended_ms.is_not(None), alerts.c.ended_ms < now_ms - KEPT_MS)
    )
    return given_up
