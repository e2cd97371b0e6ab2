"""A directory of segments: append, read oldest first, acknowledge, drop. Blocking; used from one thread at a time."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from edge_agent.buffer.acked import AckedLog
from edge_agent.buffer.identity import sync_directory
from edge_agent.buffer.quarantine import quarantine
from edge_agent.buffer.record import HEADER_BYTES, Damage, EncodedBatch, Kind, frame
from edge_agent.buffer.rest import Purged, concerns, encoded, without
from edge_agent.buffer.segment import OVERHEAD_BYTES, SUFFIX, Segment, segment_files
from telemetry.counters import Counters
from telemetry.ranges import to_ranges

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterator, Sequence
    from pathlib import Path

    from edge_agent.buffer.holding import Key
    from edge_agent.buffer.record import Header
    from edge_agent.buffer.rest import Rest, Who
    from edge_agent.buffer.segment import Entry
    from telemetry.batch import Batch
    from telemetry.ranges import Range

FRESH: Final = ".new"
"""A file that is being written to take another's place; what a crash left of one is removed."""
RESET_SHARE: Final = 4
"""An active segment with nothing left in it is replaced once a quarter of it is used."""


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


@dataclass(slots=True, kw_only=True)
class _Sorted:
    """A file's records, as a purge sees them."""

    clean: bool
    """Nothing lies between them: no damaged bytes, in which somebody's rows may stand."""
    found: Purged = field(default_factory=Purged)
    kept: list[bytes] = field(default_factory=list)
    """To stay as they are."""
    rests: list[tuple[Batch, EncodedBatch]] = field(default_factory=list)
    """What is left of a batch, and that batch."""

    def take(self, segment: Segment, header: Header, payload: bytes, rest: Rest, *, pending: bool, young: bool) -> None:
        """Take a batch out. The rest of a young one that was acknowledged is told again: the same points."""
        self.found.batches += 1
        if pending:
            self.found.gone.append((segment.epoch, header.number))
            self.found.samples += rest.samples
            self.found.values += rest.values
        batch = segment.batch_of(header, payload)
        if (pending or young) and rest.batch is not None and batch is not None:
            self.rests.append((rest.batch, batch))


class Stream:
    """An append-only log in segments; memory grows with the segments, not with the batches."""

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
        self._acked = AckedLog(folder / "acked")
        self._cursor = (0, 0)
        self._next_sequence = 1

    def open(self) -> None:
        """Take in what an earlier run left; damage is quarantined and counted, never raised. Raises OSError."""
        self._folder.mkdir(parents=True, exist_ok=True)
        for path in self._folder.glob("*" + FRESH):
            path.unlink()
        for path in segment_files(self._folder):
            self._next_sequence = max(self._next_sequence, int(path.stem) + 1)
            try:
                self._segments.append(Segment.open(path, on_damage=self._on_damage))
            except OSError:
                self.counts.add("buffer.unreadable_segments")
        for epoch, ranges in self._acked.open().items():
            self.acknowledge(epoch, ranges, log=False)
        for segment in self._segments:
            segment.unload()
        self._sweep()

    def append(self, batches: Sequence[EncodedBatch], durable: list[EncodedBatch] | None = None) -> None:
        """Make `batches` durable, in one write and fdatasync where they fit into one segment.

        Raises OSError; what is durable all the same stands in `durable` then.
        """
        durable = [] if durable is None else durable
        waiting: list[EncodedBatch] = []
        room = 0
        for batch in batches:
            size = HEADER_BYTES + len(batch.payload)
            if not waiting or waiting[0].epoch != batch.epoch or room < size:
                self._write(waiting)
                durable += waiting
                waiting = []
                room = self._writable(batch.epoch, size).room
            waiting.append(batch)
            room -= size
        self._write(waiting)
        durable += waiting

    def prepare(self, epoch: str) -> None:
        """Make the next segment while nobody waits for it, once the active one is nearly full. Raises OSError."""
        if self.spare_bytes(epoch):
            self._rotate(epoch, self._segment_bytes)

    def spare_bytes(self, epoch: str) -> int:
        """Return the disk space that `prepare` takes: none if it has nothing to do."""
        active = self._active(epoch)
        return self._segment_bytes if active is None or active.room < self._segment_bytes // 8 else 0

    def growth(self, batches: Sequence[EncodedBatch]) -> int:
        """Return an estimate of the new disk space that appending `batches` takes: none while they fit."""
        size = sum(HEADER_BYTES + len(batch.payload) for batch in batches)
        active = self._active(batches[0].epoch) if batches else None
        if active is not None and active.room >= size:
            return 0
        return -(-size // self._segment_bytes) * self._segment_bytes

    def read(self, skip: Container[tuple[str, int]]) -> EncodedBatch | None:
        """Return the oldest unacknowledged batch after the last one read, leaving out `skip`. Raises OSError."""
        for segment in self._segments:
            if segment.sequence < self._cursor[0] or not segment.pending.batches:
                continue
            start = self._cursor[1] if segment.sequence == self._cursor[0] else 0
            for entry in self._entries(segment):
                if entry.at < start or (segment.epoch, entry.header.number) in skip:
                    continue
                self._cursor = (segment.sequence, entry.end)
                batch = segment.read(entry)
                if batch is not None:
                    return batch
            segment.unload()
        return None

    def rewind(self) -> None:
        """Read from the oldest batch again."""
        self._cursor = (0, 0)

    def acknowledge(self, epoch: str, ranges: Sequence[Range], *, log: bool = True) -> None:
        """Let go of the batches of `epoch` in `ranges`; files with nothing left are removed."""
        for segment in self._segments:
            if segment.epoch != epoch or not segment.touches(ranges):
                continue
            loaded = segment.entries is not None
            if not loaded:
                segment.load(self._on_damage)
            # Only numbers that exist are noted: an acknowledgement's range may reach beyond what was ever sent.
            numbers = segment.acknowledge(ranges)
            if numbers and log:
                self._acked.note(epoch, to_ranges(numbers))
            if not loaded and segment.sequence != self._cursor[0]:
                segment.unload()
        self._sweep()

    def sequences(self) -> list[int]:
        """Return the numbers of all files, oldest first; what cannot be read is opened again. Raises OSError."""
        known = {segment.path for segment in self._segments}
        for path in segment_files(self._folder):
            if path not in known:
                self._segments.append(Segment.open(path, on_damage=self._on_damage))
        self._segments.sort(key=lambda segment: segment.sequence)
        return [segment.sequence for segment in self._segments]

    def purge(self, sequence: int, who: Who, identities: Sequence[Key]) -> Purged | int:
        """Remove the rows of `who` from one file; other people's rows of the same batches get the new `identities`.

        Returns how many identities it needs if there are too few; nothing has changed then. Raises OSError; what was
        done by then stays done, and asking again does the rest.
        """
        segment = next((one for one in self._segments if one.sequence == sequence), None)
        if segment is None:
            return Purged()  # acknowledged or dropped meanwhile
        loaded = segment.entries is not None
        sorted_ = self._sort(segment, who)
        if not sorted_.found.batches and sorted_.clean:
            if not loaded:
                segment.unload()
            return Purged()
        if len(identities) < len(sorted_.rests):
            return len(sorted_.rests)
        if segment.writable:
            segment.seal()
        self.append(
            [
                encoded(rest, of=batch, epoch=epoch, number=number)
                for (rest, batch), (epoch, number) in zip(sorted_.rests, identities, strict=False)
            ]
        )
        self._replace(segment, sorted_.kept)
        sorted_.found.files = 1
        return sorted_.found

    def _sort(self, segment: Segment, who: Who) -> _Sorted:
        """Read the whole file and tell what stays, what goes, and what is left of it."""
        segment.load(self._on_damage)
        records, clean = segment.records()
        sorted_ = _Sorted(clean=clean)
        young_ns = self._now_ns() - self._keep_ns if self._keep_ns else None
        numbers: set[int] = set()
        for header, payload in records:
            if header.kind != Kind.BATCH:
                sorted_.kept.append(frame(header, payload))
                continue
            if header.number in numbers:
                continue  # written again after an error: the same bytes
            numbers.add(header.number)
            pending = header.number in (segment.entries or {})
            young = young_ns is not None and header.oldest_at_ns > young_ns
            rest = without(payload, who) if concerns(header.data_class) else None
            if rest is not None:
                sorted_.take(segment, header, payload, rest, pending=pending, young=young)
            elif pending or young:
                sorted_.kept.append(frame(header, payload))
        return sorted_

    def _replace(self, segment: Segment, kept: Sequence[bytes]) -> None:
        """Put `kept` in place of the file's records; its old bytes are overwritten."""
        if segment not in self._segments:
            return  # nothing was left in it, and making room for the rest has removed it
        place = self._segments.index(segment)
        if kept:
            fresh = Segment.write(
                segment.path.with_suffix(FRESH), epoch=segment.epoch, records=kept, on_damage=self._on_damage
            )
            fresh.take_place_of(segment)
            fresh.unload()
            self._segments[place] = fresh
        else:
            del self._segments[place]
            segment.path.unlink(missing_ok=True)
            sync_directory(self._folder)
        if self._cursor[0] == segment.sequence:
            self._cursor = (segment.sequence, 0)
        segment.shred()

    def maintain(self, *, sync: bool = False) -> None:
        """Write noted acknowledgements (not synced unless asked) and remove files that were kept for a while."""
        self._sweep()
        try:
            self._acked.flush(
                {(segment.epoch, span) for segment in self._segments for span in segment.acked}, sync=sync
            )
        except OSError:
            self.counts.add("buffer.disk_errors")

    def drop_oldest(self) -> bool:
        """Remove the oldest segment, counting what it held; false if there is none."""
        if not self._segments:
            return False
        segment = self._segments.pop(0)
        self.counts.add(f"buffer.dropped_batches.{self.name}", segment.pending.batches)
        self.counts.add(f"buffer.dropped_values.{self.name}", segment.pending.values)
        segment.remove()
        return True

    @property
    def newest_at_ns(self) -> int:
        """Time of the newest batch in any file, acknowledged or not; 0 if there is none."""
        return max((segment.newest_at_ns for segment in self._segments if not segment.empty), default=0)

    def recent_payloads(self, since_ns: int) -> Iterator[bytes]:
        """Yield the payloads of batches, acknowledged or not, not older than `since_ns`. Raises OSError."""
        for segment in self._segments:
            if segment.newest_at_ns >= since_ns and not segment.empty:
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
            spans=tuple((segment.epoch, segment.first, segment.last) for segment in held),
            epochs=frozenset(segment.epoch for segment in self._segments),
            segments=len(self._segments),
        )

    def take_counts(self) -> dict[str, int]:
        """Return what was counted since the last call."""
        counts, self.counts = self.counts, Counters()
        return counts.snapshot()

    def close(self) -> None:
        """Write acknowledgements durably and close all files."""
        self.maintain(sync=True)
        for segment in self._segments:
            segment.close()
        self._segments.clear()
        self._acked.close()

    def _entries(self, segment: Segment) -> list[Entry]:
        if segment.entries is None:
            segment.load(self._on_damage)
        return list(segment.entries.values()) if segment.entries else []

    def _active(self, epoch: str) -> Segment | None:
        last = self._segments[-1] if self._segments else None
        return last if last is not None and last.writable and last.epoch == epoch else None

    def _writable(self, epoch: str, size: int) -> Segment:
        active = self._active(epoch)
        if active is not None and active.room >= size:
            return active
        return self._rotate(epoch, max(self._segment_bytes, size + OVERHEAD_BYTES))

    def _rotate(self, epoch: str, size: int) -> Segment:
        active = self._segments[-1] if self._segments else None
        path = self._folder / f"{self._next_sequence:012d}{SUFFIX}"
        segment = Segment.create(path, epoch=epoch, size=size)
        self._next_sequence += 1
        if active is not None and active.writable:
            active.seal()
            active.unload()
        self._segments.append(segment)
        self._sweep()
        return segment

    def _write(self, batches: Sequence[EncodedBatch]) -> None:
        if batches:
            self._segments[-1].append(batches)

    def _sweep(self) -> None:
        """Remove segments with nothing left in them, but for a hardly used active one and those kept a while."""
        young = self._now_ns() - self._keep_ns
        active = self._segments[-1] if self._segments else None
        removable = [
            segment
            for segment in self._segments
            if not segment.pending.batches
            and not (self._keep_ns and segment.newest_at_ns > young)
            and not (segment is active and segment.writable and segment.used < segment.size // RESET_SHARE)
        ]
        for segment in removable:
            self._segments.remove(segment)
            segment.remove()
        if removable:
            sync_directory(self._folder)

    def _on_damage(self, segment: Segment, damage: Damage, data: bytes, tail: bool) -> None:
        """Count what was lost, keep the bytes for a person to look at."""
        self.counts.add("buffer.torn_tail" if tail else "buffer.corrupt_ranges")
        header = damage.header
        if header is not None and header.kind == Kind.BATCH:
            self.counts.add("buffer.lost_batches")
            self.counts.add("buffer.lost_values", header.values)
        if data.strip(b"\0") and not quarantine(
            self._quarantine, f"{self.name}-{segment.path.stem}-{damage.start}.bin", data
        ):
            self.counts.add("buffer.quarantine_full")
