"""What a site says of a broker: the keys of `[links.NAME]` with `driver = "mqtt"`."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal, TypeVar
from zoneinfo import ZoneInfo

import msgspec
from msgspec import Meta

from hub import ConfigError, Link, settings_as

Port = Annotated[int, Meta(ge=1, le=65_535)]
PerSecond = Annotated[float, Meta(gt=0, le=1_000)]
_SECRET_MAX_BYTES = 4096
Made = TypeVar("Made")


class MqttSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The settings of one broker; files are relative to the site's folder."""

    host: Annotated[str, Meta(min_length=1)]
    port: Port | None = None  # 1883, with TLS 8883
    version: Literal["5", "3.1.1"] = "5"
    client_id: Annotated[str, Meta(max_length=64)] = ""  # dormhub-<link>
    username: str = ""
    password_file: str = ""
    tls: bool = False  # the system's authorities, unless ca_file names one
    ca_file: str = ""
    cert_file: str = ""
    key_file: str = ""
    session_expiry_s: Annotated[int, Meta(ge=60, le=2**32 - 1)] = 7 * 86_400
    receive_maximum: Annotated[int, Meta(ge=1000, le=65_535)] = 1000
    keepalive_s: Annotated[int, Meta(ge=5, le=3_600)] = 30
    timeout_s: Annotated[float, Meta(ge=0.1, le=60)] = 10.0
    max_payload_bytes: Annotated[int, Meta(ge=64, le=2**24)] = 65_536
    max_unstored: Annotated[int, Meta(ge=1000, le=1_000_000)] = 10_000
    rate_per_s: PerSecond = 2.0
    burst: Annotated[int, Meta(ge=1, le=100_000)] = 20

    @property
    def secure(self) -> bool:
        """Whether the connection is TLS."""
        return self.tls or bool(self.ca_file or self.cert_file)


class Broker(msgspec.Struct, frozen=True, kw_only=True):
    """A broker, checked and ready to connect to."""

    settings: MqttSettings
    client_id: str
    port: int
    zone: ZoneInfo
    folder: Path
    visit: bool

    def password(self) -> str | None:
        """The secret in the password file as it is now; raises OSError or ValueError."""
        if not self.settings.password_file:
            return None
        return _secret(self.folder / self.settings.password_file)

    def tls_context(self) -> ssl.SSLContext | None:
        """TLS with the certificates as they are on disk now; raises OSError (ssl.SSLError is one)."""
        settings = self.settings
        if not settings.secure:
            return None
        authority = str(self.folder / settings.ca_file) if settings.ca_file else None
        context = ssl.create_default_context(cafile=authority)
        if settings.cert_file:
            key = str(self.folder / settings.key_file) if settings.key_file else None
            context.load_cert_chain(str(self.folder / settings.cert_file), key)
        return context


def _secret(path: Path) -> str:
    with path.open("rb") as file:
        secret = file.read(_SECRET_MAX_BYTES).decode().rstrip("\r\n")
    if not secret:
        raise ValueError("the file is empty")
    return secret


def read_broker(link: Link) -> Broker:
    """The broker a link names; every file it needs is tried. Raises ConfigError."""
    key = f"links.{link.id}"
    settings = settings_as(MqttSettings, link.settings, file=link.source, key=key)

    def wrong(name: str, found: str, hint: str) -> ConfigError:
        return ConfigError(file=link.source, key=f"{key}.{name}", found=found, hint=hint)

    if settings.key_file and not settings.cert_file:
        raise wrong("cert_file", "a key without a certificate", "name both, or neither")
    if settings.password_file and not settings.username:
        raise wrong("username", "nothing", "name the user whose password this is")
    broker = Broker(
        settings=settings,
        client_id=settings.client_id or f"dormhub-{link.id}",
        port=settings.port or (8883 if settings.secure else 1883),
        zone=link.timezone,
        folder=Path(link.source).parent,
        visit=link.visit,
    )
    _try("password_file", broker.password, wrong)
    _try("ca_file", broker.tls_context, wrong)
    return broker


def _try(
    name: str, load: Callable[[], Made], wrong: Callable[[str, str, str], ConfigError]
) -> None:
    try:
        load()
    except (OSError, ValueError) as error:
        hint = "name a readable file: PEM for certificates and keys, one line for a password"
        raise wrong(name, str(error), hint) from None
