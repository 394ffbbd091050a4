"""Commands on their way to devices, and what comes back of them.

    execute ─▶ deadline ─▶ publish (QoS 1, expiring, never retained) ─▶ the broker has it ─▶ answer
                                   │ no word in time                                          │
                                   ▼                                                          ▼
                     reset: nothing is left in the socket           the device's, by id and topic

Commands have a connection of their own, so that a backlog of readings never delays one and a reset costs
no reading. That the broker has a command says nothing of the device: without an answer it is SILENT.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import dataclass, field

from drivers.mqtt.answers import AnswerPlan, Heard
from drivers.mqtt.command_routes import CommandRoutes, Listener
from drivers.mqtt.intake import Allowance
from drivers.mqtt.publishes import Message as Order
from drivers.mqtt.publishes import Publish, Stamp, stamp_of
from drivers.mqtt.sent import Delivery
from drivers.mqtt.session import Message, Session
from drivers.mqtt.tap import show_frame
from hub import Answer, BadValue, Command, Frame, Host, Outcome, Rejected

ANSWER_S = 5.0  # a device that is there answers within this; what comes later is told as late
_TAKEN_S = 5.0  # the longest wait for the broker's word
SHORTEST_S = 1.1  # the shortest life MQTT 5 can give a message, and a tenth for the broker's word
_REFRESH_S = 10
_TOLD_MAX = 10_000
_ANSWERS_PER_S, _ANSWERS_BURST = 2.0, 20.0
_ID_MAX = 64
_KEPT_BYTES = 1024  # of a frame
_BATCH = 100


@dataclass(kw_only=True, slots=True)
class _Open:
    """A command that `execute` is still busy with."""

    command: str
    plan: AnswerPlan | None
    frames: list[Frame]
    answer: asyncio.Future[Outcome] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )

    def not_sent(self, reason: str) -> Outcome:
        """Certainly not one byte has reached the device."""
        return Outcome(answer=Answer.NOT_SENT, reason=reason, frames=tuple(self.frames))

    def silent(self, reason: str) -> Outcome:
        """It may have been done."""
        return Outcome(answer=Answer.SILENT, reason=reason, frames=tuple(self.frames))


class Telling:
    """The commands of one running driver, over one session after another."""

    def __init__(self, routes: CommandRoutes, host: Host) -> None:
        self._routes = routes
        self._host = host
        self._session: Session | None = None
        self._open: dict[str, _Open] = {}
        self._told: OrderedDict[str, str] = OrderedDict()  # command id to device
        self._allowances: dict[str, Allowance] = {}
        self._refreshes: dict[str, None] = {}
        self._refresh_wanted = asyncio.Event()

    async def serve(self, session: Session) -> None:
        """Listen to answers, and ask for refreshes, until the session is lost."""
        self._session = session
        async with asyncio.TaskGroup() as tasks:
            asking = tasks.create_task(self._ask(session), name="mqtt-refresh")
            while messages := await session.receive(_BATCH):
                for message in messages:
                    self._hear(message)
                session.acknowledge(messages)
            asking.cancel()

    def away(self, reason: str) -> None:
        """The broker is not there now; what was not asked will not be asked late."""
        if self._session is not None:
            self._host.count("command connection lost")
        self._session = None
        self._refreshes.clear()

    async def execute(self, command: Command) -> Outcome:
        """Tell a device once, and say what came back. See Driver."""
        listener = self._routes.listeners.get(command.device)
        plan = listener.plans.get(command.spec.name) if listener else None
        if listener is None or plan is None:
            return Outcome(answer=Answer.NOT_SENT, reason="no such command")
        if command.device in self._open:
            return Outcome(answer=Answer.NOT_SENT, reason="busy")
        stamp = stamp_of(command, listener.device.address, self._routes.source)
        try:
            order = plan.publish.message(command.arguments, stamp, listener.key(plan.publish))
        except BadValue as error:
            return Outcome(answer=Answer.NOT_SENT, reason=str(error))
        now = self._open[command.device] = _Open(command=command.id, plan=plan.answer, frames=[])
        try:
            return await self._tell(command, order, now)
        finally:
            del self._open[command.device]

    async def _tell(self, command: Command, order: Order, now: _Open) -> Outcome:
        clock, session = self._host.clock, self._session
        if session is None or session.lost:
            return now.not_sent(Delivery.UNSENT)
        left_s = command.deadline_s - clock.monotonic_s()
        if left_s < SHORTEST_S or command.expires_ms <= clock.now_ms():
            return now.not_sent("deadline")
        self._remember(command)
        data = (order.topic.encode() + b"\n" + order.payload)[:_KEPT_BYTES]
        now.frames.append(Frame(time_ms=clock.now_ms(), outgoing=True, data=data))
        self._show(command.device, order, f"command {command.spec.name}")
        outcome = await _hand_over(session, order, now, left_s)
        if outcome is not None:
            # Answered in the same breath as the connection was lost: the answer counts.
            return now.answer.result() if now.answer.done() else outcome
        if now.plan is None:
            return now.silent("no answer is known")
        try:
            async with asyncio.timeout(min(ANSWER_S, command.spec.confirm_s)):
                return await now.answer
        except TimeoutError:
            return now.silent("no answer")

    def _remember(self, command: Command) -> None:
        self._told[command.id] = command.device
        self._told.move_to_end(command.id)
        if len(self._told) > _TOLD_MAX:
            self._told.popitem(last=False)

    def refresh(self, device: str) -> None:
        """Ask this device for its whole state as soon as possible; nothing when it knows no way."""
        listener = self._routes.listeners.get(device)
        if listener is not None and listener.refresh is not None:
            self._refreshes[device] = None
            self._refresh_wanted.set()

    async def _ask(self, session: Session) -> None:
        while True:
            await self._refresh_wanted.wait()
            self._refresh_wanted.clear()
            asked, self._refreshes = self._refreshes, {}
            for device in asked:
                listener = self._routes.listeners[device]
                assert listener.refresh is not None
                order = self._question(listener, listener.refresh)
                self._show(device, order, "asked for its state")
                try:
                    async with asyncio.timeout(_TAKEN_S):
                        delivery = await session.publish(order.topic, order.payload, _REFRESH_S)
                except TimeoutError:
                    delivery = Delivery.LOST
                if delivery is not Delivery.TAKEN:
                    self._host.count("refresh", delivery)

    def _question(self, listener: Listener, refresh: Publish) -> Order:
        clock = self._host.clock
        now_ms = clock.now_ms()
        stamp = Stamp(
            id=clock.new_id(),
            issued_ms=now_ms,
            expires_ms=now_ms + 1000 * _REFRESH_S,
            nonce=clock.new_id(),
            address=listener.device.address,
            source=self._routes.source,
        )
        return refresh.message({}, stamp, listener.key(refresh))

    def _hear(self, message: Message) -> None:
        """An answer closes its own command or none; what it is not for is counted."""
        try:
            reason = "retained" if message.retained else self._answered(message)
        except Rejected as error:
            reason = str(error)
        if reason:
            self._host.count("answer", reason)

    def _answered(self, message: Message) -> str:
        """Bring the answer to its command; why it has none, empty when it has."""
        listener = self._routes.speaker(message.topic, message.payload)
        if listener is None:
            return "foreign device"
        device, address = listener.device, listener.device.address
        now = self._open.get(device.id)
        plan = self._routes.answer_plan(message.topic, listener)
        if now is not None and now.plan is not None:
            asked = now.plan.topic(address, self._routes.source) == message.topic
            plan, now = (now.plan, now) if asked else (plan, None)
        heard = plan.read(message.payload, address) if plan else None
        if self._host.tapped(device.id):
            said = (
                f"{heard.answer or 'neither yes nor no'} {heard.reason}" if heard else "for nobody"
            )
            text = f"answer: {said}".rstrip()
            show_frame(self._host, device.id, message.topic, message.payload, text)
        if heard is None:
            return "foreign device"
        if now is not None and heard.id in (now.command, None) and heard.answer is not None:
            self._close(now, heard, heard.answer, message)
            return ""
        return self._late(device.id, heard, message)

    def _close(self, now: _Open, heard: Heard, answer: Answer, message: Message) -> None:
        if now.answer.done():
            self._host.count("answer", "again")
            return
        now.frames.append(self._frame(message))
        now.answer.set_result(Outcome(answer=answer, reason=heard.reason, frames=tuple(now.frames)))

    def _late(self, device: str, heard: Heard, message: Message) -> str:
        """An answer to a command that is not open, of this run or of one before."""
        if heard.answer is None:
            return "neither yes nor no"
        if heard.id is None or len(heard.id) > _ID_MAX:
            return "nobody asked"
        if self._told.get(heard.id, device) != device:
            return "foreign device"
        if not self._allowed(device):
            return "flood"
        outcome = Outcome(answer=heard.answer, reason=heard.reason, frames=(self._frame(message),))
        self._host.answered_late(device, heard.id, outcome)
        return "" if heard.id in self._told else "unknown id"

    def _allowed(self, device: str) -> bool:
        now_s = self._host.clock.monotonic_s()
        allowance = self._allowances.setdefault(device, Allowance(left=_ANSWERS_BURST, at_s=now_s))
        return allowance.take(now_s, _ANSWERS_PER_S, _ANSWERS_BURST)

    def _show(self, device: str, order: Order, text: str) -> None:
        if self._host.tapped(device):
            show_frame(self._host, device, order.topic, order.payload, text, outgoing=True)

    def _frame(self, message: Message) -> Frame:
        data = (message.topic.encode() + b"\n" + message.payload)[:_KEPT_BYTES]
        return Frame(time_ms=self._host.clock.now_ms(), outgoing=False, data=data)


def shares(left_s: float) -> tuple[float, int]:
    """How long to wait for the broker's word, and the message's life at the broker in whole seconds.

    Together never more than `left_s`, which is at least `SHORTEST_S`; the life is at least 1.
    """
    patience_s = min(_TAKEN_S, left_s / 2, left_s - 1)
    return patience_s, max(1, int(left_s - patience_s))  # 1.3 - 0.3 is a little less than 1


async def _hand_over(session: Session, order: Order, now: _Open, left_s: float) -> Outcome | None:
    """Publish, and wait for the broker's word; None when the broker has it.

    The wait and the message's life together never reach beyond the deadline. When the wait ends without
    a word, or is cancelled, the connection is reset: not a byte of the order may arrive later.
    """
    patience_s, life_s = shares(left_s)
    try:
        async with asyncio.timeout(patience_s):
            delivery = await session.publish(order.topic, order.payload, life_s)
    except TimeoutError:
        session.reset("the broker says nothing")
        return now.silent("no word of the broker")
    except asyncio.CancelledError:
        session.reset("given up")
        raise
    match delivery:
        case Delivery.TAKEN:
            return None
        case Delivery.LOST:
            return now.silent(delivery)
        case _:
            return now.not_sent(delivery)
