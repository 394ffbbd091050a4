"""A broker's settings: every mistake with its key; TLS with a client certificate on a real Mosquitto."""

from __future__ import annotations

import datetime
import gc
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from drivers.mqtt.driver import open_driver
from drivers.mqtt.settings import read_broker
from hub import ConfigError, Link
from tests.mqtt_link import device, mqtt_link, serving, until_up
from tests.recording_host import RecordingHost
from tests.servers import Server, find_program, mosquitto_server, running

PAIR = {"ca_file": "ca.crt", "cert_file": "hub.crt", "key_file": "hub.key"}
VALID = datetime.timedelta(days=1)


class Authority:
    """A certificate authority that lives as long as a test."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test authority")])
        self._write("ca", self._key, self._sign(self._name, self._key, authority=True))

    def issue(self, name: str, host: str = "localhost") -> None:
        """`name`.crt and `name`.key, good for a server on loopback and for a client."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self._write(name, key, self._sign(subject, key, host=host))

    def _sign(
        self,
        subject: x509.Name,
        key: ec.EllipticCurvePrivateKey,
        host: str = "",
        *,
        authority: bool = False,
    ) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - VALID)
            .not_valid_after(now + VALID)
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        )
        if host:
            names = x509.SubjectAlternativeName([x509.DNSName(host)])
            builder = builder.add_extension(names, critical=False)
        return builder.sign(self._key, hashes.SHA256())

    def _write(self, name: str, key: ec.EllipticCurvePrivateKey, cert: x509.Certificate) -> None:
        pem = serialization.Encoding.PEM
        (self._folder / f"{name}.crt").write_bytes(cert.public_bytes(pem))
        secret = key.private_bytes(
            pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        (self._folder / f"{name}.key").write_bytes(secret)


@pytest.fixture
def tls_broker(tmp_path: Path) -> Iterator[Server]:
    """A Mosquitto that wants client certificates; its authority and the hub's pair are in tmp_path."""
    authority = Authority(tmp_path)
    authority.issue("broker")
    authority.issue("hub")
    lines = (
        f"cafile {tmp_path}/ca.crt",
        f"certfile {tmp_path}/broker.crt",
        f"keyfile {tmp_path}/broker.key",
        "require_certificate true",
    )
    with running(mosquitto_server(tmp_path / "mosquitto", *lines)) as server:
        yield server


async def test_the_hub_proves_who_it_is(tmp_path: Path, tls_broker: Server) -> None:
    accepted, refused = RecordingHost(), RecordingHost()
    async with serving(tls_link(tmp_path, tls_broker.port, **PAIR), accepted):
        await until_up(accepted)
    async with serving(tls_link(tmp_path, tls_broker.port, ca_file="ca.crt"), refused):
        await refused.wait_until(lambda: bool(refused.link_events))
    assert accepted.link_events == ["up"]
    assert refused.link_events == ["down: the broker hangs up"]


# paho leaves the socket of a failed handshake to the garbage collector, which closes it.
@pytest.mark.filterwarnings("ignore:Exception ignored in. <ssl.SSLSocket")
async def test_a_broker_under_another_name_is_not_believed(
    tmp_path: Path, tls_broker: Server
) -> None:
    host = RecordingHost()
    async with serving(tls_link(tmp_path, tls_broker.port, host="127.0.0.1", **PAIR), host):
        await host.wait_until(lambda: bool(host.link_events))
    assert "certificate verify failed" in host.link_events[0]
    gc.collect()


def tls_link(folder: Path, port: int, host: str = "localhost", **files: str) -> Link:
    return Link(
        id="broker",
        driver="mqtt",
        settings={"host": host, "port": port, **files},
        devices=(device("m-1"),),
        source=str(folder / "site.toml"),
    )


async def test_a_password_comes_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "hub.secret").write_text("secret\n", "utf-8")
    users = tmp_path / "users"
    users.write_text("hub:secret\n", "utf-8")
    subprocess.run([find_program("mosquitto_passwd"), "-U", str(users)], check=True)
    with running(mosquitto_server(tmp_path / "m", f"password_file {users}")) as server:
        host, stranger = RecordingHost(), RecordingHost()
        link = tls_link(tmp_path, server.port, username="hub", password_file="hub.secret")
        async with serving(link, host):
            await until_up(host)
        async with serving(tls_link(tmp_path, server.port), stranger):
            await stranger.wait_until(lambda: bool(stranger.link_events))
    assert host.link_events == ["up"]
    assert stranger.link_events[0].startswith("down: ")


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        ({"host": ""}, "host"),
        ({"prot": 1}, ""),
        ({"port": 0}, "port"),
        ({"port": "1883"}, "port"),
        ({"version": "3.1"}, "version"),
        ({"password": "secret"}, ""),
        ({"password_file": "missing", "username": "hub"}, "password_file"),
        ({"password_file": "missing"}, "username"),
        ({"ca_file": "missing.crt"}, "ca_file"),
        ({"key_file": "missing.key"}, "cert_file"),
        ({"receive_maximum": 10}, "receive_maximum"),
        ({"rate_per_s": 0}, "rate_per_s"),
    ],
)
def test_a_mistake_in_the_settings_is_named_with_its_key(
    settings: dict[str, object], key: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        open_driver(Link(id="broker", driver="mqtt", settings={"host": "localhost", **settings}))
    assert caught.value.key.startswith(f"links.broker.{key}".rstrip("."))
    assert "secret" not in str(caught.value)


def test_a_port_and_a_client_id_follow_from_the_link() -> None:
    link = mqtt_link(1883, [])
    plain = read_broker(Link(id="b1", driver="mqtt", settings={"host": "x"}))
    secure = read_broker(Link(id="b1", driver="mqtt", settings={"host": "x", "tls": True}))
    assert (plain.client_id, plain.port, secure.port) == ("dormhub-b1", 1883, 8883)
    assert read_broker(link).settings.receive_maximum >= 1000
