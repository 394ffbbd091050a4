"""What platforms write, read into notices: whole fen, a room's names, and nothing that is not as agreed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated
from urllib.parse import parse_qsl

import msgspec

from hub.campus.accounts.accounts import Room, Utility
from hub.campus.orders.orders import Notice
from hub.campus.orders.platforms import Platform
from hub.errors import HubError

NUMBER_PATTERN = r"^[0-9A-Za-z_-]{1,64}$"
_NUMBER = re.compile(NUMBER_PATTERN, re.ASCII)
_YUAN = re.compile(r"([0-9]{1,12})(?:\.([0-9]{1,2}))?")
_PAID = ("TRADE_SUCCESS", "TRADE_FINISHED")
_FIELDS_MAX = 100
_Name = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]


class NoticeError(HubError):
    """A platform's own word that cannot be taken. `is_alarm`: a person should look."""

    def __init__(self, field: str, text: str, *, is_alarm: bool = False, number: str = "") -> None:
        self.field = field
        self.text = text
        self.is_alarm = is_alarm
        self.number = number
        super().__init__(f"{field}: {text}")


class OrderBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A paid order as a platform of the standard form writes it, in a notice and in its list."""

    number: Annotated[str, msgspec.Meta(pattern=NUMBER_PATTERN)]
    building: _Name
    room: _Name
    utility: Utility = Utility.ELECTRICITY
    amount_fen: int
    receiver: _Name
    paid_ms: int | None = None


_bodies = msgspec.json.Decoder(OrderBody)


def standard_notice(platform: Platform, body: bytes) -> Notice:
    """The notice in a body of JSON; raises NoticeError."""
    try:
        return notice_of(platform, _bodies.decode(body))
    except msgspec.ValidationError as error:
        text, _, path = str(error).partition(" - at `$.")
        raise NoticeError(path.rstrip("`") or "body", text) from None
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise NoticeError("body", "is no JSON") from None


def notice_of(platform: Platform, body: OrderBody) -> Notice:
    """The notice of an order that names the right receiver and a possible amount; raises NoticeError."""
    if body.receiver != platform.receiver:
        text = "is not who this platform collects for"
        raise NoticeError("receiver", text, is_alarm=True, number=body.number)
    _check_amount(platform, "amount_fen", body.amount_fen)
    room = Room(building=body.building, room=body.room, utility=body.utility)
    return Notice(platform=platform.name, number=body.number, room=room, amount_fen=body.amount_fen)


def form_of(body: bytes) -> dict[str, str] | None:
    """The parameters of a form; None for what is no form, or says something twice."""
    try:
        pairs = parse_qsl(
            body.decode(), keep_blank_values=True, errors="strict", max_num_fields=_FIELDS_MAX
        )
    except ValueError:
        return None
    form = dict(pairs)
    return form if form and len(form) == len(pairs) else None


def alipay_notice(platform: Platform, form: Mapping[str, str]) -> Notice | None:
    """The notice in a form whose signature is good; None while nothing was paid. Raises NoticeError.

    The room stands in `passback_params`: `building=B1&room=101&utility=electricity`.
    """
    number = form.get("out_trade_no", "")
    if not _NUMBER.fullmatch(number):
        raise NoticeError("out_trade_no", "is no order's number")
    for field in ("app_id", "seller_id"):
        if form.get(field) != getattr(platform, field):
            text = "is not who this platform collects for"
            raise NoticeError(field, text, is_alarm=True, number=number)
    if form.get("trade_status") not in _PAID:
        return None
    amount_fen = fen_of(form.get("total_amount", ""))
    if amount_fen is None:
        raise NoticeError("total_amount", "is no amount in yuan with at most two places")
    _check_amount(platform, "total_amount", amount_fen)
    room = _room(form_of(form.get("passback_params", "").encode()) or {})
    return Notice(platform=platform.name, number=number, room=room, amount_fen=amount_fen)


def fen_of(yuan: str) -> int | None:
    """`12.5` is 1250 fen, exactly; None for what is no such amount."""
    found = _YUAN.fullmatch(yuan)
    return int(found[1]) * 100 + int((found[2] or "").ljust(2, "0")) if found else None


def _room(said: Mapping[str, str]) -> Room:
    building, room = said.get("building", ""), said.get("room", "")
    utility = said.get("utility", Utility.ELECTRICITY)
    if not building or not room or utility not in list(Utility):
        raise NoticeError("passback_params", "names no room")
    return Room(building=building, room=room, utility=Utility(utility))


def _check_amount(platform: Platform, field: str, amount_fen: int) -> None:
    if not 0 < amount_fen <= platform.amount_max_fen:
        raise NoticeError(field, f"is not from 1 to {platform.amount_max_fen} fen")
