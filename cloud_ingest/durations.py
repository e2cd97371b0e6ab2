"""Durations as people write them: `90s`, `5m`, `1h`, `7d`."""

from __future__ import annotations

import re
from typing import Final

_FORM: Final = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d|w)")
_LONGEST_NS: Final = (1 << 63) - 1
_UNIT_NS: Final = {
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60_000_000_000,
    "h": 3_600_000_000_000,
    "d": 86_400_000_000_000,
    "w": 604_800_000_000_000,
}


def parse_duration(text: str) -> int:
    """Return nanoseconds, from 1 to about 290 years. Raises ValueError naming the form."""
    found = _FORM.fullmatch(text.strip())
    duration = round(min(float(found[1]) * _UNIT_NS[found[2]], 1e30)) if found else 0
    if duration > _LONGEST_NS:
        raise ValueError(f"{text!r} is longer than 290 years")
    if duration < 1:
        raise ValueError(f"{text!r} is not a duration such as 500ms, 90s, 5m, 1h or 7d")
    return duration
