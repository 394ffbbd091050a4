"""The group robots of WeCom, DingTalk and Feishu: one POST of text to an address that is itself the secret.

What the three publish of them, as read in November 2026:

- WeCom (developer.work.weixin.qq.com, group robots): `{"msgtype": "text", "text": {"content": …}}` with at
  most 2048 bytes of text; at most 20 messages a minute; taken is `errcode` 0.
- DingTalk (open.dingtalk.com, custom robots): the same shape; `timestamp` (ms) and `sign` in the query, which
  is base64 of HMAC-SHA256 by the secret over `timestamp\\nsecret`, within an hour; at most 20 a minute, or
  it is silent for ten; taken is `errcode` 0.
- Feishu (open.feishu.cn, custom bots): `{"msg_type": "text", "content": {"text": …}}`, with `timestamp` (s)
  and `sign` in the body, which is base64 of HMAC-SHA256 by `timestamp\\nsecret` over nothing, within an hour;
  at most 20 KB, 100 a minute and 5 a second; taken is `code` 0.

All three answer with status 200 also when they refuse.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from urllib.parse import urlencode, urlsplit, urlunsplit

import msgspec

from hub.campus.alerts.senders import Batch, Wire, post

_OK = 200


class Maker(StrEnum):
    """Whose robot it is."""

    WECOM = "wecom"
    DINGTALK = "dingtalk"
    FEISHU = "feishu"


# Bytes of text, with room for what stands around it; and messages in a minute, somewhat below their limit.
_TEXT_MAX: Mapping[Maker, int] = {Maker.WECOM: 2_000, Maker.DINGTALK: 15_000, Maker.FEISHU: 15_000}
_PER_MINUTE: Mapping[Maker, int] = {Maker.WECOM: 18, Maker.DINGTALK: 18, Maker.FEISHU: 60}


class _Said(msgspec.Struct, frozen=True):
    errcode: int | None = None
    code: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Robot:
    """A robot of a group; `url` and `secret` are never shown."""

    maker: Maker
    url: str = field(repr=False)
    secret: str = field(default="", repr=False)
    batch_max: int = 500

    @property
    def per_minute_max(self) -> int:
        """A little below what its maker takes."""
        return _PER_MINUTE[self.maker]

    async def send(self, batch: Batch, wire: Wire) -> str:
        """One message of text."""
        text = f"{batch.title}\n{batch.text(_TEXT_MAX[self.maker])}"
        answer = await post(wire, self._address(wire.now_ms), self._body(text, wire.now_ms))
        if isinstance(answer, str):
            return answer
        if answer.status != _OK:
            return f"status {answer.status}"
        try:
            said = msgspec.json.decode(answer.content, type=_Said)
        except (msgspec.DecodeError, ValueError):
            return "another answer than agreed"
        code = said.code if self.maker is Maker.FEISHU else said.errcode
        if code is None:
            return "another answer than agreed"
        return "" if code == 0 else f"refused with code {code}"

    def _address(self, now_ms: int) -> str:
        if self.maker is not Maker.DINGTALK or not self.secret:
            return self.url
        sign = _hmac(self.secret, f"{now_ms}\n{self.secret}")
        url = urlsplit(self.url)
        signed = urlencode({"timestamp": now_ms, "sign": sign})
        return urlunsplit(url._replace(query="&".join(filter(None, (url.query, signed)))))

    def _body(self, text: str, now_ms: int) -> bytes:
        if self.maker is not Maker.FEISHU:
            return msgspec.json.encode({"msgtype": "text", "text": {"content": text}})
        body: dict[str, object] = {"msg_type": "text", "content": {"text": text}}
        if self.secret:
            time_s = str(now_ms // 1000)
            body |= {"timestamp": time_s, "sign": _hmac(f"{time_s}\n{self.secret}", "")}
        return msgspec.json.encode(body)


def _hmac(key: str, text: str) -> str:
    return base64.b64encode(hmac.digest(key.encode(), text.encode(), hashlib.sha256)).decode()
