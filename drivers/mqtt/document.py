"""A JSON document, read strictly, and paths into it. Pure.

What is refused: NaN and Infinity, numbers beyond 64 bits of float, integers of thousands of digits, a key
written twice, text that is not UTF-8, nesting deeper than `DEPTH_MAX`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import msgspec

from hub import Rejected

DEPTH_MAX = 20
_parse = msgspec.json.Decoder().decode


class Missing:
    """What `find` gives where the document has nothing."""


MISSING: Final = Missing()


@dataclass(frozen=True, kw_only=True, slots=True)
class Path:
    """A way into a document: steps from its top or, with `anywhere`, from any object in it."""

    steps: tuple[str | int, ...] = ()
    anywhere: bool = False


def parse_path(text: str) -> Path:
    """The path written as `text`, for example `a.b[0]` or `**.Name.key`; raises ValueError."""
    anywhere = text.startswith("**.")
    steps: list[str | int] = []
    for part in (text[3:] if anywhere else text).split(".") if text else ():
        key, *indexes = part.replace("]", "").split("[")
        if (
            not key
            or "*" in key
            or part.count("[") != part.count("]")
            or not all(i.isdigit() for i in indexes)
        ):
            raise ValueError(
                "write keys with dots between them, [0] for an index: aenergy.by_minute[0]"
            )
        steps.append(key)
        steps.extend(int(index) for index in indexes)
    return Path(steps=tuple(steps), anywhere=anywhere)


def find(document: object, path: Path) -> object:
    """What stands at `path`, MISSING when nothing does."""
    if not path.anywhere:
        return _follow(document, path.steps)
    for part in _objects(document):
        found = _follow(part, path.steps)
        if found is not MISSING:
            return found
    return MISSING


def _follow(document: object, steps: tuple[str | int, ...]) -> object:
    for step in steps:
        if isinstance(step, str) and isinstance(document, dict):
            document = document.get(step, MISSING)
        elif isinstance(step, int) and isinstance(document, list) and step < len(document):
            document = document[step]
        else:
            return MISSING
    return document


def _objects(document: object) -> Iterator[object]:
    """Every object of the document, outer before inner."""
    waiting = [document]
    for part in waiting:  # grows while it is walked; bounded by the size of the document
        if isinstance(part, dict):
            yield part
            waiting.extend(part.values())
        elif isinstance(part, list):
            waiting.extend(part)


def parse_json(payload: bytes) -> object:
    """The document in `payload`; raises Rejected with a short fixed reason."""
    try:
        document = _parse(payload)
    except RecursionError:
        raise Rejected("nested too deep") from None
    except UnicodeDecodeError:
        raise Rejected("not UTF-8") from None
    except msgspec.ValidationError:
        raise Rejected("number too large") from None
    except msgspec.DecodeError:
        raise Rejected("malformed JSON") from None
    keys = _count_keys(document, DEPTH_MAX)
    # As many colons as keys: no key was written twice. More colons may also stand inside texts.
    if payload.count(b":") != keys:
        json.loads(payload, object_pairs_hook=_unique)
    return document


def _count_keys(document: object, depth_left: int) -> int:
    """How many keys all objects of the document have together."""
    if isinstance(document, dict):
        keys, parts = len(document), iter(document.values())
    elif isinstance(document, list):
        keys, parts = 0, iter(document)
    else:
        return 0
    if not depth_left:
        raise Rejected("nested too deep")
    for part in parts:
        if part.__class__ is dict or part.__class__ is list:
            keys += _count_keys(part, depth_left - 1)
    return keys


def _unique(pairs: list[tuple[str, object]]) -> None:
    if len({key for key, _ in pairs}) != len(pairs):
        raise Rejected("duplicate key")
