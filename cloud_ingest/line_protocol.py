r"""InfluxDB line protocol: rows → bytes. What the protocol cannot carry unaltered is refused, never changed.

Escaped: in measurements `,` space; in tag keys, tag values and field keys `,` `=` and space; in strings `"` and `\`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from cloud_ingest.rows import Row
    from telemetry.sample import Value

_MEASUREMENT: Final = str.maketrans({",": r"\,", " ": r"\ "})
_KEY: Final = str.maketrans({",": r"\,", "=": r"\=", " ": r"\ "})
_STRING: Final = str.maketrans({'"': r"\"", "\\": r"\\"})
_FORBIDDEN: Final = ("\n", "\r", "\t", "\0")
_CACHE_SIZE: Final = 1 << 16


def _checked(text: str, what: str) -> str:
    # A backslash before the separator would escape it, and a line break would end the line: neither can be written.
    if not text or text.endswith("\\") or any(character in text for character in _FORBIDDEN):
        raise ValueError(f"{what} {text!r} cannot be written in line protocol")
    return text


def series_key(measurement: str, tags: Sequence[tuple[str, str]]) -> str:
    """Return `measurement,tag=value…` with tags in the order given. Raises ValueError for what cannot be written."""
    if measurement.startswith("#"):
        raise ValueError(f"measurement {measurement!r} would be a comment in line protocol")
    parts = [_checked(measurement, "measurement").translate(_MEASUREMENT)]
    parts += [
        f"{_checked(key, 'tag key').translate(_KEY)}={_checked(value, 'tag value').translate(_KEY)}"
        for key, value in tags
    ]
    return ",".join(parts)


class LineEncoder:
    """Encodes rows; remembers field keys and float texts, both bounded, because sensors repeat themselves."""

    __slots__ = ("_floats", "_keys")

    def __init__(self) -> None:
        self._keys: dict[str, str] = {}
        self._floats: dict[float, str] = {}

    def encode(self, rows: Iterable[Row]) -> bytes:
        """Return one line a row, joined by newlines. Raises ValueError for what cannot be written."""
        keys = self._keys.get
        floats = self._floats.get
        lines: list[str] = []
        for row in rows:
            fields = [
                (keys(name) or self._key(name))
                + ((floats(value) or self._float(value)) if value.__class__ is float else _other(value))
                for name, value in row.fields.items()
            ]
            lines.append(f"{row.series.key} {','.join(fields)} {row.time_ns}")
        return "\n".join(lines).encode()

    def _key(self, name: str) -> str:
        text = _checked(name, "field key").translate(_KEY) + "="
        if len(self._keys) >= _CACHE_SIZE:
            self._keys.clear()
        self._keys[name] = text
        return text

    def _float(self, value: float) -> str:
        if not math.isfinite(value):
            raise ValueError(f"{value} cannot be written in line protocol")
        text = repr(value)
        if value:  # 0.0 and -0.0 are one dictionary key but two values
            if len(self._floats) >= _CACHE_SIZE:
                self._floats.clear()
            self._floats[value] = text
        return text


def _other(value: Value) -> str:
    if value is True:
        return "true"
    if value is False:
        return "false"
    return f'"{str(value).translate(_STRING)}"'
