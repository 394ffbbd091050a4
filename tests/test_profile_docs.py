"""Whatever a profile may say is described for integrators, and the generated pages are in step."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import get_args

import msgspec
import pytest

from drivers.modbus.fields import Wire, WireType
from drivers.modbus.words import WordType
from drivers.modbus.writes import CommandKeys, ResultKeys, WriteKeys
from drivers.mqtt.answers import AnswerKeys
from drivers.mqtt.payload import TopicKeys
from drivers.mqtt.publishes import PublishKeys
from hub.command import Argument, CommandSpec, Hazard, Repeat
from hub.profile import PointSpec, Profile, Setting
from hub.profile_file import read_profile

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "profiles.md").read_text("utf-8")
PROFILE_KEYS = {
    *{field.name for field in fields(Profile)} - {"id", "file", "wire", "chosen"},
    *{field.name for field in fields(PointSpec)} - {"point", "factor", "where"},
    *{field.name for field in fields(Setting)} - {"name"},
    *{field.name for field in fields(CommandSpec)} - {"name", "where", "rise"},
    *("rises", "from", "used", "price_max", "alive"),
    *{field.name for field in fields(Argument)} - {"name", "factor"},
    *Hazard,
    *Repeat,
    *("unit", "scale", "at", "length", "byte", "bit", "bits", "layout", "in", "path", "encoding"),
}
KINDS = (Wire, TopicKeys, CommandKeys, WriteKeys, ResultKeys, PublishKeys, AnswerKeys)
WIRE_KEYS = sorted({field.encode_name for kind in KINDS for field in msgspec.structs.fields(kind)})
TYPES = sorted({*get_args(WireType), *get_args(WordType)})


@pytest.mark.parametrize("key", sorted({*PROFILE_KEYS, *WIRE_KEYS, *TYPES, "refresh"}))
def test_every_key_and_type_is_described(key: str) -> None:
    assert f"`{key}`" in PAGE


@pytest.mark.parametrize("text", re.findall(r"```toml\n(name.*?)```", PAGE, re.DOTALL))
def test_the_profile_in_the_page_can_be_read(text: str) -> None:
    profile = read_profile("example_em1", "docs/profiles.md", text).apply({}, place="test")
    assert set(profile.points) == {"voltage_l1", "current_l1", "energy_import"}


def test_the_generated_pages_are_in_step() -> None:
    command = [sys.executable, "scripts/reference.py", "--check"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (result.returncode, result.stderr) == (0, "")
