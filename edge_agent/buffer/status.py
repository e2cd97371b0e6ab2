"""What the buffer holds and for how long it lasts; also read from outside, while the agent runs or not."""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from edge_agent.buffer.acked import read_acked
from edge_agent.buffer.disk import Disk
from edge_agent.buffer.identity import read_meta
from edge_agent.buffer.kept import read_figures
from edge_agent.buffer.priority import Priority
from edge_agent.buffer.segment import Segment, segment_files
from edge_agent.buffer.unsynced import unsynced_bytes
from telemetry.sample import DataClass

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from edge_agent.buffer.acked import Acked
    from edge_agent.buffer.rates import FlashState

MEASURED: Final = "measured"
KEPT: Final = "kept"
"""Measured, but before: by a run that ended, or up to six hours ago."""
ESTIMATED: Final = "estimated"
"""From the configuration: what the devices may say at most, uncompressed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What is not acknowledged yet in one priority, on disk."""

    batches: int = 0
    values: int = 0
    bytes: int = 0


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
    """How long an outage may last before something is dropped; none if nothing is known of what comes."""
    hours_left_of: dict[str, float] = field(default_factory=dict)
    """The same by priority: what is worth less is dropped before."""
    rate: str | None = None
    """Where the rate behind the hours comes from: `measured`, `kept` or `estimated`."""
    bytes_an_hour: dict[str, float] = field(default_factory=dict)
    held: dict[str, Held] = field(default_factory=dict)
    disk_bytes: int
    """Space taken by files, preallocated space included."""
    max_bytes: int
    disk_error: str | None
    """Why the disk takes nothing at present; what comes is kept in memory, up to a bound."""
    disk_busy_s: float
    """For how long the disk has been at one piece of work: seconds mean that it hangs."""
    flash: FlashState | None = None
    unsynced_bytes: int = 0
    """Read from outside: files of samples that wait until the time is known, preallocated space included."""
    figures_age_s: float | None = None
    """Read from outside: how old what the agent kept of its rate and of `flash` is; the files are read now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hours:
    """The rate behind the hours, and the hours."""

    rate: str | None
    bytes_an_hour: dict[str, float]
    left_of: dict[str, float]

    @property
    def left(self) -> float | None:
        """Until the first thing is dropped."""
        return min(self.left_of.values(), default=None)


def greatest_age_h(max_age_days: Mapping[DataClass, float]) -> float | None:
    """Return how long data may wait that nobody is the subject of; none if there is no limit."""
    days = max_age_days.get(DataClass.OPEN)
    return None if days is None else days * 24


def hours(
    *,
    rates: Mapping[str, Mapping[str, float] | None],
    held: Mapping[str, Held],
    max_bytes: int,
    disk_bytes: int,
    free: int | None,
    max_age_h: float | None,
) -> Hours:
    """Return for how many hours the cap, the free space or the greatest age lasts, by the first of `rates` known."""
    source, rate = next(((name, rate) for name, rate in rates.items() if rate), (None, {}))
    space = max_bytes if free is None else min(max_bytes, free + disk_bytes)
    left: dict[str, float] = {}
    taken = coming = 0.0
    for priority in Priority:
        name = priority.folder
        taken += held[name].bytes if name in held else 0
        coming += rate.get(name, 0.0)
        if coming > 0:
            lasts = max(0.0, (space - taken) / coming)
            left[name] = lasts if max_age_h is None else min(lasts, max_age_h)
    return Hours(rate=source, bytes_an_hour=dict(rate), left_of=left)


def read_status(
    path: Path,
    *,
    max_bytes: int,
    max_age_h: float | None = None,
    estimate: Mapping[str, float] | None = None,
    now_ns: Callable[[], int] = time.time_ns,
) -> BufferStatus:
    """Return what the buffer directory `path` holds on disk; changes nothing, needs no lock.

    What a running agent still has in memory is not in it. Raises OSError if the directory cannot be read.
    """
    meta = read_meta(path / "meta")
    figures = read_figures(path)
    held: dict[str, Held] = {}
    disk_bytes = 0
    oldest: list[int] = []
    for priority in Priority:
        batches = values = size = 0
        acked = read_acked(path / priority.folder / "acked")
        for file in segment_files(path / priority.folder):
            try:
                segment = Segment.open(file, on_damage=lambda *_: None, disk=Disk(), read_only=True)
            except FileNotFoundError:
                continue  # acknowledged and removed just now
            try:
                _take_out(segment, acked)
                disk_bytes += segment.size
                batches += segment.pending.batches
                values += segment.pending.values
                size += segment.pending.bytes
                if segment.pending.batches:
                    oldest.append(segment.oldest_pending_at_ns)
            finally:
                segment.close()
        held[priority.folder] = Held(batches=batches, values=values, bytes=size)
    lasts = hours(
        rates={KEPT: figures.per_hour if figures is not None and figures.measured else None, ESTIMATED: estimate},
        held=held,
        max_bytes=max_bytes,
        disk_bytes=disk_bytes,
        free=shutil.disk_usage(path).free,
        max_age_h=max_age_h,
    )
    batches = sum(one.batches for one in held.values())
    return BufferStatus(
        epoch=meta.epoch if meta is not None else "",
        batches=batches,
        values=sum(one.values for one in held.values()),
        bytes=sum(one.bytes for one in held.values()),
        unsent_batches=batches,
        memory_batches=0,
        oldest_age_s=max(0.0, (now_ns() - min(oldest)) / 1e9) if oldest else None,
        hours_left=lasts.left,
        hours_left_of=lasts.left_of,
        rate=lasts.rate,
        bytes_an_hour=lasts.bytes_an_hour,
        held=held,
        disk_bytes=disk_bytes,
        max_bytes=max_bytes,
        disk_error=None,
        disk_busy_s=0.0,
        flash=figures.flash if figures is not None else None,
        unsynced_bytes=unsynced_bytes(path),
        figures_age_s=max(0.0, (now_ns() - figures.at_ns) / 1e9) if figures is not None else None,
    )


def _take_out(segment: Segment, acked: Acked) -> None:
    """Take out of the segment what is done with."""
    settled, ranges = acked.of(segment)
    if settled is None and not segment.touches(ranges):
        return
    if segment.entries is None:
        segment.load(lambda *_: None, repair=False)
    segment.acknowledge([*ranges, *(settled.ranges if settled is not None else ())])
