"""What is on at a time of a local day: the windows of a rule, the lessons of a room."""

from __future__ import annotations

from bisect import bisect_right
from datetime import date
from typing import TYPE_CHECKING, Final, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from datetime import time

Thing = TypeVar("Thing")

_MINUTE_NS: Final = 60 * 1_000_000_000
DAY_NS: Final = 24 * 60 * _MINUTE_NS
_EPOCH_DAY: Final = date(1970, 1, 1).toordinal()
_END_NS: Final = 2**63

Span = tuple[int, int, Thing]
"""Start and end (exclusive) in nanoseconds since the local midnight, and what is on then."""


class Timeline(Generic[Thing]):
    """Answers `at`; it is mostly asked for now, so the answer is kept as long as it holds."""

    def __init__(self, spans: Callable[[date], Iterable[Span[Thing]]], *, offset_minutes: int) -> None:
        self._spans = spans
        self._offset_ns = offset_minutes * _MINUTE_NS
        self._since = self._until = 0
        self._on: tuple[Thing, ...] = ()

    def at(self, at_ns: int) -> tuple[Thing, ...]:
        """Return what is on at UTC `at_ns`; nothing at a time that no calendar has."""
        if self._since <= at_ns < self._until:
            return self._on
        if not 0 <= at_ns < _END_NS:
            return ()
        day, of_day = divmod(at_ns + self._offset_ns, DAY_NS)
        spans = list(self._spans(date.fromordinal(_EPOCH_DAY + day)))
        edges = sorted({0, DAY_NS, *(edge for start, end, _ in spans for edge in (start, end))})
        index = bisect_right(edges, of_day)
        midnight = day * DAY_NS - self._offset_ns
        self._on = tuple(thing for start, end, thing in spans if start <= of_day < end)
        self._since, self._until = midnight + edges[index - 1], midnight + edges[index]
        return self._on


def minutes_ns(minutes: int) -> int:
    """Return minutes in nanoseconds."""
    return minutes * _MINUTE_NS


def since_midnight(moment: time) -> int:
    """Return the nanoseconds since midnight."""
    return minutes_ns(moment.hour * 60 + moment.minute) + (moment.second * 1_000_000 + moment.microsecond) * 1000
