from __future__ import annotations

from pathlib import Path

import pytest

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
