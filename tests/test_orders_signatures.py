"""Signatures against the published examples, and keys as site.toml names them."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.campus.orders.platforms import read_platforms
from hub.campus.orders.signatures import (
    NotSigned,
    is_signed,
    is_signed_form,
    seal_of,
    sealed,
    signed_text,
)
from hub.errors import ConfigError
from tests.order_site import KEY, PLATFORMS, SECRET, order_site_of, write_secret

# The example of the Standard Webhooks libraries.
EXAMPLE_SECRET = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
EXAMPLE_BODY = b'{"test": 2432232314}'
EXAMPLE = {
    "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
    "webhook-timestamp": "1614265330",
    "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
}


def signer_of(headers: Mapping[str, str], body: bytes) -> bytes:
    """Ours when it is; NotSigned otherwise."""
    if is_signed(seal_of(headers), body, [SECRET]):
        return SECRET
    raise NotSigned("signature")


def test_the_published_example_is_good_and_is_what_we_sign() -> None:
    assert is_signed(seal_of(EXAMPLE), EXAMPLE_BODY, [EXAMPLE_SECRET])
    made = sealed([EXAMPLE_SECRET], EXAMPLE["webhook-id"], 1614265330, EXAMPLE_BODY)
    assert made == EXAMPLE


def test_during_a_rotation_either_key_and_either_signature_is_good() -> None:
    both = sealed([b"new" * 10, EXAMPLE_SECRET], "msg_1", 5, b"body")
    assert is_signed(seal_of(both), b"body", [EXAMPLE_SECRET])
    assert is_signed(seal_of(both), b"body", [b"new" * 10])
    assert is_signed(seal_of(EXAMPLE), EXAMPLE_BODY, [b"new" * 10, EXAMPLE_SECRET])
    assert not is_signed(seal_of(both), b"body", [b"old" * 10])


def test_signatures_of_other_versions_are_passed_over() -> None:
    mixed = EXAMPLE | {"webhook-signature": f"v1a,AAAA {EXAMPLE['webhook-signature']} v2,x"}
    assert is_signed(seal_of(mixed), EXAMPLE_BODY, [EXAMPLE_SECRET])
    with pytest.raises(NotSigned):
        seal_of(EXAMPLE | {"webhook-signature": "v1a,AAAA"})


@given(
    id=st.text(max_size=20),
    time=st.text(max_size=12),
    signature=st.text(max_size=40),
    body=st.binary(max_size=40),
)
def test_no_headers_at_all_break_the_check(id: str, time: str, signature: str, body: bytes) -> None:
    headers = {"webhook-id": id, "webhook-timestamp": time, "webhook-signature": f"v1,{signature}"}
    with pytest.raises(NotSigned):
        signer_of(headers, body)


def test_what_alipay_signs_is_sorted_without_signature_and_empty_values() -> None:
    form = {"b": "2", "a": "1 +&", "sign": "x", "sign_type": "RSA2", "empty": ""}
    assert signed_text(form) == "a=1 +&&b=2"


@given(form=st.dictionaries(st.text(max_size=8), st.text(max_size=20), max_size=6))
def test_no_form_at_all_breaks_the_check(form: dict[str, str]) -> None:
    assert not is_signed_form(form | {"sign_type": "RSA2"}, [KEY.public_key()])


def test_secrets_come_from_their_files_and_are_not_shown(tmp_path: Path) -> None:
    platform = read_platforms(order_site_of(tmp_path))["campus-pay"]
    assert platform.secrets == (SECRET,)
    assert "secret" not in repr(platform)


def test_a_secret_that_others_may_read_is_refused(tmp_path: Path) -> None:
    site = order_site_of(tmp_path)
    write_secret(tmp_path / "campus-pay.key", mode=0o640)
    with pytest.raises(ConfigError, match="chmod 600"):
        read_platforms(site)


def test_two_platforms_may_not_have_the_same_secret(tmp_path: Path) -> None:
    tables = PLATFORMS | {"other": PLATFORMS["campus-pay"]}
    site = replace(order_site_of(tmp_path), policies={"platforms": tables})
    with pytest.raises(ConfigError, match="give each its own"):
        read_platforms(site)


@pytest.mark.parametrize(
    ("name", "changed", "key"),
    [
        ("campus-pay", {"secrets": []}, "platforms.campus-pay.secrets"),
        ("campus-pay", {"secrets": ["missing"]}, "platforms.campus-pay.secrets"),
        ("campus-pay", {"secrets": ["gateway.pem"]}, "platforms.campus-pay.secrets"),
        ("campus-pay", {"receiver": ""}, "platforms.campus-pay.receiver"),
        ("campus-pay", {"form": "paper"}, "platforms.campus-pay.form"),
        ("campus-pay", {"callback_url": "http://far.example/x"}, "callback_url"),
        ("campus-pay", {"callback_url": "https://u:p@far.example/x"}, "callback_url"),
        ("campus-pay", {"amount_max_fen": 0.5}, "amount_max_fen"),
        ("campus-pay", {"colour": "red"}, "platforms.campus-pay.colour"),
        ("gateway", {"public_keys": ["campus-pay.key"]}, "platforms.gateway.public_keys"),
        ("gateway", {"seller_id": ""}, "platforms.gateway.seller_id"),
        ("gateway", {"list_url": "https://far.example/x"}, "platforms.gateway.secrets"),
    ],
)
def test_a_mistake_about_a_platform_is_named(
    tmp_path: Path, name: str, changed: dict[str, object], key: str
) -> None:
    tables = {name: PLATFORMS[name] | changed}
    site = replace(order_site_of(tmp_path), policies={"platforms": tables})
    with pytest.raises(ConfigError) as raised:
        read_platforms(site)
    assert key in raised.value.key
