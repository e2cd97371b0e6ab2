r"""Names in InfluxDB's line protocol: what it cannot carry unaltered is refused, never changed.

Escaped: in measurements `,` space; in tag keys, tag values and field keys `,` `=` and space.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

_MEASUREMENT: Final = str.maketrans({",": r"\,", " ": r"\ "})
_KEY: Final = str.maketrans({",": r"\,", "=": r"\=", " ": r"\ "})
_FORBIDDEN: Final = ("\n", "\r", "\t", "\0")


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


def field_key(name: str) -> str:
    """Return a field's name, escaped. Raises ValueError for what cannot be written."""
    return _checked(name, "field key").translate(_KEY)
