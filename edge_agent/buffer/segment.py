"""One file of the log: preallocated, appended to while it is active, sealed when it is full, removed when acknowledged.

All methods do blocking I/O and raise OSError; they run in the stream's own thread.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

from edge_agent.buffer.identity import sync_directory
from edge_agent.buffer.quarantine import shred
from edge_agent.buffer.record import (
    HEADER_BYTES,
    Damage,
    EncodedBatch,
    Found,
    Header,
    Kind,
    frame,
    frame_skip,
    header_of,
    read_header,
    scan,
)
from telemetry.batch import peek_identity
from telemetry.ranges import Range, numbers_in, to_ranges

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

SUFFIX: Final = ".log"
# batches, values, bytes, first, last, oldest_at_ns, newest_at_ns, epoch
_SEAL: Final = struct.Struct("<QQQQQqq16s")
SEAL_BYTES: Final = HEADER_BYTES + _SEAL.size
EPOCH_BYTES: Final = 16
OVERHEAD_BYTES: Final = HEADER_BYTES + EPOCH_BYTES + SEAL_BYTES
OnDamage = Callable[["Segment", Damage, bytes, bool], None]
"""Told (segment, what, its bytes, whether nothing sound follows) about each damaged stretch, once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """Where an unacknowledged batch stands in its file, and what it holds."""

    at: int
    end: int
    header: Header


@dataclass(slots=True, kw_only=True)
class Totals:
    """What a segment holds, or still holds."""

    batches: int = 0
    values: int = 0
    bytes: int = 0

    def add(self, header: Header, sign: int = 1) -> None:
        """Count one batch in (or out, with sign -1)."""
        self.batches += sign
        self.values += sign * header.values
        self.bytes += sign * (HEADER_BYTES + header.length)


class Segment:
    """A file of records under one epoch; `entries` are its unacknowledged batches, loaded only while needed."""

    def __init__(self, path: Path, *, epoch: str, descriptor: int, size: int) -> None:
        self.path = path
        self.epoch = epoch
        self.sequence = int(path.stem)
        self.size = size
        self.pending = Totals()
        """Unacknowledged content."""
        self.first = self.last = 0
        self.oldest_at_ns = self.newest_at_ns = 0
        self.entries: dict[int, Entry] | None = {}
        self.acked: list[Range] = []
        self.writable = False
        self._total = Totals()
        self._descriptor = descriptor
        self._end = HEADER_BYTES + EPOCH_BYTES

    @classmethod
    def create(cls, path: Path, *, epoch: str, size: int) -> Self:
        """Make an empty, preallocated, durable segment."""
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(descriptor, 0, size)
            os.pwrite(descriptor, frame(Header(kind=Kind.SEGMENT, number=size), epoch.encode()), 0)
            os.fsync(descriptor)
            sync_directory(path.parent)
        except OSError:
            os.close(descriptor)
            path.unlink(missing_ok=True)
            raise
        segment = cls(path, epoch=epoch, descriptor=descriptor, size=size)
        segment.writable = True
        return segment

    @classmethod
    def write(cls, path: Path, *, epoch: str, records: Sequence[bytes], on_damage: OnDamage) -> Self:
        """Make a sealed, durable segment of framed records; the folder is not synced. Replaces what is at `path`."""
        size = OVERHEAD_BYTES + sum(len(record) for record in records)
        descriptor = os.open(path, os.O_CREAT | os.O_TRUNC | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            header = frame(Header(kind=Kind.SEGMENT, number=size), epoch.encode())
            _write_all(descriptor, b"".join((header, *records, bytes(SEAL_BYTES))), 0)
            segment = cls(path, epoch=epoch, descriptor=descriptor, size=size)
            segment.load(on_damage)
            segment.seal()
            os.fsync(descriptor)
        except OSError:
            os.close(descriptor)
            path.unlink(missing_ok=True)
            raise
        return segment

    @classmethod
    def open(cls, path: Path, *, on_damage: OnDamage, read_only: bool = False) -> Self:
        """Read an existing segment: its seal if it has one, else all of it; damage is handed to `on_damage`."""
        descriptor = os.open(path, (os.O_RDONLY if read_only else os.O_RDWR) | os.O_CLOEXEC)
        try:
            segment = cls(path, epoch="", descriptor=descriptor, size=os.fstat(descriptor).st_size)
            if not segment._read_seal():
                segment.load(on_damage)
                segment.writable = not read_only and segment._end + SEAL_BYTES < segment.size
        except OSError:
            os.close(descriptor)
            raise
        return segment

    @property
    def room(self) -> int:
        """Bytes that can still be appended."""
        return self.size - SEAL_BYTES - self._end if self.writable else 0

    @property
    def used(self) -> int:
        """Bytes of records in it, acknowledged or not."""
        return self._end

    @property
    def oldest_pending_at_ns(self) -> int:
        """Time of the oldest unacknowledged sample; of the oldest at all while the entries are not loaded."""
        first = next(iter(self.entries.values()), None) if self.entries else None
        return first.header.oldest_at_ns if first else self.oldest_at_ns

    @property
    def empty(self) -> bool:
        """Whether no batch was ever written to it."""
        return not self._total.batches

    def append(self, batches: Sequence[EncodedBatch]) -> None:
        """Write the batches' records in one go and make them durable; they must fit into `room`.

        After an error the segment takes nothing more: what the disk holds of a failed write is unknown.
        """
        headers = [header_of(batch) for batch in batches]
        framed = b"".join(frame(header, batch.payload) for header, batch in zip(headers, batches, strict=True))
        try:
            _write_all(self._descriptor, framed, self._end)
            os.fdatasync(self._descriptor)
        except OSError:
            self.writable = False
            raise
        for header in headers:
            end = self._end + HEADER_BYTES + header.length
            self._add(Entry(at=self._end, end=end, header=header))
            self._end = end

    def seal(self) -> None:
        """Write the totals at the file's end, so that a start need not read all of it; nothing is appended after."""
        self.writable = False
        total = self._total
        payload = _SEAL.pack(
            total.batches,
            total.values,
            total.bytes,
            self.first,
            self.last,
            self.oldest_at_ns,
            self.newest_at_ns,
            self.epoch.encode(),
        )
        _write_all(self._descriptor, frame(Header(kind=Kind.SEAL), payload), self.size - SEAL_BYTES)

    def load(self, on_damage: OnDamage) -> None:
        """Read and check all records; set `entries` and the totals from what is sound."""
        data = self._read_records()
        self._total, self.pending = Totals(), Totals()
        self.first = self.last = 0
        self.entries = {}
        damages: list[Damage] = []
        self._end = HEADER_BYTES + EPOCH_BYTES
        for item in scan(data):
            self._end = max(self._end, item.end)
            if isinstance(item, Damage):
                damages.append(item)
            elif item.header.kind == Kind.SEGMENT:
                self.epoch = data[item.payload_at : item.end].decode("ascii", "replace")
            elif item.header.kind == Kind.BATCH and item.header.number not in self.entries:
                if not self.epoch:
                    identity = peek_identity(data[item.payload_at : item.end])
                    self.epoch = identity[0] if identity else ""
                self._add(Entry(at=item.start, end=item.end, header=item.header))
        for damage in damages:
            tail = damage.end == self._end
            on_damage(self, damage, data[damage.start : damage.end], tail)
            self._pass_over(damage)
        acked, self.acked = self.acked, []
        self.acknowledge(acked)

    def unload(self) -> None:
        """Forget the entries until they are needed again."""
        if not self.writable:
            self.entries = None

    def touches(self, ranges: Iterable[Range]) -> bool:
        """Whether `ranges` may name a batch in here that is not acknowledged yet."""
        return self.pending.batches > 0 and any(first <= self.last and last >= self.first for first, last in ranges)

    def acknowledge(self, ranges: Sequence[Range]) -> list[int]:
        """Take the batches in `ranges` out; return their numbers. The entries must be loaded."""
        if self.entries is None:  # pragma: no cover - the stream loads first
            raise AssertionError(self.path)
        numbers = list(numbers_in(ranges, among=list(self.entries)))
        for number in numbers:
            self.pending.add(self.entries.pop(number).header, -1)
        # Ranges that were known before stay known: the entries of a reloaded segment are filtered by them.
        if numbers:
            self.acked = merge(self.acked, to_ranges(numbers))
        return numbers

    def read(self, entry: Entry) -> EncodedBatch | None:
        """Return the batch at `entry`; none if its class is one that this version does not know."""
        at = entry.at + HEADER_BYTES
        return self.batch_of(entry.header, os.pread(self._descriptor, entry.end - at, at))

    def batch_of(self, header: Header, payload: bytes) -> EncodedBatch | None:
        """Return the batch of a record; none if its class is one that this version does not know."""
        data_class = header.data_class
        if data_class is None:
            return None
        return EncodedBatch(
            epoch=self.epoch,
            number=header.number,
            data_class=data_class,
            event=header.event,
            samples=header.samples,
            values=header.values,
            oldest_at_ns=header.oldest_at_ns,
            payload=payload,
        )

    def payloads_since(self, oldest_at_ns: int) -> Iterator[bytes]:
        """Yield the payloads of all batches, acknowledged or not, whose oldest sample is not before the time given."""
        data = self._read_records()
        for item in scan(data):
            if isinstance(item, Found) and item.header.kind == Kind.BATCH and item.header.oldest_at_ns >= oldest_at_ns:
                yield data[item.payload_at : item.end]

    def records(self) -> tuple[list[tuple[Header, bytes]], bool]:
        """Return the file's sound records but the first, and whether anything else lies between them."""
        data = self._read_records()
        found: list[tuple[Header, bytes]] = []
        at = 0
        clean = True
        for item in scan(data):
            clean = clean and item.start == at and isinstance(item, Found)
            at = item.end
            if isinstance(item, Found) and item.header.kind != Kind.SEGMENT:
                found.append((item.header, data[item.payload_at : item.end]))
        return found, clean and not data[at:].strip(b"\0")

    def take_place_of(self, old: Segment) -> None:
        """Become the file at the old one's path, at once or not at all. The caller shreds the old one."""
        self.path.replace(old.path)
        self.path = old.path
        sync_directory(self.path.parent)
        if self.entries is None:  # pragma: no cover - it was written a moment ago
            raise AssertionError(self.path)
        self.acknowledge(old.acked)

    def shred(self) -> None:
        """Overwrite the file, which has no name any more, and close it."""
        shred(self._descriptor)

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)

    def remove(self) -> None:
        """Close and unlink the file."""
        self.close()
        self.path.unlink(missing_ok=True)

    def _add(self, entry: Entry) -> None:
        header = entry.header
        if self.entries is not None and header.number in self.entries:
            return  # written again after an error: the same bytes
        if self._total.batches:
            self.first, self.last = min(self.first, header.number), max(self.last, header.number)
            self.oldest_at_ns = min(self.oldest_at_ns, header.oldest_at_ns)
            self.newest_at_ns = max(self.newest_at_ns, header.oldest_at_ns)
        else:
            self.first = self.last = header.number
            self.oldest_at_ns = self.newest_at_ns = header.oldest_at_ns
        self._total.add(header)
        self.pending.add(header)
        if self.entries is not None:
            self.entries[header.number] = entry

    def _read_seal(self) -> bool:
        at = self.size - SEAL_BYTES
        data = os.pread(self._descriptor, SEAL_BYTES, max(0, at))
        found = next(iter(scan(data)), None)
        if not isinstance(found, Found) or found.header.kind != Kind.SEAL:
            return False
        batches, values, size, self.first, self.last, self.oldest_at_ns, self.newest_at_ns, epoch = _SEAL.unpack(
            data[found.payload_at : found.end]
        )
        self.epoch = epoch.decode("ascii", "replace")
        self._total = Totals(batches=batches, values=values, bytes=size)
        self.pending = Totals(batches=batches, values=values, bytes=size)
        self.entries = None
        self._end = at
        return True

    def _read_records(self) -> bytes:
        data = _read_all(self._descriptor, self.size)
        first = read_header(data, 0)
        # A file that was cut short has no room for a seal at its end; only the first header knows.
        capacity = first.number if first is not None and first.kind == Kind.SEGMENT else self.size
        return data[: capacity - SEAL_BYTES]

    def _pass_over(self, damage: Damage) -> None:
        """Overwrite counted damage with a record that says so; harmless if the disk refuses."""
        length = damage.end - damage.start
        patch = frame_skip(length) if length >= HEADER_BYTES else bytes(length)
        try:
            os.pwrite(self._descriptor, patch, damage.start)
        except OSError:
            self.writable = False
        if length < HEADER_BYTES and damage.end == self._end:
            self._end = damage.start


def segment_files(folder: Path) -> list[Path]:
    """Return the segments in `folder`, oldest first; anything else that lies there is left alone."""
    return sorted(path for path in folder.glob("*" + SUFFIX) if path.stem.isdecimal())


def merge(old: Iterable[Range], new: Iterable[Range]) -> list[Range]:
    """Return the union of two sets of ranges, sorted and disjoint."""
    merged: list[Range] = []
    for first, last in sorted([*old, *new]):
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(merged[-1][1], last))
        else:
            merged.append((first, last))
    return merged


def _write_all(descriptor: int, data: bytes, at: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(descriptor, view, at)
        view, at = view[written:], at + written


def _read_all(descriptor: int, size: int) -> bytes:
    parts: list[bytes] = []
    at = 0
    while at < size and (part := os.pread(descriptor, size - at, at)):
        parts.append(part)
        at += len(part)
    return b"".join(parts)
