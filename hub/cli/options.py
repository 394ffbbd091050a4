"""The options that several commands share."""

from __future__ import annotations

import csv
import os
from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from hub.config import FOLDER_VARIABLE
from hub.site_files import DEVICES_FILE

ConfigOption: TypeAlias = Annotated[
    Path,
    typer.Option(
        "--config",
        envvar=FOLDER_VARIABLE,
        help="Folder with hub.toml, site.toml and devices.csv.",
    ),
]
JsonOption: TypeAlias = Annotated[bool, typer.Option("--json", help="One JSON object per line.")]
BuildingOption: TypeAlias = Annotated[str, typer.Option(help="Only this building.")]
LinkOption: TypeAlias = Annotated[str, typer.Option("--link", help="Only this link.")]

DEFAULT_CONFIG = Path("config")


def device_ids(incomplete: str) -> list[str]:
    """The ids that begin so, for the shell that completes a word; none where the files cannot be read."""
    folder = Path(os.environ.get(FOLDER_VARIABLE) or DEFAULT_CONFIG)
    try:
        with (folder / DEVICES_FILE).open(encoding="utf-8-sig", newline="") as file:
            ids = [row.get("id") or "" for row in csv.DictReader(file)]
    except (OSError, UnicodeDecodeError, csv.Error):
        return []
    return [name for name in ids if name.startswith(incomplete)]


DeviceArgument: TypeAlias = Annotated[
    str, typer.Argument(help="The device's id.", autocompletion=device_ids)
]
