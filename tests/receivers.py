"""Real ends of channels on this box: an HTTP server and a mail server that remember what they were given."""

from __future__ import annotations

import asyncio
import base64
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


@dataclass(frozen=True, kw_only=True, slots=True)
class Got:
    """One request."""

    path: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(kw_only=True, slots=True)
class WebEnd:
    """Answers with `answers` in order, then with status 200 and `said`."""

    port: int = 0
    said: bytes = b'{"errcode":0,"code":0}'
    answers: list[tuple[int, bytes]] = field(default_factory=list)
    got: list[Got] = field(default_factory=list)
    extra: str = ""

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One request, one answer."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        first, *lines = head.strip().split("\r\n")
        headers = {name.lower(): value for name, _, value in (one.partition(": ") for one in lines)}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        self.got.append(Got(path=first.split(" ")[1], headers=headers, body=body))
        status, said = self.answers.pop(0) if self.answers else (200, self.said)
        lines = [f"HTTP/1.1 {status} Told", f"content-length: {len(said)}", "connection: close"]
        writer.write(("\r\n".join([*lines, self.extra]).strip() + "\r\n\r\n").encode() + said)
        await writer.drain()
        writer.close()


@asynccontextmanager
async def web_end() -> AsyncIterator[WebEnd]:
    """A web server on loopback."""
    end = WebEnd()
    server = await asyncio.start_server(end.serve, "127.0.0.1", 0)
    end.port = server.sockets[0].getsockname()[1]
    async with server:
        yield end


@dataclass(kw_only=True, slots=True)
class MailEnd:
    """Takes letters after STARTTLS and a login; `refused` receivers are not taken."""

    certificate: Path
    key: Path
    port: int = 0
    password: str = "correct horse"
    refused: frozenset[str] = frozenset()
    letters: list[tuple[str, list[str], str]] = field(default_factory=list)
    plain: int = 0

    def context(self) -> ssl.SSLContext:
        """Its side of TLS."""
        made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        made.load_cert_chain(self.certificate, self.key)
        return made

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One conversation."""
        sender, receivers, is_known, is_safe = "", list[str](), False, False
        writer.write(b"220 here\r\n")
        while line := (await reader.readline()).decode().strip():
            word, _, rest = line.partition(" ")
            match word.upper():
                case "EHLO":
                    told = (
                        "250-here\r\n250 AUTH PLAIN\r\n"
                        if is_safe
                        else "250-here\r\n250 STARTTLS\r\n"
                    )
                    writer.write(told.encode())
                case "STARTTLS":
                    writer.write(b"220 go\r\n")
                    await writer.start_tls(self.context())
                    is_safe = True
                case "AUTH":
                    given = base64.b64decode(rest.partition(" ")[2]).split(b"\0")[2].decode()
                    is_known = given == self.password
                    writer.write(
                        b"235 good\r\n" if is_known else b"535 not " + given.encode() + b"\r\n"
                    )
                case "MAIL":
                    sender = rest
                    self.plain += not is_safe
                    writer.write(b"250 ok\r\n" if is_known else b"530 who\r\n")
                case "RCPT":
                    is_taken = not any(name in rest for name in self.refused)
                    receivers += [rest] if is_taken else []
                    writer.write(b"250 ok\r\n" if is_taken else b"550 no\r\n")
                case "DATA":
                    writer.write(b"354 go\r\n")
                    letter = (await reader.readuntil(b"\r\n.\r\n")).decode()
                    self.letters.append((sender, receivers, letter))
                    writer.write(b"250 ok\r\n")
                case "QUIT":
                    writer.write(b"221 bye\r\n")
                    await writer.drain()
                    break
                case _:
                    writer.write(b"250 ok\r\n")
            await writer.drain()
        writer.close()


@asynccontextmanager
async def mail_end(folder: Path) -> AsyncIterator[MailEnd]:
    """A mail server on loopback, whose certificate vouches for itself."""
    folder.mkdir(parents=True, exist_ok=True)
    end = MailEnd(certificate=folder / "mail.pem", key=folder / "mail.key")
    write_certificate(end.certificate, end.key)
    server = await asyncio.start_server(end.serve, "127.0.0.1", 0)
    end.port = server.sockets[0].getsockname()[1]
    async with server:
        yield end


def write_certificate(certificate: Path, key: Path) -> None:
    """A certificate for 127.0.0.1 that is its own authority."""
    secret = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "mail")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(secret.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=2))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(
            x509.SubjectKeyIdentifier.from_public_key(secret.public_key()), critical=False
        )
        .sign(secret, hashes.SHA256())
    )
    certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    key.write_bytes(
        secret.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
