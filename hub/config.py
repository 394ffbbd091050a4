"""`hub.toml`: this box. What is installed on the campus stands in `site.toml` and `devices.csv`.

Every key may be overridden by an environment variable of the same path: `DORMHUB_JOURNAL__KEEP_DAYS=30`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from hub.errors import ConfigError, ConfigErrors, unreadable
from hub.site_files import text_of
from hub.toml_table import toml_document

HUB_FILE = "hub.toml"
ENVIRONMENT_PREFIX = "DORMHUB_"
FOLDER_VARIABLE = "DORMHUB_CONFIG"  # names the folder of these files
KEY_VARIABLE = "DORMHUB_KEY"  # the API key of whoever types
_SECRET_MAX_BYTES = 4_096
_NO_KEYS_OF_FILES = (FOLDER_VARIABLE, KEY_VARIABLE)


class LogFormat(StrEnum):
    """How log lines look: for a person at a terminal, or for a collector."""

    CONSOLE = "console"
    JSON = "json"


class LogLevel(StrEnum):
    """The least severe line that is written."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class LogConfig(BaseModel):
    """[log]"""

    model_config = ConfigDict(extra="forbid", frozen=True)
    format: LogFormat = LogFormat.CONSOLE
    level: LogLevel = LogLevel.INFO


class JournalConfig(BaseModel):
    """[journal]: how long readings stay on this box, and how much room they may take."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    keep_days: int = Field(default=400, ge=1, le=36_500)
    max_size_gb: float = Field(default=20.0, gt=0, le=100_000)


class SinkConfig(BaseModel):
    """[sinks.NAME]: `type` names the sink; the other keys are the sink's own."""

    model_config = ConfigDict(extra="allow", frozen=True)
    type: str

    def settings(self) -> Mapping[str, object]:
        """The sink's own keys."""
        return dict(self.model_extra or {})


class ApiConfig(BaseModel):
    """[api]: where this box answers HTTP; nowhere when `listen` is empty."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    listen: str = Field(
        default="127.0.0.1:8080", pattern=r"^$|^(\[[0-9a-fA-F:]+\]|[^\s:/]+):\d{1,5}$"
    )


Port = Annotated[int, Field(ge=1, le=65_535)]


class BrokerConfig(BaseModel):
    """[broker]: the Mosquitto on this box whose accounts the hub writes; none without `folder`.

    `names` are the host names and addresses under which devices reach it; a port of 0 is not opened.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    folder: Path | None = None
    pid_file: Path | None = None
    names: tuple[Annotated[str, Field(pattern=r"^[A-Za-z0-9.:-]{1,253}$")], ...] = ()
    hub_port: Port = 1883
    certificate_port: Annotated[int, Field(ge=0, le=65_535)] = 8883
    password_port: Annotated[int, Field(ge=0, le=65_535)] = 8884


class HubConfig(BaseModel):
    """The whole of hub.toml."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    data: Path = Path("data")
    ledger_url: str = ""
    ledger_password_file: Path | None = None
    uvloop: bool = True
    log: LogConfig = LogConfig()
    journal: JournalConfig = JournalConfig()
    api: ApiConfig = ApiConfig()
    broker: BrokerConfig = BrokerConfig()
    sinks: Mapping[str, SinkConfig] = {}

    def ledger_place(self) -> Path | URL:
        """The ledger's file in the data folder, or the URL of its database with the password.

        Raises ConfigError when the password cannot be read, or everybody may read it.
        """
        if not self.ledger_url:
            return self.data / "ledger.db"
        url = make_url(self.ledger_url)
        file = self.ledger_password_file
        return url if file is None else url.set(password=_secret(file))


def _secret(path: Path) -> str:
    def wrong(found: str, hint: str) -> ConfigError:
        return ConfigError(file=HUB_FILE, key="ledger_password_file", found=found, hint=hint)

    try:
        with path.open("rb") as file:
            open_to_all = os.fstat(file.fileno()).st_mode & 0o007
            secret = file.read(_SECRET_MAX_BYTES).decode().rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise wrong(f"cannot read {str(path)!r}: {error}", "name a text file") from None
    if open_to_all:
        raise wrong(f"everybody may read {str(path)!r}", f"chmod 600 {path}")
    if not secret:
        raise wrong(f"no password in {str(path)!r}", "write the password on one line")
    return secret


def _check_ledger(path: Path, text: str) -> None:
    """Raises ConfigError for what is no URL of PostgreSQL, without repeating it: it may hold a password."""

    def wrong(found: str, hint: str) -> ConfigError:
        return ConfigError(file=str(path), key="ledger_url", found=found, hint=hint)

    right = "postgresql://USER@HOST/DATABASE"
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        raise wrong("not a URL", f"write {right}") from None
    if url.get_backend_name() != "postgresql" or not url.database:
        raise wrong("not a database of PostgreSQL", f"write {right}, or nothing for a file")
    if url.password is not None or "password" in url.query:
        raise wrong("a password in it", "write it into a file and name that: ledger_password_file")


def _override(document: dict[str, object], path: list[str], text: str) -> None:
    """Set one key from the environment; TOML words where they parse, else plain text."""
    try:
        value: object = toml_document("environment", f"value = {text}")["value"]
    except ConfigError:
        value = text
    table = document
    for name in path[:-1]:
        inner = table.setdefault(name, {})
        if not isinstance(inner, dict):
            return
        table = inner
    table[path[-1]] = value


def load_config(folder: Path, environment: Mapping[str, str] = os.environ) -> HubConfig:
    """This box's configuration; raises ConfigErrors naming every wrong key. A missing file means defaults.

    A relative `data` folder is taken from `folder`'s parent, so that config/ and data/ stand side by side; a
    relative `ledger_password_file` from `folder`.
    """
    path = folder / HUB_FILE
    document: dict[str, object] = {}
    if path.exists():
        try:
            content = path.read_bytes()
        except OSError as error:
            raise unreadable(path, error) from None
        document = toml_document(str(path), text_of(str(path), content))
    for name, text in environment.items():
        if name.startswith(ENVIRONMENT_PREFIX) and name not in _NO_KEYS_OF_FILES:
            key = name.removeprefix(ENVIRONMENT_PREFIX).lower()
            _override(document, key.split("__"), text)
    try:
        config = HubConfig.model_validate(document)
    except ValidationError as error:
        raise ConfigErrors(
            tuple(
                ConfigError(
                    file=str(path),
                    key=".".join(str(part) for part in item["loc"]),
                    found=f"found {item['input']!r}"[:120],
                    hint=item["msg"],
                )
                for item in error.errors()
            )
        ) from None
    if config.ledger_url:
        _check_ledger(path, config.ledger_url)
    data = config.data if config.data.is_absolute() else folder.resolve().parent / config.data
    secret = config.ledger_password_file
    broker = config.broker
    if broker.folder is not None:  # the broker reads its path, too
        absolute = folder.resolve().parent / broker.folder
        broker = broker.model_copy(update={"folder": absolute})
    return config.model_copy(
        update={
            "data": data,
            "ledger_password_file": secret and folder.resolve() / secret,
            "broker": broker,
        }
    )
