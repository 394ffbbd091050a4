"""Whose word a message is: signatures of payment platforms, and the hub's own under its call-backs.

Standard Webhooks: HMAC-SHA256 over `id.timestamp.body` with the bytes as they came, in the headers
`webhook-id`, `webhook-timestamp` (seconds) and `webhook-signature` (`v1,BASE64`, several with blanks
between). Alipay's form: SHA256 with RSA over the parameters in order, without `sign` and `sign_type`. Every
signature is compared in the same time wherever it differs; what is wrong with one is not told.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256

from hub.errors import HubError

WINDOW_S = 300  # how old, or how early, a signed message may be
_VERSION = "v1,"
_SIGNATURES_MAX = 8
_ID_MAX = 200
_SIGN_TYPE = "RSA2"


class NotSigned(HubError):
    """Not the word of anybody known. `field` says what is wrong, for counters; never told to the sender."""

    def __init__(self, field: str) -> None:
        self.field = field
        super().__init__(field)


@dataclass(frozen=True, kw_only=True, slots=True)
class Seal:
    """What stands in the three headers of a signed message; `time_s` is the sender's clock."""

    id: str
    time_s: int
    signatures: tuple[bytes, ...]


def seal_of(headers: Mapping[str, str]) -> Seal:
    """The seal of a message, its headers by lower-case name; raises NotSigned for none or half of one."""
    id, time = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    # A dot in the id would let its end be taken for the time.
    if (
        not 0 < len(id) <= _ID_MAX
        or "." in id
        or not (time.isascii() and time.isdigit() and len(time) <= 12)
    ):
        raise NotSigned("headers")
    # Others may stand beside ours: of keys that are new, of versions that are newer.
    words = headers.get("webhook-signature", "").split(" ")[:_SIGNATURES_MAX]
    found = tuple(_decoded(word[len(_VERSION) :]) for word in words if word.startswith(_VERSION))
    if not found:
        raise NotSigned("headers")
    return Seal(id=id, time_s=int(time), signatures=found)


def is_signed(seal: Seal, body: bytes, secrets: Iterable[bytes]) -> bool:
    """Whether one of these secrets made one of the signatures over this very body."""
    good = False
    for secret in secrets:
        expected = _hmac(secret, seal.id, seal.time_s, body)
        for signature in seal.signatures:
            good |= hmac.compare_digest(expected, signature)
    return good


def sealed(secrets: Iterable[bytes], id: str, time_s: int, body: bytes) -> dict[str, str]:
    """The headers of a message of ours, signed with each of these secrets."""
    signatures = (
        _VERSION + base64.b64encode(_hmac(secret, id, time_s, body)).decode() for secret in secrets
    )
    return {
        "webhook-id": id,
        "webhook-timestamp": str(time_s),
        "webhook-signature": " ".join(signatures),
    }


def is_signed_form(form: Mapping[str, str], keys: Iterable[RSAPublicKey]) -> bool:
    """Whether one of these keys belongs to who signed the parameters of an Alipay-style form."""
    if form.get("sign_type") != _SIGN_TYPE:
        return False
    signature, content = _decoded(form.get("sign", "")), signed_text(form).encode()
    return any([_is_signed_by(key, signature, content) for key in keys])


def signed_text(form: Mapping[str, str]) -> str:
    """What is signed of a form: `name=value` with & between, by name; no empty values, no signature."""
    return "&".join(
        f"{name}={value}"
        for name, value in sorted(form.items())
        if value and name not in ("sign", "sign_type")
    )


def is_fresh(time_s: float, now_ms: int) -> bool:
    """Whether a time that was signed is within five minutes of now."""
    return abs(time_s * 1000 - now_ms) <= WINDOW_S * 1000


def _hmac(secret: bytes, id: str, time_s: int, body: bytes) -> bytes:
    return hmac.digest(secret, f"{id}.{time_s}.".encode() + body, hashlib.sha256)


def _is_signed_by(key: RSAPublicKey, signature: bytes, content: bytes) -> bool:
    try:
        key.verify(signature, content, PKCS1v15(), SHA256())
    except InvalidSignature:
        return False
    return True


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):  # ValueError: letters that are no ASCII
        return b""
