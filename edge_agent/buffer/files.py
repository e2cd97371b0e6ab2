"""A stream's files: taken in at the start, what they lost counted, removed when nothing is left in them."""

from __future__ import annotations

import time
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from edge_agent.buffer.acked import Acked, AckedLog
from edge_agent.buffer.disk import FRESH, Disk
from edge_agent.buffer.quarantine import quarantine
from edge_agent.buffer.segment import Segment, segment_files
from telemetry.counters import Counters

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from edge_agent.buffer.acked import Settled
    from edge_agent.buffer.record import Damage
    from telemetry.ranges import Range

RESET_SHARE: Final = 4
"""An active segment with nothing left in it is replaced once a quarter of it is used..."""
RESET_NS: Final = 12 * 3600 * 1_000_000_000
"""... or nothing was written to it for so long: what is stored elsewhere, of people above all, is not kept here too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamState:
    """A stream's content at one moment; made in its thread, read anywhere."""

    batches: int = 0
    values: int = 0
    bytes: int = 0
    """Unacknowledged records."""
    disk_bytes: int = 0
    """Files, preallocated space included."""
    oldest_at_ns: int | None = None
    spans: tuple[tuple[str, int, int], ...] = ()
    """(epoch, first, last) of each segment that still holds unacknowledged batches."""
    epochs: frozenset[str] = frozenset()
    segments: int = 0


class Files:
    """The files of one folder, oldest first; memory grows with them, not with the batches."""

    def __init__(
        self, folder: Path, *, segment_bytes: int, quarantine_folder: Path, keep_ns: int, now_ns: Callable[[], int]
    ) -> None:
        self.name = folder.name
        self.counts = Counters()
        """Counted in this stream's thread; `take_counts` moves them to the process's own."""
        self._folder = folder
        self._segment_bytes = segment_bytes
        self._quarantine = quarantine_folder
        self._keep_ns = keep_ns
        self._now_ns = now_ns
        self._segments: list[Segment] = []
        self.disk = Disk()
        self._acked = AckedLog(folder / "acked", self.disk)
        self._cursor = (0, 0)
        self._next_sequence = 1

    def open(self) -> None:
        """Take in what an earlier run left; damage is quarantined and counted, never raised. Raises OSError."""
        self._folder.mkdir(parents=True, exist_ok=True)
        for path in self._folder.glob("*" + FRESH):
            path.unlink()
        self._open_segments()
        try:
            acked = self._acked.open()
        except OSError:
            # Without it all is sent again, which the ingest knows.
            self.counts.add("buffer.disk_errors")
            acked = Acked()
        known = [int(path.stem) for path in segment_files(self._folder)]
        self._next_sequence = max([0, *known, *acked.by_sequence, *acked.given]) + 1
        for segment in list(self._segments):
            try:
                given = acked.given.get(segment.sequence)
                if given is not None and not segment.sure and segment.epoch in {given.epoch, ""}:
                    segment.summary.total.raise_to(given.total.batches, given.total.values)
                self._take_in(segment, *acked.of(segment))
            except OSError:
                self.counts.add("buffer.unreadable_segments")
                self._segments.remove(segment)
                segment.close()
        self._shorten()
        self._sweep()

    def _open_segments(self) -> None:
        for path in segment_files(self._folder):
            try:
                segment = Segment.open(path, on_damage=self._on_damage, disk=self.disk)
            except OSError:
                self.counts.add("buffer.unreadable_segments")
                continue
            self._segments.append(segment)
            if segment.cut:
                self.counts.add("buffer.cut_segments")
        for segment, following in pairwise(self._segments):
            if segment.sure or segment.rewritten:
                continue
            if (told := following.before()) is not None and told[0] == segment.sequence:
                segment.believe(told[1])

    def _take_in(self, segment: Segment, settled: Settled | None, ranges: Sequence[Range]) -> None:
        """Take what was done with out of a file that an earlier run left, and count what it has lost since."""
        if settled is not None or segment.touches(ranges):
            if segment.entries is None:
                segment.load(self._on_damage)
            if settled is not None:
                segment.settle(settled.total, settled.ranges)
            segment.acknowledge(ranges)
        if segment.entries is not None:
            self._count_lost(segment)
        segment.unload()

    def _shorten(self) -> None:
        """Close the active file early if it is larger than the settings now let it be."""
        last = self._segments[-1] if self._segments else None
        if last is not None and last.writable and last.size > self._segment_bytes and last.used < last.size // 2:
            try:
                last.cut_and_seal()
            except OSError:
                self.counts.add("buffer.disk_errors")

    @property
    def newest_at_ns(self) -> int:
        """Time of the newest batch in any file, acknowledged or not; 0 if there is none."""
        return max((segment.summary.newest_at_ns for segment in self._segments if not segment.empty), default=0)

    def recent_payloads(self, since_ns: int) -> Iterator[bytes]:
        """Yield the payloads of batches, acknowledged or not, not older than `since_ns`. Raises OSError."""
        for segment in self._segments:
            if segment.summary.newest_at_ns >= since_ns and not segment.empty:
                yield from segment.payloads_since(since_ns)

    def state(self) -> StreamState:
        """Return what the stream holds."""
        held = [segment for segment in self._segments if segment.pending.batches]
        return StreamState(
            batches=sum(segment.pending.batches for segment in held),
            values=sum(segment.pending.values for segment in held),
            bytes=sum(segment.pending.bytes for segment in held),
            disk_bytes=sum(segment.size for segment in self._segments),
            oldest_at_ns=held[0].oldest_pending_at_ns if held else None,
            spans=tuple((segment.epoch, segment.summary.first, segment.summary.last) for segment in held),
            epochs=frozenset(segment.epoch for segment in self._segments),
            segments=len(self._segments),
        )

    def take_counts(self) -> dict[str, int]:
        """Return what was counted since the last call."""
        counts, self.counts = self.counts, Counters()
        return counts.snapshot()

    def _load(self, segment: Segment, *, anew: bool = False) -> None:
        if segment.entries is None or anew:
            segment.load(self._on_damage)
            self._count_lost(segment)

    def _count_lost(self, segment: Segment) -> None:
        lost = segment.lost()
        if lost.batches or lost.values:
            self.counts.add("buffer.lost_batches", lost.batches)
            self.counts.add("buffer.lost_values", lost.values)
            # So that it is counted once.
            self._acked.note(segment, (), lost)

    @property
    def _young_ns(self) -> int | None:
        """Batches from this time on stay for a while, acknowledged or not."""
        return self._now_ns() - self._keep_ns if self._keep_ns else None

    def _active(self, epoch: str) -> Segment | None:
        last = self._segments[-1] if self._segments else None
        return last if last is not None and last.writable and last.epoch == epoch else None

    def _sweep(self) -> None:
        """Remove segments with nothing left in them, but for a hardly used active one and those kept a while."""
        removable = [segment for segment in self._segments if not segment.pending.batches and not self._stays(segment)]
        removed = False
        for segment in removable:
            try:
                segment.remove()
            except OSError:
                # It is tried again; whatever else goes on does not depend on it.
                self.counts.add("buffer.disk_errors")
            else:
                self._segments.remove(segment)
                removed = True
        if removed:
            try:
                self.disk.sync_folder(self._folder)
            except OSError:
                self.counts.add("buffer.disk_errors")

    def _stays(self, segment: Segment) -> bool:
        """Whether a segment with nothing left in it is of use, or has to be overwritten before it goes."""
        young_ns = self._young_ns
        if segment.expired or (young_ns is not None and segment.summary.newest_at_ns > young_ns):
            return True
        if segment is not self._segments[-1] or not segment.writable:
            return False
        aged = not segment.empty and segment.written_at_ns < time.time_ns() - RESET_NS
        return not aged and segment.used < segment.size // RESET_SHARE

    def _on_damage(self, segment: Segment, damage: Damage, data: bytes, tail: bool) -> None:
        """Keep the bytes for a person to look at."""
        self.counts.add("buffer.torn_tail" if tail else "buffer.corrupt_ranges")
        if data.strip(b"\0") and not quarantine(
            self._quarantine, f"{self.name}-{segment.path.stem}-{damage.start}.bin", data, self.disk
        ):
            self.counts.add("buffer.quarantine_full")
