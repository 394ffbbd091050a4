"""Where new secrets go: a CSV of passwords, a folder of certificates, or, of one device, the terminal."""

from __future__ import annotations

import csv
import io
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import msgspec
import typer
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from hub.broker import Kind, Why
from hub.cli.moments import when
from hub.errors import ConfigError
from hub.sheets.text_cells import protected

_COLUMNS = ("device", "username", "password", "expires (UTC)", "id")
_PRIVATE = 0o077


class SecretRow(msgspec.Struct, frozen=True):
    """A secret as the hub gives it."""

    id: str
    device: str
    username: str
    kind: Kind
    expires_ms: int | None
    password: str
    certificate: str
    key: str


class LeftRow(msgspec.Struct, frozen=True):
    """A device that got nothing, and id and serial of its newest credential, empty for none."""

    device: str
    why: Why
    credential: str
    serial: str


class SecretsOut(Protocol):
    """Keeps secrets; `number` of them so far."""

    number: int

    def holds(self, left: LeftRow) -> bool:
        """Whether the secret of this credential is here, whole."""

    def keep(self, secrets: Sequence[SecretRow], authority: str) -> None:
        """Put these where they belong, on disk when this returns. Raises OSError."""


class _Csv:
    def __init__(self, handle: int) -> None:
        self.number = 0
        self._handle = handle
        before = os.pread(handle, os.fstat(handle).st_size, 0)
        if not before:
            self._write([_COLUMNS])
        elif not before.endswith(b"\n"):  # a power cut left half a row: it is no part of the next
            os.write(handle, b"\r\n")
        read = csv.DictReader(io.StringIO(before.decode("utf-8", "replace")))
        self._ids = {row["id"] for row in read if row.get("id") and row.get("password")}

    def holds(self, left: LeftRow) -> bool:
        """See SecretsOut."""
        return left.credential in self._ids

    def keep(self, secrets: Sequence[SecretRow], authority: str) -> None:
        """See SecretsOut."""
        self._write(
            # A password is letters and digits of chance, and must come out as it is.
            (protected(one.device), protected(one.username), one.password, _end(one), one.id)
            for one in secrets
        )
        self.number += len(secrets)

    def _write(self, rows: object) -> None:
        text = io.StringIO()
        csv.writer(text).writerows(rows)  # type: ignore[arg-type]
        left = memoryview(text.getvalue().encode())
        while left:
            left = left[os.write(self._handle, left) :]
        os.fsync(self._handle)


class _Folder:
    def __init__(self, folder: Path) -> None:
        self.number = 0
        self._folder = folder

    def holds(self, left: LeftRow) -> bool:
        """See SecretsOut."""
        try:
            pem = (self._folder / f"{left.device}.crt").read_bytes()
            certificate = x509.load_pem_x509_certificate(pem)
            key = load_pem_private_key((self._folder / f"{left.device}.key").read_bytes(), None)
        except (OSError, ValueError):
            return False
        if f"{certificate.serial_number:x}" != left.serial:
            return False
        return certificate.public_key() == key.public_key()

    def keep(self, secrets: Sequence[SecretRow], authority: str) -> None:
        """See SecretsOut."""
        self._write("ca.crt", authority)
        for one in secrets:
            self._write(f"{one.device}.crt", one.certificate)
            self._write(f"{one.device}.key", one.key)
        folder = os.open(self._folder, os.O_RDONLY)
        os.fsync(folder)
        os.close(folder)
        self.number += len(secrets)

    def _write(self, name: str, text: str) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
        with os.fdopen(os.open(self._folder / name, flags, 0o600), "w") as file:
            file.write(text)
            file.flush()
            os.fchmod(file.fileno(), 0o600)
            os.fsync(file.fileno())


class _Terminal:
    def __init__(self) -> None:
        self.number = 0

    def holds(self, left: LeftRow) -> bool:
        """See SecretsOut: what was shown is gone."""
        return False

    def keep(self, secrets: Sequence[SecretRow], authority: str) -> None:
        """See SecretsOut."""
        for one in secrets:
            if one.kind is Kind.PASSWORD:
                typer.echo(f"username {one.username}\npassword {one.password}")
            else:
                typer.echo(one.certificate + one.key + authority)
        self.number += len(secrets)


def _end(secret: SecretRow) -> str:
    return when(secret.expires_ms) if secret.expires_ms else ""


@contextmanager
def open_out(out: Path | None, kind: Kind, *, single: bool) -> Iterator[SecretsOut]:
    """A place for secrets of this kind; without `out` the terminal, for a single device.

    What is there already stays. Raises ConfigError when others could read it, or nothing can be written.
    """
    if out is None:
        if not single:
            raise _wrong("--out", "nothing", "name where so many secrets go")
        yield _Terminal()
        return
    try:
        if kind is Kind.CERTIFICATE:
            out.mkdir(mode=0o700, parents=True, exist_ok=True)
            _check_private(out, out.stat().st_mode)
            yield _Folder(out)
            return
        handle = os.open(out, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise _wrong(str(out), error.strerror or str(error), "name another place") from None
    try:
        _check_private(out, os.fstat(handle).st_mode)
        yield _Csv(handle)
    finally:
        os.close(handle)


def _check_private(path: Path, mode: int) -> None:
    if stat.S_IMODE(mode) & _PRIVATE:
        raise _wrong(str(path), "others may read it", "chmod go= it, or name another place")


def _wrong(key: str, found: str, hint: str) -> ConfigError:
    return ConfigError(file="credentials", key=key, found=found, hint=hint)
