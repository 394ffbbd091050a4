"""`import.toml`: the headers that a person once explained with --map, for the next sheet."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from hub.errors import ConfigError, unreadable
from hub.sheets.columns import COLUMNS, NOT_READ, column_of, word
from hub.site_files import text_of
from hub.toml_table import toml_document

IMPORT_FILE = "import.toml"


def read_memory(folder: Path) -> dict[str, str]:
    """Headers as written, with the column each means; raises ConfigError."""
    path = folder / IMPORT_FILE
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise unreadable(path, error) from None
    file = str(path)
    entries = toml_document(file, text_of(file, content)).get("columns", {})
    if not isinstance(entries, dict):
        raise _wrong(path, "columns", f"found {entries!r}")
    for header, column in entries.items():
        if column not in (*COLUMNS, NOT_READ):
            raise _wrong(path, f"columns.{header}", f"no column {column!r}")
    return entries


def memory_text(entries: Mapping[str, str]) -> str:
    """The file's text."""
    lines = [f"{_quoted(header)} = {_quoted(column)}" for header, column in entries.items()]
    return "\n".join(["# Headers of spreadsheets: dormhub import --map", "[columns]", *lines, ""])


def explained_headers(texts: Iterable[str]) -> dict[str, str]:
    """What `--map "HEADER=COLUMN"` says; raises ConfigError."""
    found: dict[str, str] = {}
    for text in texts:
        header, equals, column = (part.strip() for part in text.rpartition("="))
        meant = NOT_READ if column == NOT_READ else column_of(column, {})
        if not word(header) or not equals or meant is None:
            hint = f'write "HEADER=COLUMN", the column one of {", ".join(COLUMNS)}, {NOT_READ}'
            raise ConfigError(file="command line", key="--map", found=f"found {text!r}", hint=hint)
        found[header] = meant
    return found


def by_word(entries: Mapping[str, str]) -> dict[str, str]:
    """The same by the word of each header."""
    return {word(header): column for header, column in entries.items()}


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _wrong(path: Path, key: str, found: str) -> ConfigError:
    return ConfigError(file=str(path), key=key, found=found, hint="mend it, or remove the file")
