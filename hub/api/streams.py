"""What every stream of events has in common: a place among few, and a key that must stay good."""

from __future__ import annotations

from collections.abc import AsyncIterator

from hub.api.parts import ApiParts, Parts
from hub.api.problems import Problem
from hub.api.rights import Who
from hub.errors import HubError

PING_S = 10.0  # also how long a revoked key goes on at most


async def room(parts: Parts, who: Who) -> AsyncIterator[None]:
    """Hold one of the places for streams until the answer has ended, however it ends."""
    if not parts.traffic.has_room(who.id):
        parts.traffic.dropped["full"] += 1
        raise Problem(503, "too-many-streams", "too many live streams are open")
    with parts.traffic.streaming(who.id):
        yield


async def is_good(parts: ApiParts, presented: str) -> bool:
    """Whether the key still opens something; when nobody can say, the client may come in anew."""
    try:
        return await parts.keys.check(presented) is not None
    except HubError:
        return False
