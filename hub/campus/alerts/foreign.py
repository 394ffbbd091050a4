"""Alerts by whatever service Apprise knows; it comes with the extra `dormhub[apprise]`.

Apprise speaks for itself: its own time-outs hold, and what it says of a failure is not told on, because it
may repeat the address. The address is the secret.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import TYPE_CHECKING

from hub.campus.alerts.senders import Batch, Wire

if TYPE_CHECKING:
    import apprise

SEND_TIMEOUT_S = 60.0
_TEXT_MAX = 2_000


def is_installed() -> bool:
    """Whether the extra is there."""
    return find_spec("apprise") is not None


@dataclass(frozen=True, kw_only=True, slots=True)
class Foreign:
    """An address in Apprise's form, such as `bark://…`."""

    url: str = field(repr=False)
    batch_max: int = 200
    per_minute_max: int = 12

    async def send(self, batch: Batch, wire: Wire) -> str:
        """One message with a title."""
        try:
            async with asyncio.timeout(SEND_TIMEOUT_S):
                service = await asyncio.to_thread(self._service)
                if service is None:
                    return "no service is addressed so"
                taken = await service.async_notify(title=batch.title, body=batch.text(_TEXT_MAX))
        except TimeoutError:
            return "no answer in time"
        except Exception as error:  # whatever a stranger's service raises is a message not sent
            return type(error).__name__
        return "" if taken else "not taken"

    def _service(self) -> apprise.Apprise | None:
        """Made beside the loop: the extra takes a second to import, and its services look things up."""
        import apprise

        logging.getLogger("apprise").setLevel(logging.CRITICAL + 1)
        service = apprise.Apprise()
        return service if service.add(self.url) else None
