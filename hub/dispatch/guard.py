"""Calls a try off while its driver is still busy with it, as soon as it may not be made any more."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine

from hub.command import Answer, CommandSpec, Hazard, Outcome
from hub.model import Device

GUARD_PERIOD_S = 0.02


async def guarded(
    telling: Coroutine[object, object, Outcome], forbidden: Callable[[], str]
) -> Outcome:
    """What the try came to; when it was called off it is SILENT, with why: it may have been on the wire.

    A driver that is cancelled takes back what waits, and resets the connection of what is half-way out.
    """
    why = ""
    try:
        async with asyncio.TaskGroup() as tasks:
            task = tasks.create_task(telling, name="guarded telling")
            while not task.done() and not (why := forbidden()):
                await asyncio.wait([task], timeout=GUARD_PERIOD_S)
            if why:
                task.cancel(why)
    except ExceptionGroup as group:
        raise group.exceptions[0] from None
    return Outcome(answer=Answer.SILENT, reason=why) if task.cancelled() else task.result()


def may_be_called_off(device: Device, spec: CommandSpec) -> bool:
    """Whether anything can: a fire a closing, and an opening everything but an opening."""
    hazards = {other.hazard for other in device.profile.commands.values()}
    return spec.hazard is Hazard.CLOSE or (
        Hazard.OPEN in hazards and spec.hazard is not Hazard.OPEN
    )
