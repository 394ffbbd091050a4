"""One table of a TOML file, read key by key; a mistake is raised with its place and the remedy."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Callable, Mapping
from decimal import Decimal
from fractions import Fraction

from hub.errors import ConfigError
from hub.points import Scalar

_DEPTH_MAX = 32
_INT_MIN, _INT_MAX = -(2**63), 2**64 - 1  # what registers hold
_EXPONENT_MAX = 308  # of a float


def toml_document(
    file: str, text: str, *, parse_float: Callable[[str], object] = float
) -> dict[str, object]:
    """The document of a file's text; raises ConfigError for what is no TOML, or is past its bounds.

    Whole numbers are of 64 bits and tables at most 32 deep, so that whoever reads on can show, compare and
    convert whatever was found.
    """
    try:
        document = tomllib.loads(text, parse_float=parse_float)
    except RecursionError:
        raise _no_toml(file, "nested too deep") from None
    except (
        ValueError
    ) as error:  # also of a number with thousands of digits, which is no TOMLDecodeError
        raise _no_toml(file, str(error)) from None
    _check_bounds(file, document)
    return document


def _no_toml(file: str, found: str) -> ConfigError:
    return ConfigError(file=file, key="TOML", found=found, hint="mend the syntax")


def _check_bounds(file: str, document: Mapping[str, object]) -> None:
    level: list[object] = [document]
    for _ in range(_DEPTH_MAX):
        if not level:
            return
        level = [part for item in level for part in _parts(file, item)]
    if level:
        raise _no_toml(file, "nested too deep")


def _parts(file: str, item: object) -> list[object]:
    """What stands in a table or a list; of a number only its bounds are looked at."""
    if isinstance(item, dict):
        return list(item.values())
    if isinstance(item, list):
        return item
    if isinstance(item, int) and not _INT_MIN <= item <= _INT_MAX:
        raise _no_toml(file, "a whole number beyond 64 bits")
    if isinstance(item, Decimal) and item.is_finite() and abs(item.adjusted()) > _EXPONENT_MAX:
        raise _no_toml(file, "a number beyond what a float can be")
    return []


class Table:
    """Entries of a table, taken out one by one; whoever takes them says what would be right.

    Numbers must have been parsed as int and Decimal, so that 0.1 is exactly a tenth. What was not taken
    is what `rest` gives.
    """

    def __init__(self, file: str, path: str, entries: Mapping[str, object]) -> None:
        self._file = file
        self._path = path
        self._left = dict(entries)

    def wrong(self, key: str, found: object, hint: str) -> ConfigError:
        """The error for what was found at `key` of this table."""
        place = ".".join(filter(None, (self._path, key)))
        return ConfigError(file=self._file, key=place, found=f"found {found!r}", hint=hint)

    def text(self, key: str, default: str | None = None) -> str:
        """A text; it must be there and not empty unless there is a default."""
        value = self._left.pop(key, default)
        if value is None:
            raise self.wrong(key, value, "write a text in quotes")
        if not isinstance(value, str) or (default is None and not value):
            raise self.wrong(key, plain(value), "write a text in quotes")
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of texts, empty when absent."""
        value = self._left.pop(key, [])
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise self.wrong(key, plain(value), 'write a list of texts: ["…"]')
        return tuple(value)

    def number(self, key: str) -> Fraction | None:
        """A number, exactly as written; None when absent."""
        value = self._left.pop(key, None)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
            raise self.wrong(key, plain(value), "write a number")
        if not math.isfinite(value):
            raise self.wrong(key, float(value), "write a number")
        return Fraction(str(value))

    def positive(self, key: str, default: float) -> float:
        """A number above 0."""
        value = self.number(key)
        if value is not None and value <= 0:
            raise self.wrong(key, float(value), "write a number above 0")
        return default if value is None else float(value)

    def flag(self, key: str) -> bool:
        """True or false; false when absent."""
        value = self._left.pop(key, False)
        if not isinstance(value, bool):
            raise self.wrong(key, plain(value), "write true or false")
        return value

    def scalar(self, key: str) -> Scalar | None:
        """A number, a text or a flag; None when absent."""
        value = self._left.pop(key, None)
        return None if value is None else self._scalar(key, value)

    def scalars(self, key: str) -> tuple[Scalar, ...]:
        """A list of numbers, texts and flags, empty when absent."""
        value = self._left.pop(key, [])
        if not isinstance(value, list):
            raise self.wrong(key, plain(value), "write a list: [0xFFFF]")
        return tuple(self._scalar(key, item) for item in value)

    def mapping(self, key: str) -> dict[str, Scalar]:
        """A table of numbers, texts and flags, empty when absent."""
        return {name: self._scalar(key, item) for name, item in self.table(key).items()}

    def table(self, key: str) -> Mapping[str, object]:
        """A table, empty when absent."""
        value = self._left.pop(key, {})
        if not isinstance(value, dict):
            raise self.wrong(key, plain(value), "write a table: { … }")
        return value

    def tables(self, key: str) -> dict[str, Mapping[str, object]]:
        """A table of tables, empty when absent."""
        found: dict[str, Mapping[str, object]] = {}
        for name, item in self.table(key).items():
            if not isinstance(item, dict):
                raise self.wrong(f"{key}.{name}", plain(item), "write a table: { … }")
            found[name] = item
        return found

    def list_of_tables(self, key: str) -> list[Table]:
        """A list of tables, empty when absent."""
        value = self._left.pop(key, [])
        if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
            raise self.wrong(key, plain(value), "write a list of tables: [{ … }]")
        path = ".".join(filter(None, (self._path, key)))
        return [Table(self._file, f"{path}[{place}]", item) for place, item in enumerate(value)]

    def has(self, key: str) -> bool:
        """Whether it stands there and nobody has taken it yet."""
        return key in self._left

    def rest(self) -> dict[str, object]:
        """What nobody has taken, for whoever may know it."""
        return {key: plain(value) for key, value in self._left.items()}

    def _scalar(self, key: str, value: object) -> Scalar:
        simple = plain(value)
        if isinstance(simple, bool | int | float | str):
            return simple
        raise self.wrong(key, simple, "write a number, a text, true or false")


def plain(value: object) -> object:
    """The same with floats for Decimals."""
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return value
