"""A directory of segments: append, read oldest first, acknowledge, drop. Blocking; used from one thread at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge_agent.buffer.disk import FRESH
from edge_agent.buffer.files import Files
from edge_agent.buffer.rest import Purged, concerns, encoded
from edge_agent.buffer.segment import OVERHEAD_BYTES, SUFFIX, Segment, segment_files
from edge_agent.buffer.sorting import sort
from edge_agent.buffer.totals import record_bytes
from telemetry.ranges import to_ranges

if TYPE_CHECKING:
    from collections.abc import Container, Mapping, Sequence

    from edge_agent.buffer.contents import Entry
    from edge_agent.buffer.holding import Key
    from edge_agent.buffer.record import EncodedBatch
    from edge_agent.buffer.rest import Who
    from telemetry.ranges import Range
    from telemetry.sample import DataClass


class Stream(Files):
    """An append-only log in segments."""

    def append(self, batches: Sequence[EncodedBatch], durable: list[EncodedBatch] | None = None) -> None:
        """Make `batches` durable, in one write and fdatasync where they fit into one segment.

        Raises OSError; what is durable all the same stands in `durable` then.
        """
        durable = [] if durable is None else durable
        waiting: list[EncodedBatch] = []
        room = 0
        for batch in batches:
            size = record_bytes(batch)
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
        """Return the new disk space that appending `batches` takes: none while they fit."""
        active = self._active(batches[0].epoch) if batches else None
        epoch, room = (active.epoch, active.room) if active is not None else ("", 0)
        grown = 0
        for batch in batches:
            size = record_bytes(batch)
            if batch.epoch != epoch or room < size:
                fresh = max(self._segment_bytes, size + OVERHEAD_BYTES)
                epoch, room, grown = batch.epoch, fresh - OVERHEAD_BYTES, grown + fresh
            room -= size
        return grown

    def read(self, skip: Container[tuple[str, int]]) -> EncodedBatch | None:
        """Return the oldest unacknowledged batch after the last one read, leaving out `skip`. Raises OSError."""
        for segment in self._segments:
            if segment.sequence < self._cursor[0] or not segment.pending.batches:
                continue
            start = self._cursor[1] if segment.sequence == self._cursor[0] else 0
            for entry in self._entries(segment):
                if entry.at < start or (segment.epoch, entry.header.number) in skip:
                    continue
                self._move(segment.sequence, entry.end)
                payload = segment.read(entry)
                if payload is None:
                    # What went bad since it was loaded is counted like all damage, and never handed out.
                    self._load(segment, anew=True)
                    return self.read(skip)
                batch = segment.batch_of(entry.header, payload)
                if batch is not None:
                    return batch
            # Where the reader stands it stays loaded: it is asked again and again while the last ones are on their way.
            if segment.sequence != self._cursor[0]:
                segment.unload()
        return None

    def _move(self, sequence: int, at: int) -> None:
        for left in self._segments:
            if left.sequence == self._cursor[0] != sequence:
                left.unload()
        self._cursor = (sequence, at)

    def rewind(self) -> None:
        """Read from the oldest batch again."""
        self._cursor = (0, 0)

    def acknowledge(self, epoch: str, ranges: Sequence[Range]) -> None:
        """Let go of the batches of `epoch` in `ranges`; files with nothing left are removed."""
        for segment in self._segments:
            if segment.epoch != epoch or not segment.touches(ranges):
                continue
            loaded = segment.entries is not None
            self._load(segment)
            # Only numbers that exist are noted: an acknowledgement's range may reach beyond what was ever sent.
            numbers, total = segment.acknowledge(ranges)
            if numbers:
                self._acked.note(segment, to_ranges(numbers), total)
            if not loaded and segment.sequence != self._cursor[0]:
                segment.unload()
        self._sweep()

    def sequences(self) -> list[int]:
        """Return the numbers of all files, oldest first, also of those that could not be read at the start."""
        return [int(path.stem) for path in segment_files(self._folder)]

    def purge(self, sequence: int, who: Who, identities: Sequence[Key], gone: list[Key]) -> Purged | int:
        """Remove the rows of `who` from one file; other people's rows of the same batches get the new `identities`.

        Returns how many identities it needs if there are too few; nothing has changed then. Raises OSError; what was
        done by then stays done, asking again does the rest, and what must not be sent any more stands in `gone`.
        """
        segment = self._segment(sequence)
        if segment is None:
            return Purged()  # acknowledged or dropped meanwhile
        loaded = segment.entries is not None
        self._load(segment, anew=True)
        sorted_ = sort(segment, who, young_ns=self._young_ns)
        if not sorted_.found.batches and sorted_.clean:
            if not loaded:
                segment.unload()
            return Purged()
        if len(identities) < len(sorted_.rests):
            return len(sorted_.rests)
        gone += sorted_.found.gone
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

    def expire(self, limits_ns: Mapping[DataClass, int], skip: Container[Key]) -> None:
        """Drop the batches that are older than their class may wait, but for `skip`; counted. Raises OSError.

        `limits_ns`: the time before which a class's batches are too old. Of people nothing is left in the file either.
        """
        for segment in list(self._segments):
            if not segment.too_old(limits_ns) and not segment.expired:
                continue
            loaded = segment.entries is not None
            self._load(segment)
            old = [
                entry.header
                for entry in (segment.entries or {}).values()
                if entry.header.data_class is not None
                and entry.header.oldest_at_ns < limits_ns.get(entry.header.data_class, entry.header.oldest_at_ns)
                and (segment.epoch, entry.header.number) not in skip
            ]
            if old:
                numbers, total = segment.acknowledge(to_ranges(header.number for header in old))
                self._acked.note(segment, to_ranges(numbers), total)
                self.counts.add(f"buffer.expired_batches.{self.name}", total.batches)
                self.counts.add(f"buffer.expired_values.{self.name}", total.values)
            segment.expired |= any(concerns(header.data_class) for header in old)
            if segment.expired:
                self._rewrite(segment)
            elif not loaded and segment.sequence != self._cursor[0]:
                segment.unload()
        self._sweep()

    def _rewrite(self, segment: Segment) -> None:
        """Leave in the file only what is not done with."""
        sorted_ = sort(segment, None, young_ns=self._young_ns)
        if segment.writable:
            segment.seal()
        self._replace(segment, sorted_.kept)

    def _replace(self, segment: Segment, kept: Sequence[bytes]) -> None:
        """Put `kept` in place of the file's records; its old bytes are overwritten."""
        if segment not in self._segments:
            return  # nothing was left in it, and making room for the rest has removed it
        place = self._segments.index(segment)
        if kept:
            fresh = Segment.write(
                segment.path.with_suffix(FRESH),
                epoch=segment.epoch,
                records=kept,
                disk=self.disk,
                on_damage=self._on_damage,
            )
            try:
                fresh.take_place_of(segment)
            except OSError:
                fresh.close()
                raise
            fresh.unload()
            self._segments[place] = fresh
        else:
            del self._segments[place]
            segment.path.unlink(missing_ok=True)
            self.disk.sync_folder(self._folder)
        if self._cursor[0] == segment.sequence:
            self._cursor = (segment.sequence, 0)
        # What the log says of the file is about the one that is gone.
        self._tell_acked(anew=True)
        segment.shred()

    def maintain(self, *, sync: bool = False) -> None:
        """Write noted acknowledgements (not synced unless asked) and remove files that were kept for a while."""
        self._sweep()
        self._tell_acked(sync=sync)

    def _tell_acked(self, *, sync: bool = False, anew: bool = False) -> None:
        try:
            self._acked.flush(self._segments, sync=sync, anew=anew)
        except OSError:
            # Without it some batches are sent again, which the ingest knows.
            self.counts.add("buffer.disk_errors")

    def drop_oldest(self) -> bool:
        """Remove the oldest segment, counting what it held; false if there is none. Raises OSError: it stays then."""
        if not self._segments:
            return False
        segment = self._segments[0]
        segment.remove()
        del self._segments[0]
        self.counts.add(f"buffer.dropped_batches.{self.name}", segment.pending.batches)
        self.counts.add(f"buffer.dropped_values.{self.name}", segment.pending.values)
        return True

    def close(self) -> None:
        """Write acknowledgements durably and close all files."""
        self.maintain(sync=True)
        for segment in self._segments:
            segment.close()
        self._segments.clear()
        self._acked.close()

    def _segment(self, sequence: int) -> Segment | None:
        """Return the file of that number, opened again if it could not be read before; none if there is none."""
        known = next((one for one in self._segments if one.sequence == sequence), None)
        path = self._folder / f"{sequence:012d}{SUFFIX}"
        if known is not None or not path.exists():
            return known
        again = Segment.open(path, on_damage=self._on_damage, disk=self.disk)
        again.writable = False
        self._segments = sorted([*self._segments, again], key=lambda segment: segment.sequence)
        return again

    def _entries(self, segment: Segment) -> list[Entry]:
        self._load(segment)
        return list(segment.entries.values()) if segment.entries else []

    def _writable(self, epoch: str, size: int) -> Segment:
        active = self._active(epoch)
        if active is not None and active.room >= size:
            return active
        return self._rotate(epoch, max(self._segment_bytes, size + OVERHEAD_BYTES))

    def _rotate(self, epoch: str, size: int) -> Segment:
        active = self._segments[-1] if self._segments else None
        path = self._folder / f"{self._next_sequence:012d}{SUFFIX}"
        self._next_sequence += 1  # also if it fails: a disk that refuses may leave the file there
        segment = Segment.create(path, epoch=epoch, size=size, disk=self.disk, before=active)
        self._segments.append(segment)
        if active is not None and active.writable:
            active.seal()
            active.unload()
        self._sweep()
        return segment

    def _write(self, batches: Sequence[EncodedBatch]) -> None:
        if batches:
            self._segments[-1].append(batches)
