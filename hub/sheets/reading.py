"""Opens a spreadsheet whatever its name says: the first bytes tell what it is."""

from __future__ import annotations

from collections.abc import Mapping
from io import BytesIO
from pathlib import Path

from hub.errors import ConfigError, unreadable
from hub.sheets.csv_sheet import read_csv
from hub.sheets.sheet import FILE_MAX_BYTES, Progress, Sheet
from hub.sheets.xlsx_sheet import read_xlsx

_ZIP = b"PK\x03\x04"
_COMPOUND = bytes.fromhex("D0CF11E0A1B11AE1")
_ENCRYPTED = "EncryptedPackage".encode("utf-16-le")


def read_sheet(path: Path, wanted: str, mapped: Mapping[str, str], progress: Progress) -> Sheet:
    """The sheet called `wanted`, or the first; of a CSV, its only one. Raises ConfigError.

    `mapped` are headers a person explained, by their `word`.
    """
    content = _content(path)
    if content.startswith(_COMPOUND):
        raise _wrong(path, *_of_compound(content))
    if content.startswith(_ZIP):
        return read_xlsx(str(path), BytesIO(content), wanted, progress)
    if wanted:
        raise _wrong(path, f"a CSV, which has no sheet {wanted!r}", "leave --sheet out")
    if not content.strip():
        raise _wrong(path, "nothing", "give a sheet with a row of headers")
    return read_csv(str(path), content, mapped, progress)


def _content(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(FILE_MAX_BYTES + 1)
    except FileNotFoundError:
        raise _wrong(path, "it does not exist", "name a CSV or XLSX file") from None
    except OSError as error:
        raise unreadable(path, error) from None
    if len(content) > FILE_MAX_BYTES:
        raise _wrong(path, f"more than {FILE_MAX_BYTES // 1_000_000} MB", "split the file")
    return content


def _of_compound(content: bytes) -> tuple[str, str]:
    if _ENCRYPTED in content:
        return "protected by a password", "save it without a password"
    return "an old workbook (.xls)", "save it as XLSX or CSV"


def _wrong(path: Path, found: str, hint: str) -> ConfigError:
    return ConfigError(file=str(path), key="file", found=found, hint=hint)
