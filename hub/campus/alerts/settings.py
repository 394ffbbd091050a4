"""`[alerts]` of site.toml: when rooms and staff are warned, and by which channels.

[alerts]
cooldown_s = 21600               # the same is not told again sooner
offline_s = 1800                 # a meter is missed after so long
unusual_times = 3                # so many times the usual use is unusual,
unusual_wh = 5000                # from so much a day on,
unusual_night_wh = 1500          # or so much in an hour of the night
[alerts.channels.duty]
type = "wecom"                   # or dingtalk, feishu, webhook, email, apprise
url_file = "keys/duty-robot"     # mode 0600; the address of a robot is its secret
secret_file = "keys/duty-sign"   # dingtalk, feishu: its signature; webhook: whsec_…
to = "staff"                     # or "rooms": whoever lives there reads it, and may opt out
kinds = ["trip", "offline"]      # all when absent
buildings = ["B1"]
severity = "warning"             # this and worse
language = "zh"
per_minute = 10
[alerts.channels.app]
type = "webhook"
url = "https://…"
[alerts.channels.office]
type = "email"
host = "smtp.example.edu"
port = 587
tls = "starttls"                 # or "tls"; "none" only on this box
user = "hub"
password_file = "keys/mail"
ca_file = "keys/ca.pem"
from = "hub@example.edu"
receivers = ["duty@example.edu"]

Paths are from the folder of site.toml. The hub calls these addresses and no others.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TypeVar

from hub.campus.agreed import LOOPBACK, address, is_address, private_text, signing_secret
from hub.campus.alerts.forecast import Bounds
from hub.campus.alerts.foreign import Foreign, is_installed
from hub.campus.alerts.kinds import Alert, Fact, Kind, Severity, severity_of
from hub.campus.alerts.mail import Mail, Tls
from hub.campus.alerts.robots import Maker, Robot
from hub.campus.alerts.senders import Sender
from hub.campus.alerts.texts import Language
from hub.campus.alerts.webhook import Webhook
from hub.errors import ConfigError, ConfigErrors
from hub.site import Site
from hub.site_files import SITE_FILE
from hub.toml_table import Table

_NAME = re.compile(r"[a-z0-9-]{1,32}")
_MAIL = re.compile(r"[^\s@<>,;:\"()\[\]\\]{1,64}@[A-Za-z0-9.-]{1,190}")
_HOST = re.compile(r"[A-Za-z0-9.:-]{1,253}")
_CHANNELS_MAX = 50
_RECEIVERS_MAX = 50
_DAY_S = 86_400
_SEALED_BY = "url_file"
Word = TypeVar("Word", bound=StrEnum)


class Audience(StrEnum):
    """Who reads a channel: what a room opted out of is not said to rooms; staff hear it."""

    STAFF = "staff"
    ROOMS = "rooms"


class ChannelType(StrEnum):
    """How a channel reaches its end."""

    WEBHOOK = "webhook"
    EMAIL = "email"
    WECOM = "wecom"
    DINGTALK = "dingtalk"
    FEISHU = "feishu"
    APPRISE = "apprise"


@dataclass(frozen=True, kw_only=True, slots=True)
class Channel:
    """One way out, and what goes that way. No kinds or buildings: all of them."""

    name: str
    type: ChannelType
    sender: Sender
    to: Audience = Audience.STAFF
    kinds: frozenset[Kind] = frozenset()
    buildings: frozenset[str] = frozenset()
    severity: Severity = Severity.INFO
    language: Language = Language.EN
    per_minute: int = 12

    def wants(self, fact: Fact | Alert) -> bool:
        """Whether this is said here; what is of no room goes where no building is named."""
        return (
            (not self.kinds or fact.kind in self.kinds)
            and (not self.buildings or fact.subject.building in self.buildings)
            and (self.to is Audience.STAFF or bool(fact.subject.room))
            and severity_of(fact.kind, fact.level).reaches(self.severity)
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class AlertRules:
    """When something is told, and where."""

    cooldown_s: int = 6 * 3_600
    offline_s: int = 1_800
    bounds: Bounds = field(default_factory=Bounds)
    channels: Mapping[str, Channel] = field(default_factory=dict)


def read_alerts(site: Site) -> AlertRules:
    """The rules, with the secrets from their files; raises ConfigErrors with every mistake."""
    file = str(site.folder / SITE_FILE)
    table = Table(file, "alerts", dict(site.policies.get("alerts", {})))
    errors: list[ConfigError] = []
    channels: dict[str, Channel] = {}
    for name, entries in _channel_tables(table).items():
        entry = Table(file, f"alerts.channels.{name}", entries)
        try:
            channels[name] = _channel(entry, site, name)
        except ConfigError as error:
            errors.append(error)
    try:
        rules = _rules(table, channels)
    except ConfigError as error:
        raise ConfigErrors((error, *errors)) from None
    if errors:
        raise ConfigErrors(tuple(errors))
    return rules


def _channel_tables(table: Table) -> Mapping[str, Mapping[str, object]]:
    found = table.tables("channels")
    if len(found) > _CHANNELS_MAX:
        raise table.wrong("channels", len(found), f"at most {_CHANNELS_MAX}")
    return found


def _rules(table: Table, channels: Mapping[str, Channel]) -> AlertRules:
    rules = AlertRules(
        cooldown_s=_whole(table, "cooldown_s", 6 * 3_600, least=0, most=30 * _DAY_S),
        offline_s=_whole(table, "offline_s", 1_800, least=60, most=30 * _DAY_S),
        bounds=Bounds(
            times=_whole(table, "unusual_times", Bounds().times, least=2, most=100),
            day_wh=_whole(table, "unusual_wh", Bounds().day_wh, least=1, most=10**9),
            night_wh=_whole(table, "unusual_night_wh", Bounds().night_wh, least=1, most=10**9),
        ),
        channels=channels,
    )
    _no_more(table)
    return rules


def _channel(table: Table, site: Site, name: str) -> Channel:
    if not _NAME.fullmatch(name):
        raise table.wrong("", name[:64], "call it with a-z, 0-9 and -, at most 32 letters")
    type = _word(table, "type", ChannelType, None)
    sender = _SENDERS[type](table, site.folder, type)
    buildings, known = frozenset(table.texts("buildings")), site.buildings.known
    for building in sorted(buildings - known.keys() if known else ()):
        raise table.wrong("buildings", building, "site.toml has: " + ", ".join(list(known)[:8]))
    most = sender.per_minute_max
    channel = Channel(
        name=name,
        type=type,
        sender=sender,
        to=_word(table, "to", Audience, Audience.STAFF),
        kinds=frozenset(_one(table, "kinds", text, Kind) for text in table.texts("kinds")),
        buildings=buildings,
        severity=_word(table, "severity", Severity, Severity.INFO),
        language=_word(table, "language", Language, Language.EN),
        per_minute=_whole(table, "per_minute", most, least=1, most=most),
    )
    _no_more(table)
    return channel


def _robot(table: Table, folder: Path, type: ChannelType) -> Sender:
    secret = table.text("secret_file", "")
    if secret and type is ChannelType.WECOM:
        raise table.wrong("secret_file", secret, "WeCom's robots have no signature")
    return Robot(
        maker=Maker(type),
        url=_private_address(table, folder),
        secret=private_text(table, "secret_file", folder, secret) if secret else "",
    )


def _private_address(table: Table, folder: Path) -> str:
    path = table.text(_SEALED_BY)
    url = private_text(table, _SEALED_BY, folder, path)
    if not is_address(url):
        raise table.wrong(_SEALED_BY, path, "write an address that begins with https:// into it")
    return url


def _webhook(table: Table, folder: Path, _: ChannelType) -> Sender:
    url = address(table, "url")
    if not url:
        raise table.wrong("url", "", "write an address that begins with https://")
    path = table.text("secret_file")
    return Webhook(url=url, secret=signing_secret(table, "secret_file", folder, path))


def _mail(table: Table, folder: Path, _: ChannelType) -> Sender:
    host, tls = table.text("host"), _word(table, "tls", Tls, Tls.STARTTLS)
    if not _HOST.fullmatch(host):
        raise table.wrong("host", host, "write the name of a mail server")
    if tls is Tls.NONE and host not in LOOPBACK:
        raise table.wrong("tls", str(tls), 'only on this box; write "starttls" or "tls"')
    user, password, ca = (table.text(key, "") for key in ("user", "password_file", "ca_file"))
    if bool(user) != bool(password):
        raise table.wrong("password_file", password, "user and password_file belong together")
    receivers = table.texts("receivers")
    if not 0 < len(receivers) <= _RECEIVERS_MAX:
        raise table.wrong("receivers", list(receivers), f"name 1 to {_RECEIVERS_MAX}")
    default = 465 if tls is Tls.TLS else 587
    return Mail(
        host=host,
        port=_whole(table, "port", default, least=1, most=65_535),
        tls=tls,
        sender=_mail_address(table, "from", table.text("from")),
        receivers=tuple(_mail_address(table, "receivers", text) for text in receivers),
        user=user,
        password=private_text(table, "password_file", folder, password) if password else "",
        ca_file=str(folder / ca) if ca else "",
    )


def _mail_address(table: Table, key: str, text: str) -> str:
    if not _MAIL.fullmatch(text) or not text.isascii():
        raise table.wrong(key, text[:200], "write it like duty@example.edu")
    return text


def _foreign(table: Table, folder: Path, _: ChannelType) -> Sender:
    path = table.text(_SEALED_BY)
    if not is_installed():
        raise table.wrong("type", "apprise", "install dormhub[apprise]")
    url = private_text(table, _SEALED_BY, folder, path)
    if "://" not in url:
        raise table.wrong(_SEALED_BY, path, "write an address of Apprise into it: bark://…")
    return Foreign(url=url)


_SENDERS: Mapping[ChannelType, Callable[[Table, Path, ChannelType], Sender]] = {
    ChannelType.WEBHOOK: _webhook,
    ChannelType.EMAIL: _mail,
    ChannelType.WECOM: _robot,
    ChannelType.DINGTALK: _robot,
    ChannelType.FEISHU: _robot,
    ChannelType.APPRISE: _foreign,
}


def _word(table: Table, key: str, words: type[Word], default: Word | None) -> Word:
    return _one(table, key, table.text(key, None if default is None else str(default)), words)


def _one(table: Table, key: str, text: str, words: type[Word]) -> Word:
    try:
        return words(text)
    except ValueError:
        raise table.wrong(key, text[:200], "known: " + ", ".join(words)) from None


def _whole(table: Table, key: str, default: int, *, least: int, most: int) -> int:
    value = table.number(key)
    if value is None:
        return default
    if value.denominator != 1 or not least <= value <= most:
        raise table.wrong(key, float(value), f"write a whole number from {least} to {most}")
    return int(value)


def _no_more(table: Table) -> None:
    for key in table.rest():
        raise table.wrong(key, "", "an unknown key; see docs/alerts.md")
