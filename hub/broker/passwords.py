"""Passwords of devices, and how Mosquitto keeps them: `$7$iterations$salt$hash`, PBKDF2 with SHA-512.

Few iterations do: what is hashed is 160 bits of chance, which no number of guesses finds. At every reload the
broker hashes for each connected client, while nobody else is served; a thousand iterations would make that
ten times as long.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets

_ITERATIONS = 101  # as mosquitto_passwd of 2.0 does
_SALT_BYTES = 12
_SECRET_BYTES = 20


def new_password() -> str:
    """160 bits of chance as 32 letters and digits, which no spreadsheet takes for a formula."""
    return base64.b32encode(secrets.token_bytes(_SECRET_BYTES)).decode().lower()


def password_hash(password: str, salt: bytes | None = None) -> str:
    """What Mosquitto needs to know this password; with a salt of chance unless one is given."""
    salt = secrets.token_bytes(_SALT_BYTES) if salt is None else salt
    found = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, _ITERATIONS)
    return f"$7${_ITERATIONS}${_text(salt)}${_text(found)}"


def is_password(password: str, hashed: str) -> bool:
    """Whether this is the password that was hashed; False for what is no hash of ours."""
    try:
        salt = base64.b64decode(hashed.split("$")[3], validate=True)
    except (IndexError, ValueError):
        return False
    return hmac.compare_digest(password_hash(password, salt), hashed)


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()
