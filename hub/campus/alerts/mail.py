"""Alerts by e-mail: one plain letter for a batch, over TLS, or without it only on this box."""

from __future__ import annotations

import asyncio
import smtplib
import ssl
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.message import EmailMessage
from email.utils import format_datetime
from enum import StrEnum

from hub.campus.alerts.senders import Batch, Wire

STEP_TIMEOUT_S = 10.0  # of each word of the conversation
SEND_TIMEOUT_S = 60.0
_TEXT_MAX = 60_000


class Tls(StrEnum):
    """When the conversation is encrypted: after its greeting, from its first byte, or never."""

    STARTTLS = "starttls"
    TLS = "tls"
    NONE = "none"


@dataclass(frozen=True, kw_only=True, slots=True)
class Mail:
    """A mail server, who writes and to whom. `ca_file` is who vouches for it, empty for the system's."""

    host: str
    port: int
    tls: Tls
    sender: str
    receivers: tuple[str, ...]
    user: str = ""
    password: str = field(default="", repr=False)
    ca_file: str = ""
    batch_max: int = 500
    per_minute_max: int = 12

    async def send(self, batch: Batch, wire: Wire) -> str:
        """One letter; the server must take every receiver."""
        letter = self._letter(batch, wire.now_ms)
        try:
            async with asyncio.timeout(SEND_TIMEOUT_S):
                return await asyncio.to_thread(self._hand_over, letter)
        except TimeoutError:
            return "no answer in time"

    def _letter(self, batch: Batch, now_ms: int) -> EmailMessage:
        letter = EmailMessage()
        letter["From"] = self.sender
        letter["To"] = ", ".join(self.receivers)
        letter["Subject"] = batch.title
        letter["Date"] = format_datetime(datetime.fromtimestamp(now_ms / 1000, UTC))
        letter["Message-ID"] = f"<{batch.id}@dormhub.invalid>"
        letter["Auto-Submitted"] = "auto-generated"
        letter.set_content(batch.text(_TEXT_MAX) + "\n")
        return letter

    def _hand_over(self, letter: EmailMessage) -> str:
        """Its server's own words stay where they are: they may repeat what was sent."""
        try:
            with self._connected() as server:
                if self.user:
                    server.login(self.user, self.password)
                refused = server.send_message(letter, self.sender, self.receivers)
        except smtplib.SMTPResponseException as error:
            return f"{type(error).__name__} {error.smtp_code}"
        except (smtplib.SMTPException, OSError, ValueError) as error:
            return type(error).__name__
        return f"{len(refused)} receivers were refused" if refused else ""

    def _connected(self) -> smtplib.SMTP:
        if self.tls is Tls.TLS:
            return smtplib.SMTP_SSL(
                self.host, self.port, timeout=STEP_TIMEOUT_S, context=self._trusted()
            )
        server = smtplib.SMTP(self.host, self.port, timeout=STEP_TIMEOUT_S)
        if self.tls is Tls.STARTTLS:
            try:
                server.starttls(context=self._trusted())
            except BaseException:
                server.close()
                raise
        return server

    def _trusted(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=self.ca_file or None)
