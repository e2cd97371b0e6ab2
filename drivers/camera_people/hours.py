"""Hours of a week as an option says them, pure: "Mon-Fri 07:30-17:30; Sat 08:00-12:00" by the gateway's own clock."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from datetime import datetime

DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_SPAN: Final = re.compile(r"(\w{3})(?:-(\w{3}))?\s+(\d\d):(\d\d)-(\d\d):(\d\d)")
_DAY_MINUTES: Final = 24 * 60
_HOUR_MINUTES: Final = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """The same hours on some days."""

    days: frozenset[int]
    """0 is Monday."""
    from_minute: int
    until_minute: int
    """This minute is not in it any more; at most 24:00."""


def parse_hours(text: str) -> tuple[Span, ...]:
    """Return the spans in `text`, parted by `;`. Raises ValueError with what is wrong."""
    return tuple(_span(part.strip()) for part in text.split(";") if part.strip())


def within(spans: tuple[Span, ...], at: datetime) -> bool:
    """Tell whether `at`, local time, lies in one of `spans`; without any it always does."""
    minute = at.hour * _HOUR_MINUTES + at.minute
    return not spans or any(
        at.weekday() in span.days and span.from_minute <= minute < span.until_minute for span in spans
    )


def _span(text: str) -> Span:
    found = _SPAN.fullmatch(text)
    mend = 'write it as "Mon-Fri 07:30-17:30"'
    if found is None:
        raise ValueError(f"{text!r} is no span of hours: {mend}")
    first, last = (name.capitalize() for name in (found[1], found[2] or found[1]))
    if first not in DAYS or last not in DAYS:
        raise ValueError(f"{text!r}: days are {', '.join(DAYS)}")
    one, other = DAYS.index(first), DAYS.index(last)
    days = range(one, other + 1) if one <= other else [*range(one, len(DAYS)), *range(other + 1)]
    begin, end = (int(found[at]) * _HOUR_MINUTES + int(found[at + 1]) for at in (3, 5))
    if not 0 <= begin < end <= _DAY_MINUTES or max(int(found[4]), int(found[6])) >= _HOUR_MINUTES:
        raise ValueError(f"{text!r}: the end comes after the begin, on the same day: {mend}")
    return Span(days=frozenset(days), from_minute=begin, until_minute=end)
