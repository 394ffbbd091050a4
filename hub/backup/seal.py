"""A backup's cipher: AES-256-GCM in pieces, the key from a passphrase by scrypt.

    magic | salt (16 bytes) | pieces: length (4 bytes), cipher text
    A piece's nonce is its number; its authenticated words are the magic and whether it is the last.

So a piece that is changed, moved, left out or cut off is found, and a large backup needs little memory.
"""

from __future__ import annotations

import io
import os
from typing import IO

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from hub.errors import StoreDamaged

MAGIC = b"dormhub backup 1\n"
_PIECE_BYTES = 1 << 20
_SALT_BYTES, _TAG_BYTES = 16, 16


def _cipher(passphrase: bytes, salt: bytes) -> AESGCM:
    return AESGCM(Scrypt(salt=salt, length=32, n=2**15, r=8, p=1).derive(passphrase))


def _nonce(number: int) -> bytes:
    return number.to_bytes(12)


class Sealing(io.RawIOBase):
    """A file that encrypts what is written to it; `close` writes the last piece, not the file's end."""

    def __init__(self, target: IO[bytes], passphrase: bytes) -> None:
        super().__init__()
        salt = os.urandom(_SALT_BYTES)
        self._cipher = _cipher(passphrase, salt)
        self._target = target
        self._waiting = bytearray()
        self._number = 0
        target.write(MAGIC + salt)

    def writable(self) -> bool:
        """It is."""
        return True

    def write(self, data: object, /) -> int:
        """Take more."""
        piece = bytes(memoryview(data))  # type: ignore[arg-type]
        self._waiting += piece
        while len(self._waiting) > _PIECE_BYTES:
            self._put(bytes(self._waiting[:_PIECE_BYTES]), last=False)
            del self._waiting[:_PIECE_BYTES]
        return len(piece)

    def close(self) -> None:
        """Write what is left as the last piece."""
        if not self.closed:
            self._put(bytes(self._waiting), last=True)
            self._waiting.clear()
        super().close()

    def _put(self, piece: bytes, *, last: bool) -> None:
        sealed = self._cipher.encrypt(_nonce(self._number), piece, MAGIC + bytes((last,)))
        self._target.write(len(sealed).to_bytes(4) + sealed)
        self._number += 1


class Opening(io.RawIOBase):
    """A file that decrypts what is read; raises StoreDamaged for a wrong passphrase or a changed piece."""

    def __init__(self, source: IO[bytes], passphrase: bytes) -> None:
        super().__init__()
        source.read(len(MAGIC))
        self._cipher = _cipher(passphrase, source.read(_SALT_BYTES))
        self._source = source
        self._ready = b""
        self._number = 0
        self._ended = False

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: object, /) -> int:
        """Give the next bytes; 0 at the end."""
        while not self._ready and not self._ended:
            self._ready = self._next()
        view = memoryview(buffer)  # type: ignore[arg-type]
        given = self._ready[: len(view)]
        view[: len(given)] = given
        self._ready = self._ready[len(given) :]
        return len(given)

    def _next(self) -> bytes:
        length = int.from_bytes(self._source.read(4))
        if not _TAG_BYTES <= length <= _PIECE_BYTES + _TAG_BYTES:
            raise StoreDamaged("the backup is cut off or changed")
        sealed = self._source.read(length)
        for last in (False, True):
            words = MAGIC + bytes((last,))
            try:
                piece = self._cipher.decrypt(_nonce(self._number), sealed, words)
            except InvalidTag:
                continue
            self._number += 1
            self._ended = last
            return piece
        raise StoreDamaged("the passphrase is wrong, or the backup is changed")
