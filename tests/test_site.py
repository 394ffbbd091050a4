"""What the site's two files say, and what is said of each wrong line of them: all at once, nothing half."""

from __future__ import annotations

from pathlib import Path

import pytest

from hub import ConfigErrors, Place, Site, load_site

LINKS = """
name = "North campus"
timezone = "Asia/Shanghai"

[links.b1-f1]
driver = "modbus"
host = "192.0.2.7"
port = 4196

[links.broker]
driver = "mqtt"
observe_only = true
"""
HEADER = "id,profile,link,address,building,floor,room,circuit,period_s,settings,note"
METER = "b1-101,eastron_sdm120,b1-f1,1,B1,1,101,socket,30,,by the door"
WASHER = "w-1,generic_washer,broker,w-1,B1,1,laundry,,,,"


def load(folder: Path, links: str = LINKS, rows: tuple[str, ...] = (METER, WASHER)) -> Site:
    (folder / "site.toml").write_text(links, "utf-8")
    (folder / "devices.csv").write_text("\n".join((HEADER, *rows)) + "\n", "utf-8")
    return load_site(folder)


def mistakes(
    folder: Path, links: str = LINKS, rows: tuple[str, ...] = (METER, WASHER)
) -> list[tuple[str, str, str, str]]:
    """(file name, key, found, hint) of every mistake."""
    with pytest.raises(ConfigErrors) as caught:
        load(folder, links, rows)
    return [
        (Path(error.file.partition(":")[0]).name, error.key, error.found, error.hint)
        for error in caught.value.errors
    ]


def test_links_carry_their_devices_and_the_driver_s_own_settings(tmp_path: Path) -> None:
    site = load(tmp_path)
    bus, broker = site.links
    assert (site.name, site.timezone.key) == ("North campus", "Asia/Shanghai")
    assert (bus.id, bus.driver, bus.observe_only) == ("b1-f1", "modbus", False)
    assert bus.settings == {"host": "192.0.2.7", "port": 4196}
    assert (broker.observe_only, broker.settings) == (True, {})
    assert [device.id for device in site.devices()] == ["b1-101", "w-1"]


def test_a_device_has_its_place_period_and_profile(tmp_path: Path) -> None:
    meter, washer = load(tmp_path).devices()
    assert meter.place == Place(building="B1", floor="1", room="101", circuit="socket")
    assert (meter.address, meter.period_s, meter.note) == ("1", 30.0, "by the door")
    assert (washer.period_s, washer.profile.id) == (washer.profile.period_s, "generic_washer")


def test_a_device_s_settings_reach_its_profile(tmp_path: Path) -> None:
    row = "b1-102,eastron_sdm630,b1-f1,2,,,,,,word_order=little; energy_prefix=1000,"
    (device,) = load(tmp_path, rows=(row,)).devices()
    assert device.profile.wire["word_order"] == "little"
    assert device.profile.points["energy_import"].factor == 1_000_000


def test_a_table_saved_by_a_spreadsheet_is_read(tmp_path: Path) -> None:
    (tmp_path / "site.toml").write_text(LINKS, "utf-8")
    text = (
        'address, id ,profile,link,note\r\n1,b1-101,eastron_sdm120,b1-f1,"a, ""b"""\r\n,,,,\r\n\r\n'
    )
    (tmp_path / "devices.csv").write_bytes(text.encode("utf-8-sig"))
    (device,) = load_site(tmp_path).devices()
    assert (device.id, device.note) == ("b1-101", 'a, "b"')


def test_a_site_s_own_profile_may_be_used(tmp_path: Path) -> None:
    (tmp_path / "profiles").mkdir()
    profile = 'name="P"\nmaker="M"\nkind="meter"\nprotocol="modbus"\n[points]\nfrequency={at=0}'
    (tmp_path / "profiles" / "own_meter.toml").write_text(profile, "utf-8")
    (device,) = load(tmp_path, rows=("m-1,own_meter,b1-f1,1,,,,,,,",)).devices()
    assert device.profile.name == "P"


LINK_MISTAKES = [
    (LINKS.replace("North campus", 'x" y'), "TOML", "syntax"),
    ('name = "A campus"', "links", "[links.NAME]"),
    ("links = 5", "links", "[links.NAME]"),
    ('name = 5\n[links.a]\ndriver = "mqtt"', "name", "text"),
    ('timezone = "Asia"\n[links.a]\ndriver = "mqtt"', "timezone", "Asia/Shanghai"),
    ('timezone = "Mars/Base"\n[links.a]\ndriver = "mqtt"', "timezone", "Asia/Shanghai"),
    ('timezone = 8\n[links.a]\ndriver = "mqtt"', "timezone", "Asia/Shanghai"),
    ('zone = "UTC"\n[links.a]\ndriver = "mqtt"', "zone", "known: name, timezone, links"),
    ('[links.North_1]\ndriver = "mqtt"', "links.North_1", "a-z, 0-9 and -"),
    ("[links.a]\nhost = 5", "links.a.driver", 'driver = "modbus"'),
    ("[links]\na = 5", "links.a.driver", 'driver = "modbus"'),
    ('[links.a]\ndriver = "mqtt"\nobserve_only = 1', "links.a.observe_only", "true or false"),
]


@pytest.mark.parametrize(("links", "key", "hint"), LINK_MISTAKES)
def test_a_mistake_in_the_site_file_has_its_place_and_remedy(
    tmp_path: Path, links: str, key: str, hint: str
) -> None:
    ((file, place, found, remedy),) = mistakes(tmp_path, links, rows=())
    assert (file, place) == ("site.toml", key)
    assert hint in remedy
    assert found


ROW_MISTAKES = [
    ("B1_101,eastron_sdm120,b1-f1,3,,,,,,,", "line 3, id", "a-z, 0-9 and -"),
    (",eastron_sdm120,b1-f1,3,,,,,,,", "line 3, id", "a-z, 0-9 and -"),
    ("b1-f1,eastron_sdm120,b1-f1,3,,,,,,,", "line 3, id", "another id"),
    ("b1-101,eastron_sdm120,b1-f1,3,,,,,,,", "line 3, id", "its own id"),
    ("-102,eastron_sdm120,b1-f1,3,,,,,,,", "line 3, id", "the first no -"),
    ("dormhub-broker,generic_washer,broker,3,,,,,,,", "line 3, id", "another id"),
    ("dormhub-hub,eastron_sdm120,b1-f1,3,,,,,,,", "line 3, id", "another id"),
    ("b1-102,eastron_sdm120,b9,3,,,,,,,", "line 3, link", "b1-f1, broker"),
    ("b1-102,eastron_sdm120,b1-f1,,,,,,,,", "line 3, address", "address on its link"),
    ("b1-102,eastron_sdm120,b1-f1,1,,,,,,,", "line 3, address", "one address, one device"),
    ("b1-102,eastron_sdm12,b1-f1,3,,,,,,,", "profile", "eastron_sdm120"),
    ("b1-102,generic_washer,b1-f1,3,,,,,,,", "line 3, profile", "another profile or link"),
    ("b1-102,eastron_sdm120,b1-f1,3,,,,,0,,", "line 3, period_s", "0.1 to 86400"),
    ("b1-102,eastron_sdm120,b1-f1,3,,,,,nan,,", "line 3, period_s", "0.1 to 86400"),
    ("b1-102,eastron_sdm120,b1-f1,3,,,,,soon,,", "line 3, period_s", "0.1 to 86400"),
    ("b1-102,eastron_sdm120,b1-f1,3,,,,,,ct_ratio,", "line 3, settings", "name=value"),
    ("b1-102,eastron_sdm120,b1-f1,3,,,,,,ct_ratio=2,", "settings.ct_ratio", "it has: none"),
    ("b1-102,chint_ddsu666,b1-f1,3,,,,,,ct_ratio=0,", "settings.ct_ratio", "from 1 to 10000"),
    ("b1-102,chint_ddsu666,b1-f1,3,,,,,,ct_ratio=2;ct_ratio=3,", "line 3, settings", "once"),
    ("b1-102,eastron_sdm120,b1-f1,3", "line 3, row", "mend"),
    ("b1-102,eastron_sdm120,b1-f1,3,,,,,,,,,", "line 3, row", "mend"),
    (f"b1-102,eastron_sdm120,b1-f1,3,,,,,,,{'x' * 201}", "line 3, note", "at most 200"),
]


@pytest.mark.parametrize(("row", "key", "hint"), ROW_MISTAKES)
def test_a_wrong_row_has_its_line_column_and_remedy(
    tmp_path: Path, row: str, key: str, hint: str
) -> None:
    ((file, place, found, remedy),) = mistakes(tmp_path, rows=(METER, row, WASHER))
    assert (file, place) == ("devices.csv", key)
    assert hint in remedy
    assert found


@pytest.mark.parametrize("name", ["campus-hub", "campus-hub-commands"])
def test_no_device_has_the_client_id_that_the_site_gave_a_link(tmp_path: Path, name: str) -> None:
    links = LINKS + 'client_id = "campus-hub"\n'
    row = f"{name},generic_washer,broker,w-2,,,,,,,"
    ((_, key, found, hint),) = mistakes(tmp_path, links, (METER, row))
    assert (key, hint) == ("line 3, id", "choose another id")
    assert "the hub's own name at the broker" in found


def test_a_profile_s_mistake_in_a_row_names_the_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigErrors) as caught:
        load(tmp_path, rows=(METER, "m-1,no_such,b1-f1,3,,,,,,,"))
    assert caught.value.file.endswith("devices.csv: line 3")


@pytest.mark.parametrize(
    ("text", "key"),
    [
        (b"", "line 1, header"),
        (b"id,profile,link\n", "line 1, header"),
        (b"id,profile,link,address,colour\n", "line 1, header"),
        (b"id,profile,link,address,id\n", "line 1, header"),
        (b"id,profile,link,address\n\xff", "byte 24"),
        (b'id,profile,link,address\n"a,b,c,d\n', "CSV"),
        (b'id,profile,link,address\n"a"b,b,c,d\n', "CSV"),
    ],
)
def test_a_table_that_is_none_is_told(tmp_path: Path, text: bytes, key: str) -> None:
    (tmp_path / "site.toml").write_text(LINKS, "utf-8")
    (tmp_path / "devices.csv").write_bytes(text)
    with pytest.raises(ConfigErrors) as caught:
        load_site(tmp_path)
    assert [error.key for error in caught.value.errors] == [key]


@pytest.mark.parametrize("missing", ["site.toml", "devices.csv"])
def test_a_missing_file_is_told(tmp_path: Path, missing: str) -> None:
    load(tmp_path)
    (tmp_path / missing).unlink()
    with pytest.raises(ConfigErrors, match="does not exist") as caught:
        load_site(tmp_path)
    assert caught.value.file == str(tmp_path / missing)


def test_a_site_file_that_is_not_utf_8_is_told(tmp_path: Path) -> None:
    load(tmp_path)
    (tmp_path / "site.toml").write_bytes(b'name = "\xb1\xb1"')
    with pytest.raises(ConfigErrors, match="not UTF-8"):
        load_site(tmp_path)


def test_mistakes_of_both_files_are_told_together_and_nothing_is_half_taken(tmp_path: Path) -> None:
    links = 'name = 5\nzone = 1\n[links.b1-f1]\ndriver = "modbus"\n[links.BAD]\ndriver = "mqtt"'
    rows = ("X,eastron_sdm120,b1-f1,9,,,,,,,", METER, "b1-102,none,b1-f1,2,,,,,,,", WASHER)
    keys = [(file, key) for file, key, _, _ in mistakes(tmp_path, links, rows)]
    assert sorted(keys) == [
        ("devices.csv", "line 2, id"),
        ("devices.csv", "line 5, link"),
        ("devices.csv", "profile"),
        ("site.toml", "links.BAD"),
        ("site.toml", "name"),
        ("site.toml", "zone"),
    ]


def test_the_site_s_own_wrong_profiles_are_told_with_the_mistakes_of_the_links(
    tmp_path: Path,
) -> None:
    (tmp_path / "profiles").mkdir()
    for name in ("one", "two"):
        (tmp_path / "profiles" / f"{name}.toml").write_text('name = "P"', "utf-8")
    found = mistakes(tmp_path, LINKS + "[links.BAD]\ndriver = 1")
    assert [(file, key) for file, key, _, _ in found] == [
        ("site.toml", "links.BAD"),
        ("one.toml", "protocol"),
        ("two.toml", "protocol"),
    ]


TURNSTILE = "t-1,generic_turnstile,broker,t-1,B1,0,entrance,,,{},"


def test_a_gate_without_fail_mode_egress_and_open_limit_is_refused(tmp_path: Path) -> None:
    found = mistakes(tmp_path, rows=(METER, TURNSTILE.format("")))
    keys = ["settings.fail_mode", "settings.egress", "settings.open_limit_s"]
    assert [(file, key) for file, key, _, _ in found] == [("devices.csv", key) for key in keys]
    assert {what for _, _, what, _ in found} == {"not given"}


def test_a_gate_that_says_them_is_taken(tmp_path: Path) -> None:
    row = TURNSTILE.format("fail_mode=open;egress=true;open_limit_s=600")
    _, gate = load(tmp_path, rows=(METER, row)).devices()
    said = {"fail_mode": "open", "egress": True, "open_limit_s": 600.0, "key_file": ""}
    assert gate.profile.chosen == said
    assert gate.profile.commands["hold_open"].arguments["duration"].maximum == 600
