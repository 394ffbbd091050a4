"""A broker as a stranger finds it: does it let anybody in, and does it say its limits?"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Mapping

from paho.mqtt.client import Client, ConnectFlags
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from hub.broker import runs_files
from hub.checkup.finding import Finding, note, well, wrong
from hub.config import BrokerConfig
from hub.model import Link

_TIMEOUT_S = 5.0
_PACKET_MAX_BYTES = 70_000
_LOOPBACK = ("127.0.0.1", "::1", "localhost")


class _Knock:
    """One try to come in without a name."""

    def __init__(self) -> None:
        self.reason: ReasonCode | None = None
        self.limits: Properties | None = None
        self.answered = threading.Event()

    def on_connect(
        self,
        _client: Client,
        _userdata: object,
        _flags: ConnectFlags,
        reason: ReasonCode,
        properties: Properties | None,
    ) -> None:
        """The broker's word."""
        self.reason, self.limits = reason, properties
        self.answered.set()


def broker_findings(link: Link) -> Iterator[Finding]:
    """What a stranger sees of this link's broker; nothing for one that is reached by TLS only."""
    what, settings = f"broker of {link.id}", link.settings
    host, port = str(settings.get("host", "")), settings.get("port", 1883)
    if not isinstance(port, int) or _is_secure(settings):
        return
    knock, client = (
        _Knock(),
        Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5),
    )
    client.on_connect = knock.on_connect
    client.connect_timeout = _TIMEOUT_S
    try:
        client.connect(host, port)
        client.loop_start()
        knock.answered.wait(_TIMEOUT_S)
    except OSError as error:
        yield wrong(what, f"{host}:{port}: {error}", "start it, or mend host and port in site.toml")
        return
    finally:
        client.disconnect()
        client.loop_stop()
    if knock.reason is None:
        yield wrong(what, "it does not answer", "see its log; MQTT 5 is needed (Mosquitto 2)")
    elif knock.reason.is_failure:
        yield well(what, "strangers are not let in")
    else:
        yield _stranger(what, host)
        yield _packets(what, knock.limits)


def loaded_finding(config: BrokerConfig) -> Finding | None:
    """Whether the broker of this box runs the files the hub wrote; None where there are none."""
    what = "broker's reload"
    try:
        runs = asyncio.run(runs_files(config))
    except OSError as error:
        return wrong(what, f"the broker does not answer: {error}", "systemctl status mosquitto")
    if runs is None:
        return None
    if runs:
        return well(what, "the broker runs these files")
    return wrong(what, "the broker does not run these files", "systemctl reload mosquitto")


def _is_secure(settings: Mapping[str, object]) -> bool:
    return any(settings.get(key) for key in ("tls", "ca_file", "cert_file"))


def _stranger(what: str, host: str) -> Finding:
    to_do = "allow_anonymous false, with accounts: docs/broker.md"
    if host in _LOOPBACK:
        return note(what, "anybody on this box is let in", to_do)
    return wrong(what, "anybody in the network is let in, and may command devices", to_do)


def _packets(what: str, limits: Properties | None) -> Finding:
    size = getattr(limits, "MaximumPacketSize", None)
    if size is None or size > _PACKET_MAX_BYTES:
        found = f"messages of {'any size' if size is None else f'{size} bytes'} are taken"
        return note(what, found, "max_packet_size 65536 in the broker's configuration")
    return well(what, f"messages of at most {size} bytes")
