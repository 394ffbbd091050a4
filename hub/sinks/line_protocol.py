"""InfluxDB's line protocol, written so that every receiver reads it alike.

    measurement,tag=value,tag=value field=1i,field=2.5,field="text" 1700000000000

The grammar is one, its readers are not: some end a line at a newline inside a quoted text, some take a
backslash in a tag as itself, some as an escape, and one answers "written" to a line it could not read.
So what readers disagree on never leaves: in tags and measurement a backslash or a control character
becomes `_`, in texts a control character becomes a space. Commas, spaces, equals signs and quotes are
escaped as written in InfluxDB's reference. A field's type comes from the vocabulary and not from the
value at hand, because a receiver refuses a field that is 230 today and 229.9 tomorrow.
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Iterable, Mapping

from hub.model import Value
from hub.points import POINTS, PointType

_INT64_MAX = 2**63 - 1
_FLOAT_MAX = sys.float_info.max
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_NOT_IN_TAG = re.compile(r"[\\\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_TAG_ESCAPES = str.maketrans({",": r"\,", "=": r"\=", " ": r"\ "})
_MEASUREMENT_ESCAPES = str.maketrans({",": r"\,", " ": r"\ "})
_TEXT_ESCAPES = str.maketrans({'"': r"\"", "\\": r"\\"})


def series_key(measurement: str, tags: Iterable[tuple[str, str]]) -> str:
    """The first part of a line: what is measured and whose it is. Empty tags are left out.

    Made once for a device and used for all its lines.
    """
    name = _NOT_IN_TAG.sub("_", measurement).translate(_MEASUREMENT_ESCAPES)
    if not name or name.startswith("#"):  # a line that begins with # is a comment
        name = "_" + name
    return name + "".join(f",{_tag(key)}={_tag(value)}" for key, value in tags if value)


def field_set(values: Mapping[str, Value]) -> str:
    """The second part of a line: the points that may leave the hub; empty when there are none.

    Secret points never leave. A value the protocol cannot say (NaN, infinite, beyond 64 bits, or not of
    its point's type) is left out as well: such a value does not pass the intake in the first place.
    """
    return ",".join(
        f"{name}={text}" for name, value in values.items() if (text := _field(name, value))
    )


def line(series: str, values: Mapping[str, Value], time_ms: int) -> str:
    """One whole line with its time in milliseconds; empty when no point may leave."""
    fields = field_set(values)
    return f"{series} {fields} {time_ms}" if fields else ""


def _tag(text: str) -> str:
    return _NOT_IN_TAG.sub("_", text).translate(_TAG_ESCAPES)


def _field(name: str, value: Value) -> str:
    point = POINTS.get(name)
    if point is None or point.secret:
        return ""
    if point.type is PointType.FLOAT:
        return _float(value)
    if point.type is PointType.INT:
        return _int(value)
    if point.type is PointType.BOOL:
        return ("true" if value else "false") if isinstance(value, bool) else ""
    return _text(value)


def _float(value: Value) -> str:
    if isinstance(value, bool | str) or abs(value) > _FLOAT_MAX:
        return ""
    number = float(value)
    return repr(number) if math.isfinite(number) else ""


def _int(value: Value) -> str:
    if isinstance(value, bool | float | str) or abs(value) > _INT64_MAX:
        return ""
    return f"{value}i"


def _text(value: Value) -> str:
    if not isinstance(value, str):
        return ""
    return '"' + _CONTROL.sub(" ", value).translate(_TEXT_ESCAPES) + '"'
