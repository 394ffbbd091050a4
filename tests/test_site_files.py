"""The files of a site as bytes: read at one moment, packed for the ledger, compared, and made a site of."""

from __future__ import annotations

from pathlib import Path

import pytest

from hub import ConfigErrors, SiteFiles, StoreDamaged, load_site, read_files, site_of
from hub.site_files import unpack
from tests.test_site import HEADER, LINKS, METER, mistakes
from tests.test_site import load as load_rows

OWN = 'name="P"\nmaker="M"\nkind="meter"\nprotocol="modbus"\n[points]\nfrequency={at=0}'
BUILDINGS = '[buildings.B1]\nname = "1号楼"\n[buildings.B1.floors]\n1 = ["101-140", "laundry"]\n'


def files_in(folder: Path) -> SiteFiles:
    load_rows(folder)
    (folder / "profiles").mkdir()
    (folder / "profiles" / "own_meter.toml").write_text(OWN, "utf-8")
    return read_files(folder)


def test_a_site_can_be_made_of_files_that_are_gone_from_the_disk(tmp_path: Path) -> None:
    files = files_in(tmp_path)
    expected = load_site(tmp_path)
    packed = files.pack()
    for path in tmp_path.rglob("*.*"):
        path.unlink()
    kept = unpack(tmp_path, packed)
    assert kept == files
    assert site_of(kept) == expected


def test_a_mistake_in_kept_files_still_names_the_path_and_the_line(tmp_path: Path) -> None:
    kept = SiteFiles(
        folder=tmp_path, site=LINKS.encode(), devices=f"{HEADER}\n{METER}\n{METER}\n".encode()
    )
    with pytest.raises(ConfigErrors) as caught:
        site_of(kept)
    assert caught.value.file == str(tmp_path / "devices.csv")
    assert caught.value.key == "line 3, id"


def test_the_digest_tells_any_change_and_nothing_else(tmp_path: Path) -> None:
    files = files_in(tmp_path)
    assert files.digest() == read_files(tmp_path).digest()
    changed = []
    for name in ("site.toml", "devices.csv", "profiles/own_meter.toml"):
        with (tmp_path / name).open("ab") as file:
            file.write(b"\n")
        again = read_files(tmp_path)
        changed.append(name)
        assert again.digest() != files.digest()
        assert set(again.changed(files)) == set(changed)


def test_a_profile_that_came_or_went_is_a_change(tmp_path: Path) -> None:
    files = files_in(tmp_path)
    (tmp_path / "profiles" / "own_meter.toml").unlink()
    less = read_files(tmp_path)
    assert less.changed(files) == files.changed(less) == ("profiles/own_meter.toml",)


def test_what_was_not_packed_is_not_taken_for_a_site(tmp_path: Path) -> None:
    with pytest.raises(StoreDamaged):
        unpack(tmp_path, b"nothing of the kind")


def test_every_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    (tmp_path / "devices.csv").mkdir()
    with pytest.raises(ConfigErrors) as caught:
        read_files(tmp_path)
    names = [Path(error.file).name for error in caught.value.errors]
    assert names == ["site.toml", "devices.csv"]


def test_a_table_in_gbk_is_named_as_such_with_the_remedy(tmp_path: Path) -> None:
    load_rows(tmp_path)
    table = f"{HEADER}\n{METER.replace('by the door', '门边')}\n"
    (tmp_path / "devices.csv").write_bytes(table.encode("gbk"))
    with pytest.raises(ConfigErrors) as caught:
        load_site(tmp_path)
    (error,) = caught.value.errors
    assert error.found == "not UTF-8 on line 2, it looks like GBK"
    assert "save it as CSV UTF-8" in error.hint
    assert "dormhub import" in error.hint


@pytest.mark.parametrize("name", ["+", "#", "../x", "a/b", "x" * 65, "x" * 65_000, "B1", "é"])
def test_an_impossible_id_is_refused_in_a_short_message(tmp_path: Path, name: str) -> None:
    ((file, key, found, hint),) = mistakes(
        tmp_path, rows=(f"{name},eastron_sdm120,b1-f1,1,,,,,,,",)
    )
    assert (file, key) == ("devices.csv", "line 2, id")
    assert len(found) + len(hint) < 200


def test_no_message_repeats_a_monster(tmp_path: Path) -> None:
    monster = "x" * 65_000
    rows = (f"{monster},{monster},{monster},{monster},,,,,,,",)
    links = f'{LINKS}\n[links.{monster}]\ndriver = "mqtt"\n[{monster}]\n'
    with pytest.raises(ConfigErrors) as caught:
        load_rows(tmp_path, links, rows)
    assert max(len(str(error)) for error in caught.value.errors) < 1500
    (tmp_path / "site.toml").write_text(LINKS, "utf-8")
    (tmp_path / "devices.csv").write_text(f"{HEADER},{monster}\n", "utf-8")
    with pytest.raises(ConfigErrors) as caught:
        load_site(tmp_path)
    assert len(str(caught.value)) < 1500


PLACES = [
    (METER.replace(",B1,1,101,", ",B9,1,101,"), "line 2, building"),
    (METER.replace(",B1,1,101,", ",B1,1,999,"), "line 2, room"),
    (METER.replace(",B1,1,101,", ",B1,2,101,"), "line 2, floor"),
]


@pytest.mark.parametrize(("row", "key"), PLACES)
def test_a_place_that_the_buildings_do_not_have_is_a_mistake(
    tmp_path: Path, row: str, key: str
) -> None:
    ((file, place, _, _),) = mistakes(tmp_path, LINKS + BUILDINGS, (row,))
    assert (file, place) == ("devices.csv", key)


def test_the_buildings_of_the_site_are_known(tmp_path: Path) -> None:
    site = load_rows(tmp_path, LINKS + BUILDINGS)
    found = site.buildings.find("1号楼")
    assert found is not None
    assert found.id == "B1"


@pytest.mark.parametrize(
    ("links", "key"),
    [("buildings = 5\n" + LINKS, "buildings"), (LINKS + "[buildings]\nB1 = 5\n", "buildings.B1")],
)
def test_a_mistake_among_the_buildings_has_its_key(tmp_path: Path, links: str, key: str) -> None:
    ((file, place, _, _),) = mistakes(tmp_path, links)
    assert (file, place) == ("site.toml", key)
