"""What is agreed with the other side in site.toml: addresses, and secrets in files of their own."""

from __future__ import annotations

import base64
import binascii
import os
from pathlib import Path
from urllib.parse import urlsplit

from hub.toml_table import Table

_FILE_MAX_BYTES = 8_192
_SECRET_MIN_BYTES = 24
_PREFIX = "whsec_"
LOOPBACK = ("127.0.0.1", "::1", "localhost")


def is_address(text: str) -> bool:
    """Whether the hub may call this: https, or on this box; no secret before the host."""
    try:
        url = urlsplit(text)
        whole = url.scheme == "https" or (url.scheme == "http" and url.hostname in LOOPBACK)
        return bool(whole and url.hostname and not (url.username or url.password or url.fragment))
    except ValueError:
        return False


def address(table: Table, key: str) -> str:
    """The address at this key, empty when there is none; raises ConfigError."""
    text = table.text(key, "")
    if text and not is_address(text):
        raise table.wrong(key, text, "write an address that begins with https://")
    return text


def signing_secret(table: Table, key: str, folder: Path, path: str) -> bytes:
    """The secret of Standard Webhooks in this file; raises ConfigError, which never shows it."""
    content = content_of(table, key, folder, path, private=True).strip()
    text = content.decode("ascii", "replace")
    try:
        found = base64.b64decode(text.removeprefix(_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        found = b""
    if len(found) < _SECRET_MIN_BYTES:
        hint = "write whsec_ and the base64 of at least 24 bytes of chance into it"
        raise table.wrong(key, path, hint)
    return found


def private_text(table: Table, key: str, folder: Path, path: str) -> str:
    """The one line of printable letters in this file; raises ConfigError, which never shows it."""
    try:
        text = content_of(table, key, folder, path, private=True).decode().strip()
    except UnicodeDecodeError:
        text = ""
    if not text or not text.isprintable():
        raise table.wrong(key, path, "write one line of text into it")
    return text


def content_of(table: Table, key: str, folder: Path, path: str, *, private: bool) -> bytes:
    """The file, which if `private` nobody but its owner may read; what stands in it is never shown."""
    try:
        with (folder / path).open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode & 0o077
            content = file.read(_FILE_MAX_BYTES)
    except OSError as error:
        raise table.wrong(key, path, f"cannot be read: {error.strerror}") from None
    if private and mode:
        raise table.wrong(key, path, f"others may read it: chmod 600 {folder / path}")
    return content
