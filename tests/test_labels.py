from __future__ import annotations

import re
import subprocess
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
import segno
from PIL import Image, ImageDraw

from tests.servers import find_program
from tests.sheet_site import COLUMNS, campus, run

SVG = "{http://www.w3.org/2000/svg}"
MANY = (
    COLUMNS
    + "\n"
    + "".join(
        f"m-{unit},eastron_sdm120,bus-1,{unit},梅园,{unit // 20},{unit},照明,,,\n"
        for unit in range(1, 60)
    )
)
BOX = re.compile(r"M([\d.]+) ([\d.]+)h([\d.]+)v([\d.]+)")
DOTS_PER_MM = 8


def boxes(svg: Path) -> list[list[tuple[float, float, float, float]]]:
    """The black rectangles of each label: left, top, width and height in mm."""
    paths = ElementTree.parse(svg).iter(f"{SVG}path")
    found = [BOX.findall(path.get("d", "")) for path in paths]
    return [[tuple(map(float, box)) for box in label] for label in found]


def texts(svg: Path) -> list[str]:
    return [text.text or "" for text in ElementTree.parse(svg).iter(f"{SVG}text")]


def decoded(page: Image.Image, folder: Path) -> list[str]:
    """The QR code of each label of 70 x 37 mm on a page, as a reader finds it when held before it."""
    scale = page.width / 210
    words = [find_program("zbarimg"), "--quiet", "--raw"]
    for slot in range(24):
        left, top = slot % 3 * 70, 0.5 + slot // 3 * 37
        corners = [round(place * scale) for place in (left, top, left + 70, top + 37)]
        path = folder / f"label-{slot:02}.png"
        page.crop((corners[0], corners[1], corners[2], corners[3])).save(path)
        words.append(str(path))
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    return done.stdout.split()


def test_the_codes_of_an_svg_are_read_again_by_a_reader(tmp_path: Path) -> None:
    out = tmp_path / "labels.svg"
    assert run(campus(tmp_path), "labels", "--out", out).exit_code == 0
    picture = Image.new("L", (210 * DOTS_PER_MM, 297 * DOTS_PER_MM), 255)
    pen = ImageDraw.Draw(picture)
    for left, top, width, height in (box for label in boxes(out) for box in label):
        corners = (left, top, left + width, top + height)
        pen.rectangle([round(place * DOTS_PER_MM) for place in corners], fill=0)
    assert decoded(picture, tmp_path) == ["b1-101", "b1-102", "washer-1"]


def test_the_codes_of_every_page_of_a_pdf_are_read_again_by_a_reader(tmp_path: Path) -> None:
    out = tmp_path / "labels.pdf"
    result = run(campus(tmp_path, MANY), "labels", "--out", out)
    assert "59 labels on 3 pages" in result.stdout
    words = [find_program("pdftoppm"), "-r", "150", "-gray", str(out), str(tmp_path / "page")]
    subprocess.run(words, capture_output=True, timeout=60, check=True)
    pages = [decoded(Image.open(page), tmp_path) for page in sorted(tmp_path.glob("page*.pgm"))]
    assert [len(page) for page in pages] == [24, 24, 11]
    assert [text for page in pages for text in page] == [f"m-{unit}" for unit in range(1, 60)]


def test_a_code_s_modules_are_those_of_the_id(tmp_path: Path) -> None:
    out = tmp_path / "labels.svg"
    run(campus(tmp_path), "labels", "--out", out)
    first = boxes(out)[0]
    module = first[0][3]
    left, top = min(box[0] for box in first), min(box[1] for box in first)
    dark = {
        (round((x - left) / module) + step, round((y - top) / module))
        for x, y, width, _ in first
        for step in range(round(width / module))
    }
    matrix = segno.make("b1-101", error="m", micro=False).matrix
    assert dark == {(x, y) for y, row in enumerate(matrix) for x, on in enumerate(row) if on}


def test_a_label_says_id_place_and_product(tmp_path: Path) -> None:
    out = tmp_path / "labels.svg"
    run(campus(tmp_path), "labels", "--out", out)
    assert texts(out)[:3] == ["b1-101", "1号楼-1-101-socket", "CHINT DDSU666"]


def test_chinese_text_of_a_pdf_is_in_a_font_that_has_it(tmp_path: Path) -> None:
    out = tmp_path / "labels.pdf"
    run(campus(tmp_path), "labels", "--out", out)
    words = [find_program("pdftotext"), str(out), "-"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=True)
    assert "1号楼-1-101-socket" in done.stdout
    assert b"STSong-Light" in out.read_bytes()


def test_pages_of_svg_are_numbered_and_go_by_place_and_number(tmp_path: Path) -> None:
    config = campus(tmp_path, MANY)
    result = run(config, "labels", "--out", tmp_path / "l.svg", "--building", "plum-court")
    assert "59 labels on 3 pages" in result.stdout
    names = sorted(path.name for path in tmp_path.glob("*.svg"))
    assert names == ["l-1.svg", "l-2.svg", "l-3.svg"]
    ids = [text for name in names for text in texts(tmp_path / name) if text.startswith("m-")]
    assert ids == [f"m-{unit}" for unit in range(1, 60)]


@pytest.mark.parametrize("size", ["70x37", "48x25", "30x18", "105x148", "210x297"])
def test_everything_on_a_label_stays_inside_it(tmp_path: Path, size: str) -> None:
    long = "a" * 64
    row = f"{long},eastron_sdm120,bus-1,9,梅园,{'二' * 30},{'三' * 60},{'照' * 60},,,\n"
    out = tmp_path / "labels.svg"
    run(campus(tmp_path, f"{COLUMNS}\n{row}"), "labels", "--out", out, "--size", size)
    width, height = map(int, size.split("x"))
    left, top = (210 - 210 // width * width) / 2, (297 - 297 // height * height) / 2
    for x, y, wide, high in boxes(out)[0]:
        assert left <= x
        assert x + wide <= left + width
        assert top <= y
        assert y + high <= top + height
    for text in ElementTree.parse(out).iter(f"{SVG}text"):
        em = float(text.get("font-size", ""))
        letters = sum(1.0 if one > "\u2e80" else 0.6 for one in text.text or "")
        assert float(text.get("x", "")) + em * letters <= left + width
        assert top <= float(text.get("y", "")) - em
        assert float(text.get("y", "")) <= top + height


@pytest.mark.parametrize(
    ("options", "hint"),
    [
        (("--size", "70"), "width x height"),
        (("--size", "5x5"), "30x18"),
        (("--size", "300x20"), "210x297"),
        (("--out", "labels.png"), ".pdf or .svg"),
        (("--building", "B7"), "there are devices in B1"),
    ],
)
def test_labels_that_cannot_be_are_refused(
    tmp_path: Path, options: tuple[str, ...], hint: str
) -> None:
    assert hint in str(run(campus(tmp_path), "labels", *options).exception)
