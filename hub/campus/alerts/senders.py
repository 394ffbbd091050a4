"""What a channel needs to reach its end, and what it is given to say.

A sender answers with why its message was not taken, in words that hold no secret; empty when it was.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import httpx2

from hub.campus.alerts.kinds import Alert
from hub.campus.alerts.texts import Language, digest, line, title

ANSWER_TIMEOUT_S = 10.0
ANSWER_MAX_BYTES = 4_096


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """Alerts that go out together; `id` stays the same however often they go."""

    id: str
    alerts: Sequence[Alert]
    language: Language = Language.EN

    @property
    def title(self) -> str:
        """One line above them."""
        return title(len(self.alerts), self.language)

    def text(self, bytes_max: int) -> str:
        """One line for each, or as many as fit."""
        lines = [line(alert, self.language) for alert in self.alerts]
        return digest(lines, self.language, bytes_max)


@dataclass(frozen=True, kw_only=True, slots=True)
class Wire:
    """How anything leaves the hub: its HTTP client, which follows no redirect, and the time."""

    http: httpx2.AsyncClient
    now_ms: int


class Sender(Protocol):
    """One end: its address and secrets, as agreed."""

    @property
    def batch_max(self) -> int:
        """How many alerts one message may hold."""

    @property
    def per_minute_max(self) -> int:
        """How many messages its end takes in a minute."""

    async def send(self, batch: Batch, wire: Wire) -> str:
        """Why it was not taken; empty when it was. Raises nothing but cancellation."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """What the other side said: its status, and the beginning of its words."""

    status: int
    content: bytes


async def post(
    wire: Wire, url: str, body: bytes, headers: dict[str, str] | None = None
) -> Answer | str:
    """Its answer; or, in a word without any secret, why there is none."""
    sent = {"content-type": "application/json; charset=utf-8", "accept-encoding": "identity"}
    try:
        async with (
            asyncio.timeout(ANSWER_TIMEOUT_S),
            wire.http.stream("POST", url, content=body, headers=sent | (headers or {})) as answer,
        ):
            return Answer(status=answer.status_code, content=await _beginning(answer))
    except TimeoutError:
        return "no answer in time"
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        return type(error).__name__


async def _beginning(answer: httpx2.Response) -> bytes:
    said = b""
    async for part in answer.aiter_bytes():
        said += part
        if len(said) > ANSWER_MAX_BYTES:
            break
    return said
