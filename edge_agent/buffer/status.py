"""What the buffer holds and for how long it lasts; also read from outside, while the agent runs or not."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from edge_agent.buffer.acked import read_acked
from edge_agent.buffer.identity import read_meta
from edge_agent.buffer.segment import Segment, segment_files

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

STREAMS: Final = ("events", "samples")
"""In the order in which they are drained; under pressure the last is dropped first."""
_HOUR_S: Final = 3600.0
_SLOT_S: Final = 60.0
_MIN_SPAN_S: Final = 30.0
"""A rate over less than this says nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BufferStatus:
    """What is not acknowledged yet, in memory and on disk."""

    epoch: str
    batches: int
    values: int
    bytes: int
    unsent_batches: int
    """Not yet handed to the publisher."""
    memory_batches: int
    """Not on disk (yet)."""
    oldest_age_s: float | None
    hours_left: float | None
    """How long an outage may last at the recent rate before something is dropped; none if that is unknown."""
    disk_bytes: int
    """Space taken by files, preallocated space included."""
    max_bytes: int
    disk_error: str | None
    """Why the disk takes nothing at present; what comes is kept in memory, up to a bound."""
    disk_busy_s: float
    """For how long the disk has been at one piece of work: seconds mean that it hangs."""


class Rate:
    """Bytes an hour, over the last hour."""

    def __init__(self, start: float) -> None:
        self._slots: deque[tuple[float, int]] = deque([(start, 0)], maxlen=int(_HOUR_S / _SLOT_S))

    def add(self, now: float, amount: int) -> None:
        """Count `amount` bytes at loop time `now`."""
        at, total = self._slots[-1]
        if now - at < _SLOT_S:
            self._slots[-1] = (at, total + amount)
        else:
            self._slots.append((now, amount))

    def per_hour(self, now: float) -> float | None:
        """Return the rate; none while too little is known."""
        span = now - self._slots[0][0]
        total = sum(amount for _, amount in self._slots)
        return total / span * _HOUR_S if span >= _MIN_SPAN_S and total else None


def hours_left(*, max_bytes: int, held: int, disk_bytes: int, free: int | None, per_hour: float | None) -> float | None:
    """Return for how many hours the cap, or the free space if that is less, lasts at `per_hour` bytes."""
    if not per_hour:
        return None
    space = max_bytes - held
    if free is not None:
        space = min(space, free + disk_bytes - held)
    return max(0.0, space / per_hour)


def read_status(path: Path, *, max_bytes: int, now_ns: Callable[[], int] = time.time_ns) -> BufferStatus:
    """Return what the buffer directory `path` holds on disk; changes nothing, needs no lock.

    What a running agent still has in memory is not in it. Raises OSError if the directory cannot be read.
    """
    meta = read_meta(path / "meta")
    batches = values = held = disk_bytes = 0
    oldest: list[int] = []
    newest: list[int] = []
    for name in STREAMS:
        acked = read_acked(path / name / "acked")
        for file in segment_files(path / name):
            try:
                segment = Segment.open(file, on_damage=lambda *_: None, read_only=True)
            except FileNotFoundError:
                continue  # acknowledged and removed just now
            try:
                ranges = acked.get(segment.epoch, [])
                if segment.touches(ranges):
                    if segment.entries is None:
                        segment.load(lambda *_: None)
                    segment.acknowledge(ranges)
                disk_bytes += segment.size
                if segment.pending.batches:
                    batches += segment.pending.batches
                    values += segment.pending.values
                    held += segment.pending.bytes
                    oldest.append(segment.oldest_pending_at_ns)
                    newest.append(segment.newest_at_ns)
            finally:
                segment.close()
    span_s = (max(newest) - min(oldest)) / 1e9 if oldest else 0.0
    return BufferStatus(
        epoch=meta.epoch if meta is not None else "",
        batches=batches,
        values=values,
        bytes=held,
        unsent_batches=batches,
        memory_batches=0,
        oldest_age_s=max(0.0, (now_ns() - min(oldest)) / 1e9) if oldest else None,
        hours_left=hours_left(
            max_bytes=max_bytes,
            held=held,
            disk_bytes=disk_bytes,
            free=None,
            per_hour=held / span_s * _HOUR_S if span_s >= _MIN_SPAN_S else None,
        ),
        disk_bytes=disk_bytes,
        max_bytes=max_bytes,
        disk_error=None,
        disk_busy_s=0.0,
    )
