"""`dormhub backup` and `dormhub restore`: all that this box must not lose, in one file."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console

from hub.backup import Manifest, Whole, check, make, restored_config
from hub.backup import restore as put_back
from hub.backup.archive import DATABASES
from hub.cli.options import DEFAULT_CONFIG, ConfigOption, JsonOption
from hub.clock import SystemClock
from hub.config import load_config
from hub.errors import ConfigError
from hub.version import VERSION

PassphraseOption = Annotated[
    Path | None,
    typer.Option("--passphrase-file", help="A file with the passphrase that seals the backup."),
]
_SHORTEST_BYTES = 12
_AFTERWARDS = (
    "what was ended since this backup was made is good again: revoke anew the keys and credentials "
    "that were revoked since, then restart the broker"
)


def backup(
    target: Annotated[Path | None, typer.Argument(help="The file to write.")] = None,
    config: ConfigOption = DEFAULT_CONFIG,
    passphrase_file: PassphraseOption = None,
    unsealed: Annotated[
        bool, typer.Option("--unsealed", help="Write it readable for whoever gets hold of it.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Copy ledger, journal, keys and configuration into one file, beside the running hub.

    It holds the keys of gates and money: it is sealed with --passphrase-file, unless --unsealed is said.
    """
    if passphrase_file is None and not unsealed:
        hint = "name a file with a passphrase, or say --unsealed"
        raise ConfigError(file="command line", key="--passphrase-file", found="nothing", hint=hint)
    settings, clock = load_config(config), SystemClock()
    now = datetime.fromtimestamp(clock.now_ms() / 1000, UTC)
    place = target or Path(f"dormhub-{now:%Y%m%dT%H%M%SZ}.backup")
    here = isinstance(settings.ledger_place(), Path)
    whole = Whole(
        data=settings.data,
        config=config,
        databases=DATABASES if here else DATABASES[1:],
        left=() if here else ("ledger: back it up with pg_dump",),
    )
    with Console(stderr=True).status("") as status:
        manifest = make(
            place,
            whole,
            version=VERSION,
            time_ms=clock.now_ms(),
            passphrase=_passphrase(passphrase_file),
            told=status.update,
        )
    _say(place, manifest, json=json)


def restore(
    source: Annotated[Path, typer.Argument(help="A file that `dormhub backup` wrote.")],
    config: ConfigOption = DEFAULT_CONFIG,
    passphrase_file: PassphraseOption = None,
    with_config: Annotated[
        bool, typer.Option("--with-config", help="Put the configuration folder back too.")
    ] = False,
    only_check: Annotated[
        bool, typer.Option("--check", help="Read and compare the whole backup, put nothing back.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Put a backup back into an empty data folder; the hub must not run.

    What was ordered and never ended is judged at the hub's next start as after a power cut: nothing whose
    time is over is sent.
    """
    passphrase = _passphrase(passphrase_file)
    if only_check:
        _say(source, check(source, passphrase), json=json)
        return
    # Where the data goes is said by the hub.toml that will be used.
    settings = restored_config(source, config, passphrase) if with_config else load_config(config)
    with Console(stderr=True).status("") as status:
        manifest = put_back(
            source,
            data=settings.data,
            config=config if with_config else None,
            passphrase=passphrase,
            told=status.update,
        )
    _say(source, manifest, json=json)
    typer.echo(_AFTERWARDS, err=True)


def _passphrase(file: Path | None) -> bytes:
    if file is None:
        return b""
    try:
        text = file.read_bytes().strip()
    except OSError as error:
        found, hint = str(error.strerror), "name a file that this user may read"
    else:
        found, hint = f"{len(text)} bytes", f"use at least {_SHORTEST_BYTES}"
        if len(text) >= _SHORTEST_BYTES:
            return text
    raise ConfigError(file=str(file), key="--passphrase-file", found=found, hint=hint)


def _say(place: Path, manifest: Manifest, *, json: bool) -> None:
    if json:
        sys.stdout.write(msgspec.json.encode(manifest).decode() + "\n")
        return
    size = sum(member.size_bytes for member in manifest.members)
    typer.echo(f"{place}: {len(manifest.members)} files, {size:,} bytes, whole")
    for word in manifest.left:
        typer.echo(f"not in it: {word}", err=True)
