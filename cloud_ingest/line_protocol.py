r"""InfluxDB line protocol: rows → bytes. In strings `"` and `\` are escaped; names: `escaping.py`."""

from __future__ import annotations

import math
from itertools import groupby
from operator import attrgetter
from typing import TYPE_CHECKING, Final

import msgspec

from cloud_ingest.escaping import field_key

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cloud_ingest.series import Row
    from telemetry.sample import Value

_STRING: Final = str.maketrans({'"': r"\"", "\\": r"\\"})
_MOST_FIELDS: Final = 1024
_MOST_VALUES: Final = 1 << 14
_json: Final = msgspec.json.Encoder()
_EQUALS: Final = bytes.maketrans(b":", b"=")
_IS_PLAIN: Final = attrgetter("plain")


class _Texts(dict[float, str]):
    """Number → `name=number`, made when first asked for; bounded."""

    __slots__ = ("_prefix",)

    def __init__(self, name: str) -> None:
        super().__init__()
        self._prefix = field_key(name) + "="

    def __missing__(self, value: float) -> str:
        if not math.isfinite(value):
            raise ValueError(f"{value} cannot be written in line protocol")
        text = self._prefix + repr(value)
        if value:  # 0.0 and -0.0 are one dictionary key but two values
            if len(self) >= _MOST_VALUES:
                self.clear()
            self[value] = text
        return text


class _Fields(dict[str, _Texts]):
    """Field name → its texts, made when first asked for; bounded."""

    def __missing__(self, name: str) -> _Texts:
        if len(self) >= _MOST_FIELDS:
            self.clear()
        texts = self[name] = _Texts(name)
        return texts


class LineEncoder:
    """Encodes rows; remembers the texts of field and number, bounded, because sensors repeat themselves."""

    __slots__ = ("_fields",)

    def __init__(self) -> None:
        self._fields = _Fields()

    def encode(self, rows: Sequence[Row]) -> bytes:
        """Return one line a row, joined by newlines. Raises ValueError for what cannot be written."""
        lines: list[str] = []
        for plain, run in groupby(rows, _IS_PLAIN):
            alike = list(run)
            lines += (_plain_lines(alike) if plain else None) or self._lines(alike)
        return "\n".join(lines).encode()

    def _lines(self, rows: Sequence[Row]) -> list[str]:
        fields = self._fields
        lines: list[str] = []
        for row, time in zip(rows, _times(rows), strict=True):
            # Only floats share a dictionary: True and 1.0 are one key but two values.
            texts = [
                fields[name][value] if value.__class__ is float else f"{field_key(name)}={_other(value)}"
                for name, value in row.fields.items()
            ]
            lines.append(f"{row.series.key} {','.join(texts)} {time}")
        return lines


def _plain_lines(rows: Sequence[Row]) -> list[str] | None:
    """Return the lines of plain rows, or none if one is not what it says.

    The JSON of all fields differs from line protocol in its punctuation only, and is made in one go.
    """
    fields = _json.encode([row.fields for row in rows])
    if b":null" in fields:  # what JSON has for a number that is none
        return None
    texts = fields.translate(_EQUALS, b'"[{]').decode()[:-1].split("},")
    return [f"{row.series.key} {text} {time}" for row, text, time in zip(rows, texts, _times(rows), strict=True)]


def _times(rows: Sequence[Row]) -> list[str]:
    """Return the rows' times as text: many integers are made text several times faster in one go than one by one."""
    return _json.encode([row.time_ns for row in rows]).decode()[1:-1].split(",")


def _other(value: Value) -> str:
    if value is True:
        return "true"
    if value is False:
        return "false"
    return f'"{str(value).translate(_STRING)}"'
