"""What is written must be true: every setting, command and link of the documents exists, and vice versa."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydantic import BaseModel

from drivers.modbus.settings import LinkSettings as ModbusSettings
from drivers.mqtt.settings import MqttSettings
from hub.config import HubConfig
from hub.device_table import OPTIONAL_COLUMNS, REQUIRED_COLUMNS
from tests.command_line import app

PAGES = [Path("README.md"), Path("README.zh-CN.md"), *sorted(Path("docs").rglob("*.md"))]
CONFIGURATION = Path("docs/configuration.md").read_text("utf-8")


def hub_keys(model: type[BaseModel], prefix: str = "") -> list[str]:
    keys = []
    for name, field in model.model_fields.items():
        inner = field.annotation
        nested = isinstance(inner, type) and issubclass(inner, BaseModel)
        keys += hub_keys(inner, f"{prefix}{name}.") if nested else [prefix + name]
    return keys


@pytest.mark.parametrize("key", [key for key in hub_keys(HubConfig) if key != "sinks"])
def test_every_key_of_hub_toml_is_explained(key: str) -> None:
    assert f"`{key}`" in CONFIGURATION


@pytest.mark.parametrize(
    "key", [*ModbusSettings.__struct_fields__, *MqttSettings.__struct_fields__]
)
def test_every_setting_of_a_link_is_explained(key: str) -> None:
    assert f"`{key}`" in CONFIGURATION


@pytest.mark.parametrize("column", REQUIRED_COLUMNS + OPTIONAL_COLUMNS)
def test_every_column_of_devices_csv_is_explained(column: str) -> None:
    assert f"`{column}`" in CONFIGURATION


@pytest.mark.parametrize("command", [str(item.name) for item in app.registered_commands])
def test_every_command_is_explained(command: str) -> None:
    pages = "".join(page.read_text("utf-8") for page in PAGES)
    assert re.search(rf"dormhub {command}\b|make {command}\b", pages)


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_every_link_between_pages_leads_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#]+)", page.read_text("utf-8"))
    local = [target for target in targets if "://" not in target]
    assert [target for target in local if not (page.parent / target).exists()] == []


def test_the_two_first_pages_are_in_step() -> None:
    english, chinese = (Path(name).read_text("utf-8") for name in ("README.md", "README.zh-CN.md"))
    links = [re.findall(r"\]\((docs[^)]*|CHANGELOG.md)\)", text) for text in (english, chinese)]
    shape = [
        re.findall(r"^(#+ |- |\||```|make )", text, re.MULTILINE) for text in (english, chinese)
    ]
    assert links[0] == links[1]
    assert shape[0] == shape[1]


@pytest.mark.parametrize("page", sorted(Path("docs/decisions").glob("*.md")), ids=str)
def test_every_decision_says_its_objective_and_overview(page: Path) -> None:
    text = page.read_text("utf-8")
    assert re.fullmatch(r"\d{3}-[a-z0-9-]+\.md", page.name)
    assert "**Objective.**" in text
    assert "**Overview.**" in text
