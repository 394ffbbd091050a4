"""The files Mosquitto reads, made of the ledger and the running site; written whole, if they differ."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from hub.broker.access import access_list
from hub.broker.authority import SERVER_CERTIFICATE, SERVER_KEY, Authority
from hub.broker.crl_number import crl_number
from hub.broker.passwords import password_hash
from hub.broker.private_file import write_private
from hub.broker.rows import HUB_USERNAME, LOADED_USERNAME, Standing
from hub.config import BrokerConfig
from hub.plugin import Topics

PASSWORDS, ACL, CA, CRL = "passwords", "acl", "ca.crt", "crl.pem"
CONFIGURATION = "dormhub.conf"
MARK = "loaded"  # last written: its change says that all others are there
PACKET_MAX_BYTES = 65_536
# Two hours of a full campus while the hub is away: 10,000 meters each 60 s, 1,000 washers each 10 s, 50 gates
# each 60 s with 5,000 passages: 1,200,000 + 720,000 + 11,000, rounded up.
QUEUED_MESSAGES = 2_000_000
QUEUED_BYTES = 2**30  # 500 bytes each; what comes first counts
CONNECTIONS = 20_000
_MODE = 0o640  # the broker reads them by its group


@dataclass(frozen=True, kw_only=True, slots=True)
class Access:
    """Who needs which topics: every device of the running site, and the hub."""

    devices: Mapping[str, Topics]
    hub: Topics


def names_of(config: BrokerConfig) -> tuple[str, ...]:
    """The names under which this broker is reached, this box itself among them."""
    names = (*(config.names or (platform.node(),)), "localhost", "127.0.0.1")
    return tuple(dict.fromkeys(name for name in names if name))


def server_pair(folder: Path) -> tuple[bytes, bytes]:
    """The broker's key and certificate in the data folder; empty where there is none. Raises OSError."""
    key, certificate = _read(folder / SERVER_KEY), _read(folder / SERVER_CERTIFICATE)
    return key or b"", certificate or b""


def renew_server(folder: Path, authority: Authority, config: BrokerConfig, now_ms: int) -> None:
    """Make the broker's certificate when there is none, near its end, or for other names."""
    key, certificate = server_pair(folder)
    names = names_of(config)
    if not key or not certificate or not authority.knows_server(certificate, names, now_ms):
        key, certificate = authority.issue_server(names, now_ms)
        write_private(folder / SERVER_KEY, key)
        write_private(folder / SERVER_CERTIFICATE, certificate)


def broker_files(
    config: BrokerConfig,
    authority: Authority,
    own: Path,
    standing: Standing,
    access: Access,
) -> dict[str, bytes]:
    """Every file by its name. The same ledger and site, and folder of keys, give the same bytes.

    Writes nothing. Raises OSError.
    """
    assert config.folder is not None
    server = server_pair(own)
    number = crl_number(own, config.folder / CRL, authority, standing.revoked)
    known = {username for username, device in standing.usernames if device in access.devices}
    passwords = "".join(
        f"{username}:{hashed}\n"
        for username, hashed in standing.passwords
        if username in known or username == HUB_USERNAME
    )
    files = {
        PASSWORDS: passwords.encode(),
        ACL: access_list(standing.usernames, access.devices, access.hub).encode(),
        CA: authority.certificate,
        CRL: authority.revocations(standing.revoked, number),
        SERVER_KEY: server[0],
        SERVER_CERTIFICATE: server[1],
        CONFIGURATION: configuration(config).encode(),
    }
    mark = _mark(files)
    salt = hashlib.sha256(f"salt {mark}".encode()).digest()[:12]
    files[PASSWORDS] += f"{LOADED_USERNAME}:{password_hash(mark, salt)}\n".encode()
    files[MARK] = f"{mark}\n".encode()
    return files


def differing(folder: Path, files: Mapping[str, bytes]) -> list[str]:
    """Names of the files in `folder` that are missing or not these; raises OSError."""
    return [name for name, content in files.items() if _read(folder / name) != content]


def write_files(folder: Path, files: Mapping[str, bytes]) -> bool:
    """Write those that differ, the mark last; whether there were any. Raises OSError."""
    wrong = differing(folder, files)
    for name in wrong:
        write_private(folder / name, files[name], _MODE)
    # When somebody else changed a file the mark is still right; whoever reads it must be told all the same.
    if wrong and MARK not in wrong:
        write_mark(folder, files[MARK])
    return bool(wrong)


def write_mark(folder: Path, mark: bytes) -> None:
    """Say that the files are there: whoever watches the mark reloads the broker. Raises OSError."""
    write_private(folder / MARK, mark, _MODE)


def configuration(config: BrokerConfig) -> str:
    """What belongs into /etc/mosquitto/conf.d beside Debian's own mosquitto.conf."""
    folder = config.folder
    lines = [
        "# Written by the hub, like every file beside it; what is changed here is written over.",
        "per_listener_settings false",
        "allow_anonymous false",
        f"password_file {folder}/{PASSWORDS}",
        f"acl_file {folder}/{ACL}",
        "",
        "# By default the broker loses at a power cut what it has acknowledged.",
        "persistence true",
        "autosave_on_changes true",
        "autosave_interval 1",
        "persistent_client_expiration 14d",
        "",
        "# Two hours of a full campus: 10,000 meters each 60 s, 1,000 washers each 10 s, 50 gates.",
        f"max_queued_messages {QUEUED_MESSAGES}",
        f"max_queued_bytes {QUEUED_BYTES}",
        "max_inflight_messages 1000",
        f"max_packet_size {PACKET_MAX_BYTES}",
        "# Without this an order may wait 40 ms for what went before it.",
        "set_tcp_nodelay true",
        "",
        "# The hub, on this box only.",
        f"listener {config.hub_port} 127.0.0.1",
        "max_connections 100",
    ]
    if config.certificate_port:
        lines += [
            "",
            "# Devices with a certificate: its name is their username and client id, whatever they say.",
            *_tls(config.certificate_port, folder),
            f"cafile {folder}/{CA}",
            f"crlfile {folder}/{CRL}",
            "require_certificate true",
            "use_identity_as_username true",
        ]
    if config.password_port:
        lines += [
            "",
            "# Devices with a password: their username is their client id.",
            *_tls(config.password_port, folder),
        ]
    return "\n".join(lines) + "\n"


def _tls(port: int, folder: Path | None) -> list[str]:
    return [
        f"listener {port}",
        f"max_connections {CONNECTIONS}",
        f"certfile {folder}/{SERVER_CERTIFICATE}",
        f"keyfile {folder}/{SERVER_KEY}",
        "tls_version tlsv1.2",  # and above
        "use_username_as_clientid true",
    ]


def _mark(files: Mapping[str, bytes]) -> str:
    whole = hashlib.sha256()
    for name in sorted(files):
        whole.update(name.encode() + b"\0" + hashlib.sha256(files[name]).digest())
    return whole.hexdigest()


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
