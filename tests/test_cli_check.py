from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from tests.command_line import app
from tests.site_folder import write_site

LINKS = """
name = "test"
[links.bus-1]
driver = "modbus"
host = "127.0.0.1"
port = 15020
"""
DEVICES = "id,profile,link,address\nm-1,eastron_sdm120,bus-1,1\n"


def check(folder: Path) -> Result:
    return CliRunner().invoke(app, ["check", "--config", str(folder)])


def test_a_good_configuration_is_said_to_be_well(tmp_path: Path) -> None:
    result = check(write_site(tmp_path, site=LINKS, devices=DEVICES))
    assert result.exit_code == 0
    assert "1 devices on 1 links" in result.stdout


def test_the_example_configuration_is_well() -> None:
    result = check(Path("config"))
    assert result.exit_code == 0, result.output


def test_a_wrong_setting_of_a_driver_is_named_with_its_key(tmp_path: Path) -> None:
    site = LINKS.replace("port = 15020", 'port = "x"')
    result = check(write_site(tmp_path, site=site, devices=DEVICES))
    assert result.exit_code == 1
    assert "links.bus-1.port" in result.stderr


@pytest.mark.parametrize(
    ("policy", "key"),
    [("[prepaid]\noverdraft = 1\n", "prepaid.overdraft"), ("[platforms.x]\n", "platforms.x")],
)
def test_a_wrong_policy_is_named_with_its_key(tmp_path: Path, policy: str, key: str) -> None:
    result = check(write_site(tmp_path, site=LINKS + policy, devices=DEVICES))
    assert result.exit_code == 1
    assert key in result.stderr


def test_an_unknown_driver_is_named_with_those_installed(tmp_path: Path) -> None:
    site = LINKS + '[links.bus-2]\ndriver = "carrier-pigeon"\n'
    result = check(write_site(tmp_path, site=site, devices=DEVICES))
    assert "no driver 'carrier-pigeon'" in result.stderr
    assert "modbus" in result.stderr


def test_mistakes_of_all_files_are_said_in_one_go(tmp_path: Path) -> None:
    folder = write_site(
        tmp_path,
        site=LINKS.replace('host = "127.0.0.1"', ""),
        devices=DEVICES,
        hub='[sinks.far]\ntype = "influxdb"\nurll = "x"\n[sinks.near]\ntype = "paper"\n',
    )
    result = check(folder)
    assert result.exit_code == 1
    assert "links.bus-1.host" in result.stderr
    assert "sinks.far" in result.stderr
    assert "no sink 'paper'" in result.stderr
    assert result.stderr.rstrip().endswith("3 to mend; nothing would start")


@pytest.mark.parametrize(
    "name", ["hub.toml", "site.toml", "devices.csv", "profiles/own_meter.toml"]
)
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, name: str) -> None:
    folder = write_site(tmp_path, site=LINKS, devices=DEVICES)
    (folder / name).unlink(missing_ok=True)
    (folder / name).mkdir(parents=True)
    result = check(folder)
    assert result.exit_code == 1
    assert f"{folder / name}: file: Is a directory; make it a file" in result.stderr


def test_the_folder_may_be_named_by_the_environment(tmp_path: Path) -> None:
    folder = write_site(tmp_path, site=LINKS, devices=DEVICES)
    result = CliRunner().invoke(app, ["check"], env={"DORMHUB_CONFIG": str(folder)})
    assert result.exit_code == 0, result.stderr


def test_uncertain_facts_of_the_products_in_use_are_said(tmp_path: Path) -> None:
    devices = DEVICES.replace("eastron_sdm120", "acrel_ddsy1352")
    result = check(write_site(tmp_path, site=LINKS, devices=devices))
    assert "to confirm on a device: acrel_ddsy1352" in result.stdout
    assert "device_time" in result.stdout
    assert "command cut, command restore" in result.stdout
    assert (
        "unproven command, refused by [safety] allow_unproven: acrel_ddsy1352.credit"
        in result.stdout
    )


def test_an_unproven_command_that_the_site_allows_is_said_too(tmp_path: Path) -> None:
    devices = DEVICES.replace("eastron_sdm120", "acrel_ddsy1352")
    site = LINKS + '[safety]\nallow_unproven = ["acrel_ddsy1352.credit"]\n'
    said = check(write_site(tmp_path, site=site, devices=devices)).stdout
    assert "unproven command, allowed by [safety] allow_unproven: acrel_ddsy1352.credit" in said
    assert (
        "unproven command, refused by [safety] allow_unproven: acrel_ddsy1352.power_limit" in said
    )


UNREADABLE = [
    pytest.param("x = " + "9" * 5_000, id="digits"),
    pytest.param("x = 0x" + "f" * 5_000, id="hex"),
    pytest.param("x = " + "[" * 5_000, id="brackets"),
    pytest.param("[" + ".".join("a" * 5_000) + "]", id="dots"),
]


@pytest.mark.parametrize("name", ["hub.toml", "site.toml", "profiles/own_meter.toml"])
@pytest.mark.parametrize("content", UNREADABLE)
def test_what_no_toml_may_hold_is_a_mistake_like_any_other(
    tmp_path: Path, name: str, content: str
) -> None:
    folder = write_site(tmp_path, site=LINKS, devices=DEVICES)
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text(content, "utf-8")
    result = check(folder)
    assert result.exit_code == 1
    assert f"{folder / name}: TOML: " in result.stderr
    assert len(result.stderr) < 1_000


@pytest.mark.parametrize("content", UNREADABLE)
def test_neither_may_the_memory_of_imports(tmp_path: Path, content: str) -> None:
    folder = write_site(tmp_path, site=LINKS, devices=DEVICES)
    (folder / "import.toml").write_text(content, "utf-8")
    sheet = tmp_path / "sheet.csv"
    sheet.write_text(DEVICES, "utf-8")
    result = CliRunner().invoke(app, ["import", str(sheet), "--config", str(folder)])
    assert result.exit_code == 2
    assert "import.toml: TOML: " in result.stderr


def test_a_number_that_no_float_can_be_is_a_mistake_of_its_profile(tmp_path: Path) -> None:
    folder = write_site(tmp_path, site=LINKS, devices=DEVICES)
    (folder / "profiles").mkdir()
    (folder / "profiles" / "own.toml").write_text("rated_power_w = 1e999999999", "utf-8")
    assert "beyond what a float can be" in check(folder).stderr
