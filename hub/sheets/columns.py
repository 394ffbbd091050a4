"""Which column of a spreadsheet is which of devices.csv: the words people write, in Chinese and English."""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum

from hub.device_table import OPTIONAL_COLUMNS, REQUIRED_COLUMNS

COLUMNS = REQUIRED_COLUMNS + OPTIONAL_COLUMNS
NOT_READ = "-"  # what a header is mapped to so that nobody reads its column
_HINT_WORDS = 3


class Language(StrEnum):
    """The language of an exported header."""

    CHINESE = "zh"
    ENGLISH = "en"


# The first words of each column are what an export writes.
WORDS: Mapping[Language, Mapping[str, tuple[str, ...]]] = {
    Language.CHINESE: {
        "id": ("编号", "设备编号", "设备号", "设备ID"),
        "profile": ("表型号", "型号", "设备型号", "产品型号", "产品"),
        "link": ("链路", "总线", "链路/总线", "通讯链路", "通信链路"),
        "address": ("表地址", "地址", "通讯地址", "通信地址", "设备地址", "从站地址", "站号"),
        "building": ("楼栋", "楼", "楼号", "栋", "栋号", "楼宇", "建筑"),
        "floor": ("楼层", "层"),
        "room": ("房间", "房间号", "房号", "宿舍", "宿舍号", "寝室", "寝室号", "室号"),
        "circuit": ("回路", "支路", "回路名称", "用途"),
        "period_s": ("采集周期", "采集周期(秒)", "周期", "采集间隔", "轮询周期"),
        "settings": ("参数", "设备参数", "设置"),
        "note": ("备注", "说明", "注释"),
    },
    Language.ENGLISH: {
        "id": ("id", "device", "device id", "device no"),
        "profile": ("profile", "model", "product", "meter model", "meter type"),
        "link": ("link", "bus", "link/bus"),
        "address": ("address", "meter address", "unit", "unit address", "slave address", "slave"),
        "building": ("building", "block"),
        "floor": ("floor", "storey", "level"),
        "room": ("room", "room no", "room number"),
        "circuit": ("circuit", "circuit name"),
        "period_s": ("period_s", "period", "period (s)", "interval", "interval (s)"),
        "settings": ("settings", "parameters", "setting"),
        "note": ("note", "notes", "remark", "remarks", "comment", "comments"),
    },
}


def word(text: str) -> str:
    """A header without what people write differently: case, width, spaces, brackets and other signs."""
    plain = unicodedata.normalize("NFKC", text).casefold()
    return "".join(character for character in plain if character.isalnum())


_KNOWN = {
    word(header): column
    for words in WORDS.values()
    for column, headers in words.items()
    for header in headers
}


def column_of(header: str, mapped: Mapping[str, str]) -> str | None:
    """The column a header means; None when nobody knows it. `mapped` are headers by `word`, and wins."""
    key = word(header)
    return mapped.get(key) or _KNOWN.get(key)


def known_headers(headers: Iterable[str], mapped: Mapping[str, str]) -> int:
    """How many of these headers mean a column."""
    found = (column_of(header, mapped) for header in headers)
    return sum(column not in (None, NOT_READ) for column in found)


def near_words(header: str) -> str:
    """The known headers nearest to one that is not known; some usual ones when none is near."""
    shown = [header for words in WORDS.values() for named in words.values() for header in named]
    close = difflib.get_close_matches(header, shown, n=_HINT_WORDS, cutoff=0.5)
    return ", ".join(close or [words[0] for words in WORDS[Language.CHINESE].values()])


def headers_in(language: Language, columns: Sequence[str]) -> tuple[str, ...]:
    """The header of an exported sheet."""
    return tuple(WORDS[language][column][0] for column in columns)
