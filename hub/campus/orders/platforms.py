"""`[platforms.NAME]` of site.toml: who collects money for the house, and how each is known.

    [platforms.campus-pay]
    form = "standard"                     # Standard Webhooks; or "alipay"
    secrets = ["keys/campus-pay"]         # files with mode 0600; during a rotation two
    receiver = "logistics"                # whom its notices must name
    amount_max_fen = 100000               # of one order
    callback_url = "https://…"            # told of every change of an order
    callback_answer = ""                  # the body that means taken; empty: status 200 or 204
    list_url = "https://…"                # asked for notices that never came
    bill_url = "https://…"                # asked for the bill of each day

    [platforms.alipay-gateway]
    form = "alipay"
    public_keys = ["keys/gateway.pem"]
    app_id = "2017…"
    seller_id = "2088…"

Paths are from the folder of site.toml. `secrets` also sign what the hub sends, the first alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from hub.campus.agreed import address, content_of, signing_secret
from hub.errors import ConfigError, ConfigErrors
from hub.site import Site
from hub.site_files import SITE_FILE
from hub.toml_table import Table

DESK = "desk"  # orders that staff give: no site has a platform of this name
_NAMED = "abcdefghijklmnopqrstuvwxyz0123456789-"
_NAME_MAX = 32
_RSA_MIN_BITS = 2_048
_AMOUNT_MAX_FEN = 100_000
_AMOUNT_LIMIT_FEN = 10**9


class Form(StrEnum):
    """How a platform signs its notices."""

    STANDARD = "standard"
    ALIPAY = "alipay"


@dataclass(frozen=True, kw_only=True, slots=True)
class Platform:
    """A payment platform as agreed with it; amounts in fen."""

    name: str
    form: Form = Form.STANDARD
    secrets: tuple[bytes, ...] = field(default=(), repr=False)
    public_keys: tuple[RSAPublicKey, ...] = ()
    receiver: str = ""
    app_id: str = ""
    seller_id: str = ""
    amount_max_fen: int = _AMOUNT_MAX_FEN
    callback_url: str = ""
    callback_answer: str = ""
    list_url: str = ""
    bill_url: str = ""


def read_platforms(site: Site) -> dict[str, Platform]:
    """Every platform by its name, with its keys from their files; raises ConfigErrors with every mistake."""
    errors: list[ConfigError] = []
    found: dict[str, Platform] = {}
    file = str(site.folder / SITE_FILE)
    for name, entry in site.policies.get("platforms", {}).items():
        try:
            found[name] = _platform(site.folder, file, name, entry)
        except ConfigError as error:
            errors.append(error)
    errors += _shared(file, found)
    if errors:
        raise ConfigErrors(tuple(errors))
    return found


def _platform(folder: Path, file: str, name: str, entry: object) -> Platform:
    table = Table(file, f"platforms.{name}", entry if isinstance(entry, dict) else {})
    if name == DESK:
        raise table.wrong("", name, "the hub's own; call it otherwise")
    if not 0 < len(name) <= _NAME_MAX or name.strip(_NAMED):
        raise table.wrong("", name, "call it with a-z, 0-9 and -, at most 32 letters")
    if not isinstance(entry, dict):
        raise table.wrong("", entry, f"write a table: [platforms.{name}]")
    text = table.text("form", str(Form.STANDARD))
    if text not in list(Form):
        raise table.wrong("form", text, "known: " + ", ".join(Form))
    platform = Platform(
        name=name,
        form=Form(text),
        secrets=tuple(
            signing_secret(table, "secrets", folder, path) for path in table.texts("secrets")
        ),
        public_keys=tuple(_key(table, folder, path) for path in table.texts("public_keys")),
        receiver=table.text("receiver", ""),
        app_id=table.text("app_id", ""),
        seller_id=table.text("seller_id", ""),
        amount_max_fen=_amount(table),
        callback_url=address(table, "callback_url"),
        callback_answer=table.text("callback_answer", ""),
        list_url=address(table, "list_url"),
        bill_url=address(table, "bill_url"),
    )
    for key, value in table.rest().items():
        raise table.wrong(key, value, "an unknown key; see docs/orders.md")
    _check_whole(table, platform)
    return platform


def _check_whole(table: Table, platform: Platform) -> None:
    """What a form cannot be without; nothing that is empty may stand for anybody."""
    needed = {
        Form.STANDARD: ("secrets", "receiver"),
        Form.ALIPAY: ("public_keys", "app_id", "seller_id"),
    }
    for key in needed[platform.form]:
        if not getattr(platform, key):
            raise table.wrong(key, getattr(platform, key), f"{platform.form} needs it")
    urls = (platform.callback_url, platform.list_url, platform.bill_url)
    if any(urls) and not platform.secrets:
        raise table.wrong("secrets", [], "what the hub sends is signed with the first")


def _amount(table: Table) -> int:
    value = table.number("amount_max_fen")
    if value is None:
        return _AMOUNT_MAX_FEN
    if value.denominator != 1 or not 0 < value <= _AMOUNT_LIMIT_FEN:
        raise table.wrong("amount_max_fen", float(value), "write whole fen, from 1 to 1000000000")
    return int(value)


def _key(table: Table, folder: Path, path: str) -> RSAPublicKey:
    try:
        key = load_pem_public_key(content_of(table, "public_keys", folder, path, private=False))
    except ValueError:
        key = None
    if not isinstance(key, RSAPublicKey) or key.key_size < _RSA_MIN_BITS:
        raise table.wrong("public_keys", path, "name a PEM file with an RSA key of 2048 bits")
    return key


def _shared(file: str, platforms: Mapping[str, Platform]) -> Iterator[ConfigError]:
    """A notice does not say whose it is: the key alone does."""
    owners: dict[bytes, str] = {}
    for name, platform in platforms.items():
        for secret in platform.secrets:
            owner = owners.setdefault(secret, name)
            if owner != name:
                table = Table(file, f"platforms.{name}", {})
                yield table.wrong("secrets", owner, "has the same; give each its own")
