"""Alerts as JSON to an address of the house, signed as Standard Webhooks say."""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec

from hub.campus.alerts.kinds import Alert
from hub.campus.alerts.senders import Batch, Wire, post
from hub.campus.alerts.texts import line
from hub.campus.orders.signatures import sealed

_TAKEN = range(200, 300)


@dataclass(frozen=True, kw_only=True, slots=True)
class Webhook:
    """An address that takes signed alerts; its repeats have the same `webhook-id`."""

    url: str
    secret: bytes = field(repr=False)
    batch_max: int = 100
    per_minute_max: int = 120

    async def send(self, batch: Batch, wire: Wire) -> str:
        """One POST with all of them."""
        body = msgspec.json.encode(
            {
                "type": "alerts.raised",
                "id": batch.id,
                "alerts": [_shown(alert, batch) for alert in batch.alerts],
            }
        )
        headers = sealed([self.secret], batch.id, wire.now_ms // 1000, body)
        answer = await post(wire, self.url, body, headers)
        if isinstance(answer, str):
            return answer
        return "" if answer.status in _TAKEN else f"status {answer.status}"


def _shown(alert: Alert, batch: Batch) -> dict[str, object]:
    return {
        "id": alert.id,
        "kind": alert.kind,
        "level": alert.level,
        "severity": alert.severity,
        "subject": alert.subject.id,
        "building": alert.subject.building,
        "room": alert.subject.room,
        "raised_ms": alert.raised_ms,
        "args": dict(alert.args),
        "text": line(alert, batch.language),
    }
