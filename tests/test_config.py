from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import URL

from hub.config import load_config
from hub.errors import ConfigError, ConfigErrors


def folder_with(tmp_path: Path, text: str) -> Path:
    folder = tmp_path / "config"
    folder.mkdir()
    (folder / "hub.toml").write_text(text, "utf-8")
    return folder


def test_a_missing_file_means_defaults_with_data_beside_the_folder(tmp_path: Path) -> None:
    config = load_config(tmp_path / "config", {})
    assert config.data == tmp_path / "data"


def test_the_environment_overrides_a_key(tmp_path: Path) -> None:
    folder = folder_with(tmp_path, "[journal]\nkeep_days = 10\n")
    environment = {"DORMHUB_JOURNAL__KEEP_DAYS": "30", "DORMHUB_DATA": "/var/lib/dormhub"}
    config = load_config(folder, environment)
    assert (config.journal.keep_days, str(config.data)) == (30, "/var/lib/dormhub")


def test_every_wrong_key_is_named_with_what_was_found(tmp_path: Path) -> None:
    folder = folder_with(tmp_path, 'prot = 1\n[log]\nlevel = "loud"\n[journal]\nkeep_days = 0\n')
    with pytest.raises(ConfigErrors) as raised:
        load_config(folder, {})
    keys = {error.key for error in raised.value.errors}
    assert keys == {"prot", "log.level", "journal.keep_days"}
    assert "found 'loud'" in str(raised.value)


def test_broken_toml_is_named_with_its_place(tmp_path: Path) -> None:
    folder = folder_with(tmp_path, "data = \n")
    with pytest.raises(ConfigError, match="line 1"):
        load_config(folder, {})


def test_a_sink_keeps_its_own_keys(tmp_path: Path) -> None:
    folder = folder_with(tmp_path, '[sinks.far]\ntype = "influxdb"\nurl = "http://127.0.0.1"\n')
    sink = load_config(folder, {}).sinks["far"]
    assert (sink.type, sink.settings()) == ("influxdb", {"url": "http://127.0.0.1"})


def test_the_example_configuration_is_read_whole() -> None:
    assert load_config(Path("config"), {}).journal.keep_days == 400


def test_the_ledger_is_a_file_in_the_data_folder_unless_a_url_is_named(tmp_path: Path) -> None:
    assert load_config(tmp_path / "config", {}).ledger_place() == tmp_path / "data" / "ledger.db"


def test_the_ledgers_password_comes_from_a_file_beside_the_configuration(tmp_path: Path) -> None:
    text = 'ledger_url = "postgresql://hub@db/ledger"\nledger_password_file = "secret"\n'
    folder = folder_with(tmp_path, text)
    (folder / "secret").write_text("of the hub\n", "utf-8")
    (folder / "secret").chmod(0o600)
    place = load_config(folder, {}).ledger_place()
    assert isinstance(place, URL)
    assert (place.username, place.password, place.host) == ("hub", "of the hub", "db")


@pytest.mark.parametrize(
    ("content", "mode", "found"),
    [("secret\n", 0o604, "everybody may read"), ("\n", 0o600, "no password")],
)
def test_a_password_file_that_is_no_secret_is_refused(
    tmp_path: Path, content: str, mode: int, found: str
) -> None:
    folder = folder_with(tmp_path, 'ledger_url = "postgresql://db/ledger"\n')
    (folder / "secret").write_text(content, "utf-8")
    (folder / "secret").chmod(mode)
    config = load_config(folder, {"DORMHUB_LEDGER_PASSWORD_FILE": "secret"})
    with pytest.raises(ConfigError, match=found):
        config.ledger_place()


def test_a_password_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    config = load_config(folder_with(tmp_path, 'ledger_password_file = "secret"\n'), {})
    config = config.model_copy(update={"ledger_url": "postgresql://db/ledger"})
    with pytest.raises(ConfigError, match="ledger_password_file: cannot read"):
        config.ledger_place()


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://hub:tell-nobody@db/ledger",
        "postgresql://hub@db/ledger?password=tell-nobody",
        "mysql://hub:tell-nobody@db/ledger",
        "postgresql://hub:tell-nobody@db",
        "tell-nobody",
    ],
)
def test_a_wrong_ledger_url_is_refused_without_repeating_it(tmp_path: Path, url: str) -> None:
    with pytest.raises(ConfigError, match="ledger_url") as raised:
        load_config(folder_with(tmp_path, f'ledger_url = "{url}"\n'), {})
    assert "tell-nobody" not in str(raised.value)
