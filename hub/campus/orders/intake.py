"""How paid orders come in: a platform's signed notice, checked, taken once, answered when it is on disk."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, tzinfo
from typing import TypeVar
from zoneinfo import ZoneInfo

from hub.campus.accounts.accounts import Room
from hub.campus.alarms import Alarms
from hub.campus.orders import listing, orders
from hub.campus.orders.desk import Target
from hub.campus.orders.notices import NoticeError, alipay_notice, form_of, standard_notice
from hub.campus.orders.orders import Act, Notice, Order, Verdict
from hub.campus.orders.platforms import Form, Platform
from hub.campus.orders.replays import Replays
from hub.campus.orders.signatures import (
    WINDOW_S,
    NotSigned,
    Seal,
    is_fresh,
    is_signed,
    is_signed_form,
    seal_of,
)
from hub.campus.policies import Policies
from hub.campus.prepaid.meters import paid_meters
from hub.campus.prepaid.rules import Rules
from hub.clock import Clock
from hub.errors import HubError
from hub.ledger import Ledger

Said = TypeVar("Said")
_CLOCK = "clock"


class OrderConflict(HubError):
    """The number was used for other content; the first order stands, and a person is told."""


class NoRoom(HubError):
    """No meter serves the room; nothing was taken."""


class Intake:
    """The door for orders; `configure` first. `taken` is told of each new order once it is on disk.

    `counts` are notices by what came of them.
    """

    def __init__(
        self,
        *,
        ledger: Ledger,
        clock: Clock,
        alarms: Alarms | None = None,
        taken: Callable[[Order], None] = lambda _: None,
    ) -> None:
        self.counts: Counter[str] = Counter()
        self.alarms = alarms or Alarms(clock)
        self.platforms: Mapping[str, Platform] = {}
        self._ledger = ledger
        self._clock = clock
        self._taken = taken
        self._replays = Replays()
        self._rules = Rules()
        self._timezone: tzinfo = ZoneInfo("UTC")
        self._meters: Mapping[Room, str] = {}

    def configure(self, policies: Policies) -> None:
        """Go by this site and its platforms from now on."""
        self._rules = policies.rules
        self.platforms = dict(policies.platforms)
        self._timezone = policies.site.timezone
        self._meters = paid_meters(policies.site.devices())

    async def standard(self, headers: Mapping[str, str], body: bytes) -> Order:
        """The order of a notice in the standard form, on disk.

        Raises NotSigned, NoticeError, NoRoom, OrderConflict, or StoreError when nothing was taken.
        """
        seal = seal_of(headers)
        forms = [one for one in self.platforms.values() if one.form is Form.STANDARD]
        platform = _signer(seal, body, forms)
        await self._check_time(seal.time_s)
        message = (platform.name, seal.id, seal.time_s)
        with self._replays.once(message, self._clock.monotonic_s()):
            notice = await self._read(platform, lambda: standard_notice(platform, body))
            return await self.take(notice)

    async def alipay(self, name: str, body: bytes) -> Order | None:
        """The order of a notice in Alipay's form; None for one that says nothing was paid. As `standard`.

        Its repeats may be the same to the last bit, so the order's number alone tells them.
        """
        platform, form = self.platforms.get(name), form_of(body)
        if platform is None or platform.form is not Form.ALIPAY or form is None:
            raise NotSigned("form")
        if not is_signed_form(form, platform.public_keys):
            raise NotSigned("signature")
        await self._check_time(self._time_s(form.get("notify_time", "")))
        notice = await self._read(platform, lambda: alipay_notice(platform, form))
        return None if notice is None else await self.take(notice)

    async def question(self, headers: Mapping[str, str], target: bytes) -> Platform:
        """The platform that signed a question, which is its own and of now: `target` is `GET path?query`.

        It is signed as a notice of the standard form, whatever form the platform's notices have, and answered
        once, as a notice is taken. Raises NotSigned or StoreError.
        """
        seal = seal_of(headers)
        platform = _signer(seal, target, self.platforms.values())
        await self._check_time(seal.time_s)
        with self._replays.once((platform.name, seal.id, seal.time_s), self._clock.monotonic_s()):
            return platform

    async def take(self, notice: Notice, cause: str = "notice") -> Order:
        """The order of a platform's own word, on disk; the first one whenever the same is said again.

        Raises NoRoom, OrderConflict or StoreError.
        """
        now_ms, id = self._clock.now_ms(), self._clock.new_id()
        act = Act(actor=f"platform/{notice.platform}", now_ms=now_ms, cause=cause)
        to = self.target(notice.room)
        found = await self._ledger.run(
            lambda connection: orders.receive(
                connection, notice, act, id=id, device=to.device, deadline_ms=to.deadline_ms
            )
        )
        self.counts[found.verdict] += 1
        order = found.order
        if order is None:
            raise NoRoom(f"no meter serves {notice.room.account}")
        if found.verdict is Verdict.CONFLICT:
            self.alarms.say(order.key, "its number came again with other content")
            raise OrderConflict("this number was used for another order")
        if found.verdict is Verdict.TAKEN:
            self._taken(order)
        return order

    def serving(self, room: Room) -> str:
        """The meter that a room's payments are for now; empty when there is none."""
        return self._meters.get(room, "")

    def target(self, room: Room) -> Target:
        """Where an order for this room goes that is taken now, and how long it may wait there."""
        patience_ms = self._rules.of(room.building).delivery_s * 1000
        return Target(device=self.serving(room), deadline_ms=self._clock.now_ms() + patience_ms)

    async def _check_time(self, time_s: float) -> None:
        """Refuse what is not of now, and everything while this clock is behind what was signed before."""
        now_ms = self._clock.now_ms()
        last_ms = await self._ledger.read(listing.last_received_ms)
        if now_ms < last_ms - WINDOW_S * 1000:
            self.alarms.say(_CLOCK, "it is behind the newest order; orders are refused")
            raise NotSigned("clock")
        if not is_fresh(time_s, now_ms):
            off_s = round(time_s - now_ms / 1000)
            self.alarms.say(_CLOCK, f"a notice well signed is {off_s} s off: is it right?")
            raise NotSigned("stale")
        self.alarms.end(_CLOCK)

    def _time_s(self, local: str) -> float:
        try:
            time = datetime.strptime(local, "%Y-%m-%d %H:%M:%S")
        except ValueError:
            raise NotSigned("time") from None
        return time.replace(tzinfo=self._timezone).timestamp()

    async def _read(self, platform: Platform, read: Callable[[], Said]) -> Said:
        try:
            return read()
        except NoticeError as error:
            self.counts["invalid"] += 1
            if error.is_alarm:
                await self._refused(f"order/{platform.name}/{error.number}", platform, str(error))
            raise

    async def _refused(self, key: str, platform: Platform, said: str) -> None:
        act = Act(actor=f"platform/{platform.name}", now_ms=self._clock.now_ms(), cause="notice")
        self.alarms.say(key, said)
        await self._ledger.run(
            lambda connection: orders.alarm(connection, key, "refused", said, act)
        )


def _signer(seal: Seal, content: bytes, platforms: Iterable[Platform]) -> Platform:
    """Whose key it is says whose word it is; all are tried, so that the time taken tells nothing."""
    found = [one for one in platforms if is_signed(seal, content, one.secrets)]
    if not found:
        raise NotSigned("signature")
    return found[0]
