"""The campus's own certificate authority: who the broker is, and which device is which.

Everything is EC P-256. The authority's key stands in the hub's data folder, readable by its owner alone, and
never leaves it; a device's key is made here, given out once and not kept.
"""

from __future__ import annotations

import datetime
import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from hub.broker.private_file import write_private
from hub.errors import ConfigError, HubError

DEVICE_DAYS = 730
SERVER_DAYS = 730
SERVER_RENEWED_DAYS = 60  # so many days before its end the broker's certificate is made anew
CA_KEY, CA_CERTIFICATE = "ca.key", "ca.crt"
SERVER_KEY, SERVER_CERTIFICATE = "server.key", "server.crt"
_CA_DAYS = 20 * 365
_BACKDATED_DAYS = 1  # a device's clock may be behind
_DEVICE_ID = re.compile(r"[a-z0-9-]{1,64}")
_SECOND = datetime.timedelta(seconds=1)


@dataclass(frozen=True, kw_only=True, slots=True)
class DeviceCertificate:
    """A device's certificate and key in PEM, and what is kept of them: fingerprint (SHA-256) and serial."""

    certificate: str
    key: str
    fingerprint: str
    serial: str
    expires_ms: int


class Authority:
    """A key and its own certificate, by which it signs devices, the broker and the list of revocations."""

    def __init__(self, key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate) -> None:
        self._key = key
        self._certificate = certificate
        self._identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key())

    @property
    def certificate(self) -> bytes:
        """What devices and broker must trust, in PEM."""
        return self._certificate.public_bytes(serialization.Encoding.PEM)

    def issue_device(self, device: str, now_ms: int) -> DeviceCertificate:
        """A certificate for two years with this device's id as its name; raises ValueError for no id."""
        if not _DEVICE_ID.fullmatch(device):
            raise ValueError(f"{device[:80]!r} is no id of a device")
        key = ec.generate_private_key(ec.SECP256R1())
        usage = ExtendedKeyUsageOID.CLIENT_AUTH
        certificate = self._sign(device, key, _moment(now_ms), DEVICE_DAYS, usage)
        return DeviceCertificate(
            certificate=certificate.public_bytes(serialization.Encoding.PEM).decode(),
            key=_key_pem(key).decode(),
            fingerprint=certificate.fingerprint(hashes.SHA256()).hex(),
            serial=f"{certificate.serial_number:x}",
            expires_ms=_ms(certificate.not_valid_after_utc),
        )

    def issue_server(self, names: Sequence[str], now_ms: int) -> tuple[bytes, bytes]:
        """Key and certificate, in PEM, of a broker that is reached under these host names and addresses."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = self._sign(
            names[0][:64], key, _moment(now_ms), SERVER_DAYS, ExtendedKeyUsageOID.SERVER_AUTH, names
        )
        return _key_pem(key), certificate.public_bytes(serialization.Encoding.PEM)

    def knows_server(self, certificate: bytes, names: Sequence[str], now_ms: int) -> bool:
        """Whether this is our certificate of a broker of just these names, and far from its end."""
        found = x509.load_pem_x509_certificate(certificate)
        try:
            found.verify_directly_issued_by(self._certificate)
        except Exception:  # whatever the library finds wrong: it is not ours
            return False
        alternatives = found.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        left = found.not_valid_after_utc - _moment(now_ms)
        wanted = x509.SubjectAlternativeName(_general_names(names))
        return alternatives.value == wanted and left.days >= SERVER_RENEWED_DAYS

    def revocations(self, serials: Sequence[str], number: int) -> bytes:
        """The list of these revoked serials, oldest first, in PEM; the same ones give the same bytes.

        Its time is no clock's but its number: a broker keeps every list it ever loaded and obeys the one
        with the newest time, in whole seconds, so two revocations of one second would hide each other.
        """
        began = self._certificate.not_valid_before_utc
        counted = began + number * _SECOND
        builder = x509.CertificateRevocationListBuilder()
        builder = builder.issuer_name(self._certificate.subject)
        builder = builder.last_update(counted).next_update(self._certificate.not_valid_after_utc)
        builder = builder.add_extension(self._identifier, critical=False)
        builder = builder.add_extension(x509.CRLNumber(number), critical=False)
        for serial in serials:
            entry = x509.RevokedCertificateBuilder().serial_number(int(serial, 16))
            builder = builder.add_revoked_certificate(entry.revocation_date(began).build())
        signed = builder.sign(self._key, hashes.SHA256(), ecdsa_deterministic=True)
        return signed.public_bytes(serialization.Encoding.PEM)

    def numbered(self, crl: bytes) -> tuple[int, list[str]] | None:
        """Number and serials of a list of ours, in PEM; None for anything else."""
        try:
            found = x509.load_pem_x509_crl(crl)
            number = found.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
        except (ValueError, x509.ExtensionNotFound):
            return None
        if not found.is_signature_valid(self._key.public_key()):
            return None
        return number, [f"{one.serial_number:x}" for one in found]

    def _sign(
        self,
        name: str,
        key: ec.EllipticCurvePrivateKey,
        now: datetime.datetime,
        days: int,
        usage: x509.ObjectIdentifier,
        names: Sequence[str] = (),
    ) -> x509.Certificate:
        builder = _builder(name, key, now - datetime.timedelta(days=_BACKDATED_DAYS))
        builder = builder.not_valid_after(now + datetime.timedelta(days=days))
        builder = builder.issuer_name(self._certificate.subject)
        builder = builder.add_extension(x509.BasicConstraints(False, None), critical=True)
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        builder = builder.add_extension(self._identifier, critical=False)
        if names:
            alternatives = x509.SubjectAlternativeName(_general_names(names))
            builder = builder.add_extension(alternatives, critical=False)
        return builder.sign(self._key, hashes.SHA256())


def open_authority(folder: Path, now_ms: int) -> Authority:
    """The authority whose key and certificate are in `folder`; made when there never was one.

    Raises ConfigError when only one of the two is there or they cannot be read.
    """
    key_path, path = folder / CA_KEY, folder / CA_CERTIFICATE
    if not key_path.exists() and not path.exists():
        _make(folder, now_ms)
    try:
        key = serialization.load_pem_private_key(key_path.read_bytes(), None)
        certificate = x509.load_pem_x509_certificate(path.read_bytes())
    except (OSError, ValueError) as error:
        raise _broken(folder, str(error)) from None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise _broken(folder, "the key is of another kind")
    if key.public_key() != certificate.public_key():
        raise _broken(folder, "key and certificate do not belong together")
    return Authority(key, certificate)


def _make(folder: Path, now_ms: int) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    now = _moment(now_ms)
    # Begun a year ago, so that the counting time of the list of revocations never lies ahead.
    builder = _builder("Dormhub devices", key, now - datetime.timedelta(days=365))
    builder = builder.not_valid_after(now + datetime.timedelta(days=_CA_DAYS))
    builder = builder.issuer_name(_name("Dormhub devices"))
    builder = builder.add_extension(x509.BasicConstraints(True, 0), critical=True)
    builder = builder.add_extension(_ca_usage(), critical=True)
    certificate = builder.sign(key, hashes.SHA256())
    # The certificate last: without it the next start says what is missing instead of making another.
    write_private(folder / CA_KEY, _key_pem(key))
    write_private(folder / CA_CERTIFICATE, certificate.public_bytes(serialization.Encoding.PEM))


def _ca_usage() -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=True,
        encipher_only=False,
        decipher_only=False,
    )


def _builder(
    name: str, key: ec.EllipticCurvePrivateKey, begins: datetime.datetime
) -> x509.CertificateBuilder:
    builder = x509.CertificateBuilder().subject_name(_name(name)).public_key(key.public_key())
    builder = builder.serial_number(x509.random_serial_number()).not_valid_before(begins)
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    return builder.add_extension(identifier, critical=False)


def _general_names(names: Sequence[str]) -> list[x509.GeneralName]:
    found: list[x509.GeneralName] = []
    for name in names:
        try:
            found.append(x509.IPAddress(ipaddress.ip_address(name)))
        except ValueError:
            found.append(x509.DNSName(name))
    return found


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def _moment(now_ms: int) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(now_ms // 1000, datetime.UTC)


def _ms(moment: datetime.datetime) -> int:
    return int(moment.timestamp()) * 1000


def _broken(folder: Path, found: str) -> HubError:
    hint = f"restore {CA_KEY} and {CA_CERTIFICATE} of this hub from a backup"
    return ConfigError(file=str(folder), key="authority", found=found, hint=hint)
