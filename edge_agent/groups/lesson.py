"""One class in one lesson, pure: readings of its pupils in, at most one class mean a minute out. Time is passed in."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

MINUTE_NS: Final = 60_000_000_000
START_MINUTES: Final = 5
"""So long a small class may take to be complete; then it is those who are there."""
OPEN_MINUTES: Final = 2
"""The minute that is running, and the one before it until it is closed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassMean:
    """What is told of one minute."""

    mean: float
    """Beats per minute, rounded to 1: a mean over pupils, each of whom counts once."""
    pupils: int


@dataclass(slots=True)
class _Mean:
    total: float = 0.0
    readings: int = 0

    @property
    def value(self) -> float:
        return self.total / self.readings


@dataclass(slots=True, kw_only=True)
class ClassLesson:
    """`cells` are those of the whole class list, drawn before the lesson. Nobody moves between cells in a lesson."""

    cells: Sequence[frozenset[str]]
    first_minute: int
    """Minutes count from the epoch; this is the lesson's first."""
    seen_from_start: bool
    """Else a class of one cell is not told: a restart would forget who was in it, and the difference is somebody."""
    told_from: int
    _gathered: frozenset[str] | None = None
    """Of a class of one cell: those who came. Settled once, before anything is told."""
    _minutes: dict[int, dict[str, _Mean]] = field(default_factory=dict)
    _closed: int = -1

    @property
    def members(self) -> frozenset[str]:
        """Everybody on the list that the lesson began with."""
        return frozenset[str]().union(*self.cells)

    def note(self, member: str, minute: int, rate: float, *, now_minute: int) -> bool:
        """Take a plausible reading; false if its minute is told already or has not come, or nobody knows the member."""
        if not (max(self._closed, now_minute - OPEN_MINUTES) < minute <= now_minute):
            return False
        if not any(member in cell for cell in self.cells):
            return False
        mean = self._minutes.setdefault(minute, {}).setdefault(member, _Mean())
        mean.total += rate
        mean.readings += 1
        return True

    def close(self, minute: int) -> ClassMean | None:
        """Return what to tell of `minute`, which is over; minutes are closed in order. None: nothing may be told."""
        self._closed = max(self._closed, minute)
        rates = self._minutes.pop(minute, {})
        for old in [number for number in self._minutes if number < minute]:
            del self._minutes[old]
        told = [member for cell in self.whole_cells(minute, rates) for member in cell]
        if len(told) < self.told_from:
            return None
        # Sorted, so that the sum does not hang on the order of a set.
        mean = sum(rates[member].value for member in sorted(told)) / len(told)
        return ClassMean(mean=float(round(mean)), pupils=len(told))

    def whole_cells(self, minute: int, there: Collection[str]) -> list[frozenset[str]]:
        """Return the cells of which everybody is `there` in `minute`."""
        present = frozenset(there)
        if len(self.cells) > 1:
            return [cell for cell in self.cells if cell <= present]
        if self._gathered is None and self.seen_from_start and len(present) >= self.told_from:
            late = minute - self.first_minute >= START_MINUTES
            self._gathered = present if late or self.members <= present else None
        return [self._gathered] if self._gathered is not None and self._gathered <= present else []
