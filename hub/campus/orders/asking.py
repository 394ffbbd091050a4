"""What a platform is asked: a signed question, and an answer that it signed, of now."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TypeVar
from urllib.parse import quote, urlsplit

import httpx2
import msgspec

from hub.campus.orders.platforms import Platform
from hub.campus.orders.signatures import NotSigned, is_fresh, is_signed, seal_of, sealed
from hub.clock import Clock
from hub.errors import HubError

ANSWER_TIMEOUT_S = 20.0
PAGES_MAX = 200
PAGE_MAX_BYTES = 1 << 20
Page = TypeVar("Page")


class ListError(HubError):
    """What was asked for cannot be had or believed now; it is asked for again."""


class Asker:
    """Asks platforms over HTTP, page by page."""

    def __init__(self, *, clock: Clock, http: httpx2.AsyncClient) -> None:
        self._clock = clock
        self._http = http

    async def page(
        self,
        platform: Platform,
        address: str,
        query: Mapping[str, str],
        pages: msgspec.json.Decoder[Page],
    ) -> Page:
        """One page of what stands at `address`, an address agreed with the platform. Raises ListError."""
        url = urlsplit(address)
        said = "&".join(f"{name}={quote(value, safe='')}" for name, value in query.items() if value)
        whole = "&".join(filter(None, [url.query, said]))
        target = f"GET {url.path}?{whole}".encode()
        now_ms = self._clock.now_ms()
        headers = sealed(platform.secrets[:1], self._clock.new_id(), now_ms // 1000, target)
        headers["accept-encoding"] = "identity"
        try:
            async with (
                asyncio.timeout(ANSWER_TIMEOUT_S),
                self._http.stream(
                    "GET", url._replace(query=whole).geturl(), headers=headers
                ) as answer,
            ):
                body = await _whole(answer)
            self._check(platform, answer, body)
            return pages.decode(body)
        except (TimeoutError, httpx2.HTTPError) as error:
            raise ListError(f"no answer: {type(error).__name__}") from None
        except (NotSigned, msgspec.DecodeError, UnicodeDecodeError):
            raise ListError("not as agreed") from None

    def _check(self, platform: Platform, answer: httpx2.Response, body: bytes) -> None:
        seal = seal_of(answer.headers)
        if not is_signed(seal, body, platform.secrets):
            raise ListError("not signed by it")
        if not is_fresh(seal.time_s, self._clock.now_ms()):
            raise ListError("signed at another time")


async def _whole(answer: httpx2.Response) -> bytes:
    if answer.status_code != httpx2.codes.OK:
        raise ListError(f"status {answer.status_code}")
    body = bytearray()
    async for part in answer.aiter_bytes():
        body += part
        if len(body) > PAGE_MAX_BYTES:
            raise ListError("a page is too large")
    return bytes(body)
