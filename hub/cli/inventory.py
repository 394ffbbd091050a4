"""`dormhub plan` and `dormhub apply`: what the files would change, and having the hub take them."""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec
import typer
from rich.console import Console

from hub.cli.options import DEFAULT_CONFIG, ConfigOption, JsonOption
from hub.cli.plan_text import plan_lines
from hub.config import load_config
from hub.errors import ConfigErrors
from hub.inventory.installed import LEDGER_FILE, find_installed, installed_site
from hub.inventory.plan import Plan, make_plan
from hub.plugin import link_mistakes
from hub.site import site_of
from hub.site_files import read_files

EXIT_CHANGES = 3


def plan(config: ConfigOption = DEFAULT_CONFIG, json: JsonOption = False) -> None:
    """What `dormhub apply` would add, change and retire. Beside a running hub, or before its first start.

    Exit code 0: nothing to do; 2: mistakes in the files; 3: there are changes.
    """
    with Console(stderr=True).status("comparing the files with what is installed"):
        found = draft(config)
    if json:
        sys.stdout.write(msgspec.json.encode(found).decode() + "\n")
    else:
        _print(found)
    if not found.is_empty:
        raise typer.Exit(EXIT_CHANGES)


def draft(folder: Path) -> Plan:
    """The plan of the files in this folder; raises ConfigErrors with every mistake, StoreError."""
    files = read_files(folder)
    site = site_of(files)
    mistakes = link_mistakes(site.links)
    if mistakes:
        raise ConfigErrors(tuple(mistakes))
    installed = find_installed(load_config(folder).data / LEDGER_FILE, folder)
    return make_plan(installed, files, site, installed_site(installed))


def _print(found: Plan) -> None:
    sys.stdout.write("".join(f"{line}\n" for line in plan_lines(found)))
