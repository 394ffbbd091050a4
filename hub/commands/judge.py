"""Judges an order against the profile, the link and the safety rules; what it may be, or why not."""

from __future__ import annotations

from hub.clock import Clock
from hub.command import CommandSpec, Hazard, Offline, State
from hub.commands.book import OpenCommand
from hub.commands.life import Life
from hub.commands.order import CommandError, Order, Record, Refusal, complete, deadline_s
from hub.commands.unknowns import Unknowns
from hub.model import Device
from hub.points import Scalar
from hub.registry import Registry
from hub.safety import Safety

OPEN_MAX = 10_000  # commands that may wait at one time
OPENINGS_MAX = 11_000  # with openings: nothing that waits keeps a gate from being opened


class Judge:
    """Makes commands of orders."""

    def __init__(
        self, *, clock: Clock, registry: Registry, safety: Safety, unknowns: Unknowns
    ) -> None:
        self._clock = clock
        self._unknowns = unknowns
        self._registry = registry
        self._safety = safety

    def check(self, order: Order) -> tuple[Device, CommandSpec, dict[str, Scalar]]:
        """Whom it would tell what, with which arguments; raises CommandError when it cannot be taken now.

        Counts nothing, so brake, rate and the number of those that wait are for `judge`.
        """
        device = self._registry.device(order.device)
        if device is None:
            text = f"no device {order.device[:64]!r}"
            raise CommandError(Refusal.UNKNOWN_DEVICE, "device", text)
        spec = device.profile.commands.get(order.name)
        if spec is None:
            known = ", ".join(device.profile.commands) or "it takes none"
            text = f"{device.profile.id} has no {order.name[:64]!r}; known: {known}"
            raise CommandError(Refusal.UNKNOWN_COMMAND, "name", text)
        arguments = complete(order, spec)
        self._admit(device, spec)
        return device, spec, arguments

    def judge(self, order: Order, *, waiting: int) -> OpenCommand:
        """The command this order makes, with `waiting` others open; raises CommandError.

        It counts for brake and rate from now on: what is not taken after all must be given back.
        """
        device, spec, arguments = self.check(order)
        wanted_s = deadline_s(order, spec)
        if waiting >= (OPENINGS_MAX if spec.hazard is Hazard.OPEN else OPEN_MAX):
            raise CommandError(Refusal.TOO_MANY, "", "too many commands are waiting")
        name = self._clock.new_id()
        if self._safety.is_too_many(spec.hazard, device.id, name):
            raise CommandError(Refusal.TOO_MANY, "device", "too many commands in a minute")
        is_approved = bool(order.approver)
        held = self._safety.holds(spec, device.id, name, is_approved=is_approved)
        waits_s = self._safety.approval_s if held else wanted_s
        now_ms = self._clock.now_ms()
        record = Record(
            id=name,
            device=device.id,
            name=spec.name,
            arguments=arguments,
            actor=order.actor,
            cause=order.cause,
            owner=order.owner or order.actor,
            key=order.key,
            priority=order.priority,
            state=State.QUEUED,
            reason="",
            held=held,
            created_ms=now_ms,
            expires_ms=now_ms + round(waits_s * 1000),
            deadline_ms=round(wanted_s * 1000),
            sent_ms=None,
            finished_ms=None,
            attempts=0,
            nonce=self._clock.new_id(),
            proof="",
            approver=order.approver,
        )
        return OpenCommand(
            record=record,
            device=device,
            spec=spec,
            life=Life(),
            deadline_s=self._clock.monotonic_s() + waits_s,
        )

    async def check_unknowns(self, order: Order) -> None:
        """Raise CommandError while an earlier one of a counted command is unknown; raises StoreError too."""
        device = self._registry.device(order.device)
        spec = device.profile.commands.get(order.name) if device else None
        blocked = await self._unknowns.block(order.device, spec) if spec else ""
        if blocked:
            raise CommandError(Refusal.UNRESOLVED, "device", blocked)

    def _admit(self, device: Device, spec: CommandSpec) -> None:
        if self._registry.only_observes(device):
            text = f"link {device.link} only observes"
            raise CommandError(Refusal.OBSERVE_ONLY, "device", text)
        unproven = self._safety.unproven(device, spec)
        if unproven:
            raise CommandError(Refusal.UNPROVEN, "name", unproven)
        unsafe = self._safety.forbids(spec.hazard)
        if unsafe:
            raise CommandError(Refusal.UNSAFE, "name", unsafe)
        if spec.offline is Offline.REFUSE and self._registry.is_offline(device.id):
            raise CommandError(Refusal.OFFLINE, "device", f"{device.id} is away")
