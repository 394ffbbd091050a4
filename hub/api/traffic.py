"""What the API counts of itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

LIVE_MAX = 50
LIVE_MAX_PER_KEY = 10
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class Traffic:
    """Requests by method, route and status; callers given up, by reason; open live streams by key."""

    def __init__(self) -> None:
        self.requests: Counter[tuple[str, str, int]] = Counter()
        self.dropped: Counter[str] = Counter()
        self.live: Counter[str] = Counter()

    def count(self, method: str, route: str, status: int) -> None:
        """One answer; a method that nobody uses has no place of its own among the figures."""
        self.requests[method if method in _METHODS else "other", route, status] += 1

    def has_room(self, key: str) -> bool:
        """Whether one more live stream of this key may open."""
        return self.live.total() < LIVE_MAX and self.live[key] < LIVE_MAX_PER_KEY

    @contextmanager
    def streaming(self, key: str) -> Iterator[None]:
        """Count one live stream of this key while it is open."""
        self.live[key] += 1
        try:
            yield
        finally:
            self.live[key] -= 1
            self.live += Counter()  # forgets those at zero
