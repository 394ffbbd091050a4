"""InfluxDB (the 2.x write API, which VictoriaMetrics and others speak too) as a sink.

Measurement = kind of the device's profile, tags = device and place, fields = points, time in
milliseconds. The same reading always gives the same line, and a receiver keeps one value for a series,
field and time; so a reading may be sent again and changes nothing. Secret points never leave the hub.

What an answer means is decided by its status alone: 400 and 422 are about what was sent, 413 asks for
smaller bodies, 429 and 503 for patience, and everything else is a link that does not work, for a person
to see, with every reading kept: a wrong token or a missing bucket is not a bad reading.
"""

from __future__ import annotations

import ssl
import stat
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import msgspec

from hub.errors import ConfigError, LinkError, Rejected, SinkBusy
from hub.model import Device, Reading
from hub.plugin import Directory, settings_as
from hub.sinks.line_protocol import line, series_key

if TYPE_CHECKING:
    from influxdb_client.client.influxdb_client_async import InfluxDBClientAsync
    from influxdb_client.rest import ApiException

_BODY_LINES_MAX = 5000
_DETAIL_MAX = 200


class InfluxSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings of the sink, as in docs/influxdb.md.

    The secret is read from `token_file`, never written in the configuration: the API token, or the
    password when `username` is set. Without `token_file` nothing is authenticated.
    """

    url: str
    bucket: str
    org: str = ""
    token_file: str = ""
    username: str = ""
    ca_file: str = ""
    timeout_s: float = 10.0
    gzip: bool = False


def open_sink(settings: Mapping[str, object], directory: Directory) -> InfluxSink:
    """The sink these settings describe, not yet connected; raises ConfigError."""
    checked = settings_as(InfluxSettings, settings, file="", key="")
    address = urlsplit(checked.url)
    if address.scheme not in ("http", "https") or not address.hostname or address.query:
        raise _wrong("url", f"found {checked.url!r}", "write it like https://influx.example:8086")
    if address.username or address.password:
        raise _wrong("url", "a user name or password in it", "use username and token_file")
    if not checked.bucket:
        raise _wrong("bucket", "nothing", "write the name of the bucket")
    if not 0.1 <= checked.timeout_s <= 50.0:
        raise _wrong("timeout_s", f"found {checked.timeout_s}", "write 0.1 to 50 seconds")
    if checked.username and not checked.token_file:
        raise _wrong("token_file", "nothing", "name the file that holds the user's password")
    _check_authority(checked.ca_file)
    _read_token(checked.token_file)
    return InfluxSink(checked, directory)


class InfluxSink:
    """Writes readings as lines; connects when first written to, and anew after an error of the link.

    `skipped` counts readings that had no point which may leave the hub.
    """

    def __init__(self, settings: InfluxSettings, directory: Directory) -> None:
        self._settings = settings
        self._directory = directory
        self._series: dict[str, tuple[Device, str]] = {}
        self._client: InfluxDBClientAsync | None = None
        self._body_lines = _BODY_LINES_MAX
        self.skipped = 0

    async def write(self, batch: Sequence[Reading]) -> None:
        """Deliver the readings in order; raises Rejected, SinkBusy or LinkError by the answer's status."""
        lines = [text for reading in batch if (text := self._line(reading))]
        self.skipped += len(batch) - len(lines)
        start = 0
        while start < len(lines):
            body = lines[start : start + self._body_lines]
            if await self._fits(body):
                start += len(body)

    async def close(self) -> None:
        """Give back the connections."""
        client, self._client = self._client, None
        if client is not None:
            await client.close()  # type: ignore[no-untyped-call]

    def _line(self, reading: Reading) -> str:
        device = self._directory.device(reading.device)
        if device is None:
            return line(_series_of_unknown(reading), reading.values, reading.time_ms)
        known, series = self._series.get(reading.device, (None, ""))
        if known is not device:
            series = _series_of(device)
            self._series[reading.device] = (device, series)
        return line(series, reading.values, reading.time_ms)

    async def _fits(self, body: Sequence[str]) -> bool:
        """Whether the body was taken; else it is too large, and from now on smaller ones are made."""
        from influxdb_client.rest import ApiException

        try:
            await self._post("\n".join(body).encode())
        except ApiException as error:
            if error.status != 413:
                await self._refused(error)
            if len(body) == 1:
                self._body_lines = _BODY_LINES_MAX  # this line is to blame, not the number
                raise Rejected(_told(error)) from None
            self._body_lines = max(1, len(body) // 2)
            return False
        return True

    async def _post(self, body: bytes) -> None:
        from aiohttp import ClientError
        from influxdb_client.domain.write_precision import WritePrecision

        try:
            writer = (self._client or self._connect()).write_api()
            taken = await writer.write(
                self._settings.bucket,
                self._settings.org,
                record=body,
                write_precision=WritePrecision.MS,  # type: ignore[arg-type]  # it is a plain text
            )
        except TimeoutError:
            raise LinkError(f"no answer within {self._settings.timeout_s:g} s") from None
        except (ClientError, OSError) as error:
            raise LinkError(f"{type(error).__name__}: {error}"[:_DETAIL_MAX]) from None
        if not taken:
            raise LinkError("an answer that is not InfluxDB's; look at the url")

    async def _refused(self, error: ApiException) -> None:
        if error.status in (400, 422):
            raise Rejected(_told(error)) from None
        if error.status in (429, 503):
            raise SinkBusy(_told(error), _retry_after_s(error)) from None
        await self.close()  # the next try reads the token anew
        raise LinkError(_told(error)) from None

    def _connect(self) -> InfluxDBClientAsync:
        # Imported here because it takes more than a second, which `dormhub check` need not pay.
        from influxdb_client.client.influxdb_client_async import InfluxDBClientAsync

        settings = self._settings
        try:
            secret = _read_token(settings.token_file)
        except (
            ConfigError
        ) as error:  # it was right at the start; whoever replaces it may do so in steps
            raise LinkError(f"token_file: {error.found}") from None
        self._client = InfluxDBClientAsync(
            url=settings.url,
            token=f"{settings.username}:{secret}" if settings.username else secret,
            org=settings.org,
            timeout=round(settings.timeout_s * 1000),
            enable_gzip=settings.gzip,
            auth_basic=bool(settings.username),
            ssl_ca_cert=settings.ca_file or None,
            allow_redirects=False,  # a redirected POST becomes a GET, whose 200 says nothing
            connection_pool_maxsize=1,
        )
        return self._client


def _series_of(device: Device) -> str:
    place = device.place
    return series_key(
        device.profile.kind,
        (
            ("building", place.building),
            ("circuit", place.circuit),
            ("device", device.id),
            ("floor", place.floor),
            ("link", device.link),
            ("profile", device.profile.id),
            ("room", place.room),
        ),
    )


def _series_of_unknown(reading: Reading) -> str:
    """A link's own counts, or what a device said that is retired by now."""
    is_link = any(name.startswith("link_") for name in reading.values)
    return series_key("link" if is_link else "unknown", (("device", reading.device),))


def _told(error: ApiException) -> str:
    """Status and the receiver's own words, bounded."""
    detail = error.message.decode("utf-8", "replace") if isinstance(error.message, bytes) else ""
    words = " ".join((detail or str(error.message or error.reason)).split())
    return f"HTTP {error.status}: {words[:_DETAIL_MAX]}".encode(errors="replace").decode()


def _retry_after_s(error: ApiException) -> float | None:
    """The pause the receiver names: seconds, or a date, taken against the date of the answer itself."""
    text = str(error.headers.get("Retry-After", "")).strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    until, sent = _http_date(text), _http_date(str(error.headers.get("Date", "")))
    if until is None or sent is None:
        return None
    return max((until - sent).total_seconds(), 0.0)


def _http_date(text: str) -> datetime | None:
    try:
        date = parsedate_to_datetime(text)
    except ValueError:
        return None
    return date if date.tzinfo else date.replace(tzinfo=UTC)


def _read_token(name: str) -> str:
    """The secret in the file of this name, "" without one; raises ConfigError."""
    if not name:
        return ""
    path = Path(name)
    try:
        text = path.read_text("utf-8").strip()
        mode = path.stat().st_mode
    except (OSError, UnicodeDecodeError) as error:
        raise _wrong("token_file", f"cannot read {name!r}: {error}", "name a text file") from None
    if mode & stat.S_IROTH:
        raise _wrong("token_file", f"everybody may read {name!r}", f"chmod 600 {name}")
    if not text or not text.isprintable():
        raise _wrong("token_file", f"no token in {name!r}", "write the token on one line")
    return text


def _check_authority(name: str) -> None:
    try:
        ssl.create_default_context(cafile=name or None)
    except OSError as error:
        found = f"cannot use {name!r}: {error}"
        raise _wrong("ca_file", found, "name a file of certificates (PEM)") from None


def _wrong(key: str, found: str, hint: str) -> ConfigError:
    return ConfigError(file="", key=key, found=found, hint=hint)  # the hub knows file and table
