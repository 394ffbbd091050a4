"""The options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from hub.config import FOLDER_VARIABLE

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
