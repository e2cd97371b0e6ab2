"""Rates over the last hour and the last day: of what comes in, and of what wears the flash card out. Pure."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Final

from edge_agent.buffer.priority import Priority

HOUR_S: Final = 3600.0
DAY_S: Final = 24 * HOUR_S
MIN_SPAN_S: Final = 30.0
"""A rate over less than this says nothing."""
_SLOTS: Final = 60


class Rate:
    """How much a growing total grew over the last `span_s`, in sixty steps."""

    def __init__(self, start: float, total: float = 0.0, *, span_s: float = HOUR_S) -> None:
        self._span_s = span_s
        self._slots: deque[tuple[float, float]] = deque([(start, total)])
        self._total = total

    def add(self, now: float, amount: float) -> None:
        """Let the total grow by `amount` at loop time `now`."""
        self.reach(now, self._total + amount)

    def reach(self, now: float, total: float) -> None:
        """Note the total at loop time `now`."""
        if now - self._slots[-1][0] >= self._span_s / _SLOTS:
            self._slots.append((now, self._total))
        while len(self._slots) > 1 and self._slots[1][0] <= now - self._span_s:
            self._slots.popleft()
        self._total = total

    def span_s(self, now: float) -> float:
        """Return over how long it looks back."""
        return now - self._slots[0][0]

    def per(self, now: float, seconds: float) -> float | None:
        """Return the growth in `seconds`; none while too little is known."""
        self.reach(now, self._total)
        span_s = self.span_s(now)
        return (self._total - self._slots[0][1]) / span_s * seconds if span_s >= MIN_SPAN_S else None


class Incoming:
    """Bytes of records an hour, by priority: what an outage would bring to disk."""

    def __init__(self, start: float) -> None:
        self._rates = {priority: Rate(start) for priority in Priority}

    def add(self, now: float, priority: Priority, amount: int) -> None:
        """Count the record of a batch."""
        self._rates[priority].add(now, amount)

    def span_s(self, now: float) -> float:
        """Return over how long it looks back."""
        return self._rates[Priority.EVENTS].span_s(now)

    def per_hour(self, now: float) -> dict[str, float] | None:
        """Return bytes an hour by the priority's name; none while too little is known, or when nothing came."""
        rates = {priority.folder: rate.per(now, HOUR_S) for priority, rate in self._rates.items()}
        known = {name: rate for name, rate in rates.items() if rate is not None}
        return known if sum(known.values()) > 0 else None


@dataclass(frozen=True, slots=True, kw_only=True)
class FlashState:
    """What the flash card has to bear; `a_day` and `an_hour` are the last ones, or what was seen, stretched to that."""

    over_s: float = 0.0
    """For how long it was watched: at most a day."""
    written_bytes: int = 0
    """What the buffer handed to the kernel since its start."""
    syncs: int = 0
    written_bytes_a_day: float | None = None
    syncs_an_hour: float | None = None
    process_bytes_a_day: float | None = None
    """What the whole process let the kernel write back: whole pages, without the file system's journal."""
    device_bytes_a_day: float | None = None
    """What reached the block device under the buffer, whoever wrote it; none where the kernel does not tell."""
    budget_bytes_a_day: int = 0


class Flash:
    """Watches what is written."""

    def __init__(self, *, budget_bytes_a_day: int, start: float) -> None:
        self._budget = budget_bytes_a_day
        self._start = start
        self._written = Rate(start, span_s=DAY_S)
        self._syncs = Rate(start)
        self._outside: dict[str, Rate] = {}
        self._totals = (0, 0)

    def note(self, now: float, *, written: int, syncs: int, outside: dict[str, int]) -> None:
        """Note what was written and synced since the start, and the kernel's counters that can be read."""
        self._totals = (written, syncs)
        self._written.reach(now, written)
        self._syncs.reach(now, syncs)
        for name, total in outside.items():
            self._outside.setdefault(name, Rate(now, total, span_s=DAY_S)).reach(now, total)

    def state(self, now: float) -> FlashState:
        """Return what was seen so far."""
        outside = {name: rate.per(now, DAY_S) for name, rate in self._outside.items()}
        return FlashState(
            over_s=self._written.span_s(now),
            written_bytes=self._totals[0],
            syncs=self._totals[1],
            written_bytes_a_day=self._written.per(now, DAY_S),
            syncs_an_hour=self._syncs.per(now, HOUR_S),
            process_bytes_a_day=outside.get("process"),
            device_bytes_a_day=outside.get("device"),
            budget_bytes_a_day=self._budget,
        )
