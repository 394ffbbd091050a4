"""`dormhub labels`: QR codes of the devices, to print and stick on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from hub.cli.options import DEFAULT_CONFIG, BuildingOption, ConfigOption, JsonOption
from hub.cli.sheets import Written, print_json, shown_progress
from hub.errors import ConfigError
from hub.model import Device
from hub.sheets.label_pages import pdf_bytes, svg_bytes
from hub.sheets.labels import Drawn, label_size, labels_of, pages
from hub.sheets.saving import save_out
from hub.site import Site, load_site


def labels(
    config: ConfigOption = DEFAULT_CONFIG,
    building: BuildingOption = "",
    out: Annotated[Path, typer.Option(help="A .pdf, or .svg, one file a page.")] = Path(
        "labels.pdf"
    ),
    size: Annotated[str, typer.Option(help="Width x height of one label in mm.")] = "70x37",
    json: JsonOption = False,
) -> None:
    """Print a label for each device: a QR code that says the id, and id, place and product in words."""
    each = label_size(size)
    if out.suffix.lower() not in (".pdf", ".svg"):
        hint = "name a file that ends in .pdf or .svg"
        raise ConfigError(file="command line", key="--out", found=f"found {out.name!r}", hint=hint)
    site = load_site(config)
    chosen = labels_of(_devices(site, building), site.buildings)
    with shown_progress() as progress:
        drawn: list[Sequence[Drawn]] = []
        for page in pages(chosen, each):
            drawn.append(page)
            progress("drawing labels", sum(map(len, drawn)))
        progress(f"writing {out.name}", len(chosen))
        files = {out: pdf_bytes(drawn)} if out.suffix.lower() == ".pdf" else _svg_files(out, drawn)
        for path, content in files.items():
            save_out(path, content, config)
    if json:
        print_json(Written(devices=len(chosen), files=tuple(map(str, files))))
        return
    names = ", ".join(str(path) for path in list(files)[:3]) + (" …" if len(files) > 3 else "")
    typer.echo(f"{len(chosen)} labels on {len(drawn)} pages: {names}")


def _devices(site: Site, building: str) -> list[Device]:
    name = site.buildings.id_of(building)
    found = [device for device in site.devices() if not name or device.place.building == name]
    if not found:
        there = ", ".join(sorted({device.place.building for device in site.devices()} - {""})[:8])
        found_text = f"no device in {building!r}" if building else "no device"
        hint = f"there are devices in {there}" if there else "take some with `dormhub import`"
        raise ConfigError(file="command line", key="--building", found=found_text, hint=hint)
    return found


def _svg_files(out: Path, drawn: Sequence[Sequence[Drawn]]) -> dict[Path, bytes]:
    """A file for each page, numbered where there are several."""
    if len(drawn) == 1:
        return {out: svg_bytes(drawn[0])}
    return {
        out.with_name(f"{out.stem}-{number}{out.suffix}"): svg_bytes(page)
        for number, page in enumerate(drawn, start=1)
    }
