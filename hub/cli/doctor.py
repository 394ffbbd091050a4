"""`dormhub doctor`: is the journal whole?"""

from __future__ import annotations

import typer

from hub.cli.options import DEFAULT_CONFIG, ConfigOption
from hub.config import load_config
from hub.journal import JournalReader

EXIT_DAMAGED = 1


def doctor(config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Check the whole journal, page by page; exit code 1 when it is damaged. Beside a running hub too."""
    path = load_config(config).data / "journal.db"
    with JournalReader(path) as reader:
        damage = reader.damage()
    if damage:
        typer.echo(f"{path}: damaged: {damage}", err=True)
        raise typer.Exit(EXIT_DAMAGED)
    typer.echo(f"{path}: whole")
