"""`dormhub backup` and `dormhub restore`: all that this box must not lose, in one file."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console

from hub.backup import Manifest, Whole, check, make
from hub.backup import restore as put_back
from hub.cli.options import DEFAULT_CONFIG, ConfigOption, JsonOption
from hub.clock import SystemClock
from hub.config import load_config
from hub.daemon import VERSION
from hub.errors import ConfigError

PassphraseOption = Annotated[
    Path | None,
    typer.Option("--passphrase-file", help="A file with the passphrase that seals the backup."),
]
_SHORTEST_BYTES = 12


def backup(
    target: Annotated[Path | None, typer.Argument(help="The file to write.")] = None,
    config: ConfigOption = DEFAULT_CONFIG,
    passphrase_file: PassphraseOption = None,
    json: JsonOption = False,
) -> None:
    """Copy ledger, journal, keys and configuration into one file, beside the running hub.

    It holds the keys of gates and money: seal it with --passphrase-file before it leaves this box.
    """
    settings, clock = load_config(config), SystemClock()
    now = datetime.fromtimestamp(clock.now_ms() / 1000, UTC)
    place = target or Path(f"dormhub-{now:%Y%m%dT%H%M%SZ}.backup")
    left = () if isinstance(settings.ledger_place(), Path) else ("ledger: back it up with pg_dump",)
    with Console(stderr=True).status("") as status:
        manifest = make(
            place,
            Whole(data=settings.data, config=config, left=left),
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
    with Console(stderr=True).status("") as status:
        manifest = put_back(
            source,
            data=load_config(config).data,
            config=config if with_config else None,
            passphrase=passphrase,
            told=status.update,
        )
    _say(source, manifest, json=json)


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
