"""A signed message is taken once: who has caught one on its way and sends it again is nobody's word."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager

from hub.campus.orders.signatures import WINDOW_S, NotSigned
from hub.errors import HubError, StoreError

_KEPT_S = 2.0 * WINDOW_S  # the oldest is stale by then
_KEPT_MAX = 100_000


class Replays:
    """The messages of the last minutes. What is forgotten at a restart has no second effect all the same."""

    def __init__(self) -> None:
        self._seen: OrderedDict[tuple[str, str, int], float] = OrderedDict()

    @contextmanager
    def once(self, message: tuple[str, str, int], now_s: float) -> Iterator[None]:
        """Take this message, by platform, id and time; raises NotSigned for one that came before.

        One that could not be stored, or whose sender hung up, may come again as it is.
        """
        self._forget(now_s)
        if message in self._seen:
            raise NotSigned("replayed")
        self._seen[message] = now_s
        answered = False
        try:
            yield
            answered = True
        except HubError as error:
            answered = not isinstance(error, StoreError)
            raise
        finally:
            if not answered:
                self._seen.pop(message, None)

    def _forget(self, now_s: float) -> None:
        while self._seen:
            oldest_s = next(iter(self._seen.values()))
            if now_s - oldest_s <= _KEPT_S and len(self._seen) < _KEPT_MAX:
                return
            self._seen.popitem(last=False)
