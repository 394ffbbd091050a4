"""Settings of the InfluxDB sink, and its way over TLS."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from hub import (
    ConfigError,
    LinkError,
)
from hub.plugin import sink_names
from hub.sinks.influxdb import InfluxSettings
from tests.influx_case import LINES, READINGS, influx, secret_file
from tests.recording_influx import (
    recording_influx,
)


def test_the_sink_is_found_by_its_entry_point() -> None:
    assert "influxdb" in sink_names()


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        ({"url": "influx:8086"}, "sinks.longterm.url"),
        ({"url": "ftp://influx"}, "sinks.longterm.url"),
        ({"url": "http://a:b@influx"}, "sinks.longterm.url"),
        ({"bucket": ""}, "sinks.longterm.bucket"),
        ({"timeout_s": 0.0}, "sinks.longterm.timeout_s"),
        ({"timeout_s": "10"}, "sinks.longterm.timeout_s"),
        ({"username": "hub"}, "sinks.longterm.token_file"),
        ({"token_file": "/nowhere/token"}, "sinks.longterm.token_file"),
        ({"ca_file": "/nowhere/ca.pem"}, "sinks.longterm.ca_file"),
        ({"token": "s3cret"}, "sinks.longterm"),
    ],
)
def test_a_wrong_setting_is_named(settings: dict[str, object], key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        influx(str(settings.pop("url", "http://influx:8086")), **settings)
    assert caught.value.key == key


@pytest.mark.parametrize(
    ("text", "mode", "found"),
    [("", 0o600, "no token"), ("two\nlines", 0o600, "no token"), ("s3cret", 0o644, "everybody")],
)
def test_a_token_file_that_will_not_do_is_refused_without_showing_it(
    tmp_path: Path, text: str, mode: int, found: str
) -> None:
    with pytest.raises(ConfigError, match=found) as caught:
        influx("http://influx:8086", token_file=secret_file(tmp_path, text, mode))
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("key", InfluxSettings.__struct_fields__)
def test_every_setting_is_explained(key: str) -> None:
    assert f"| `{key}` |" in Path("docs/influxdb.md").read_text("utf-8")


def certificate(folder: Path) -> tuple[Path, ssl.SSLContext]:
    """A certificate for this machine, as a file for the caller and a context for the endpoint."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
    )
    cert_file, key_file = folder / "cert.pem", folder / "key.pem"
    cert_file.write_bytes(made.public_bytes(Encoding.PEM))
    key_file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(cert_file, key_file)
    return cert_file, context


async def test_over_tls_with_an_authority_of_ones_own(tmp_path: Path) -> None:
    cert_file, context = certificate(tmp_path)
    async with recording_influx(context) as endpoint:
        sink = influx(endpoint.url, ca_file=str(cert_file))
        await sink.write(READINGS)
        await sink.close()
    assert endpoint.taken == LINES


async def test_a_certificate_of_an_unknown_authority_is_not_trusted(tmp_path: Path) -> None:
    async with recording_influx(certificate(tmp_path)[1]) as endpoint:
        sink = influx(endpoint.url)
        with pytest.raises(LinkError, match="certificate verify failed"):
            await sink.write(READINGS)
        await sink.close()
    assert endpoint.requests == []


def test_a_file_without_certificates_is_refused(tmp_path: Path) -> None:
    empty = tmp_path / "ca.pem"
    empty.write_text("not a certificate", "utf-8")
    with pytest.raises(ConfigError, match="ca_file: cannot use"):
        influx("https://127.0.0.1:1", ca_file=str(empty))
