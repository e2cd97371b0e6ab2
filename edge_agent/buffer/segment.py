"""One file of the log: preallocated, appended to while it is active, sealed when it is full, removed when acknowledged.

All methods do blocking I/O and raise OSError; they run in the stream's own thread.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Self

from edge_agent.buffer.contents import REWRITTEN, Contents, Entry
from edge_agent.buffer.disk import Disk, read_all
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
    sound,
)
from edge_agent.buffer.totals import SEAL_BYTES, TALLY_BYTES, Summary, Totals, tally

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

SUFFIX: Final = ".log"
EPOCH_BYTES: Final = 16
OVERHEAD_BYTES: Final = HEADER_BYTES + EPOCH_BYTES + SEAL_BYTES + TALLY_BYTES + SEAL_BYTES
"""Of an otherwise empty file: its header, what it says of the one before, a group's tally, the seal."""
OnDamage = Callable[["Segment", Damage, bytes, bool], None]
"""Told (segment, what, its bytes, whether nothing sound follows) about each damaged stretch, once."""


class Segment(Contents):
    """A file of records under one epoch; its entries are loaded only while needed."""

    def __init__(self, path: Path, *, epoch: str, descriptor: int, size: int, disk: Disk) -> None:
        super().__init__(epoch=epoch)
        self.path = path
        self.sequence = int(path.stem)
        self.size = size
        self.cut = False
        """It is shorter than it was made, and nothing at its end says what it held."""
        self.used = HEADER_BYTES + EPOCH_BYTES
        """Bytes of records in it, acknowledged or not."""
        self._descriptor = descriptor
        self._disk = disk

    @classmethod
    def create(cls, path: Path, *, epoch: str, size: int, disk: Disk, before: Segment | None = None) -> Self:
        """Make an empty, preallocated, durable segment; it remembers what the one `before` it held."""
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(descriptor, 0, size)
            head = frame(Header(kind=Kind.SEGMENT, number=size), epoch.encode())
            if before is not None and len(before.epoch) == EPOCH_BYTES:
                head += before.summary.framed(Kind.BEFORE, before.sequence)
            disk.write(descriptor, head, 0)
            disk.sync_all(descriptor)
            disk.sync_folder(path.parent)
        except OSError:
            os.close(descriptor)
            path.unlink(missing_ok=True)
            raise
        segment = cls(path, epoch=epoch, descriptor=descriptor, size=size, disk=disk)
        segment.writable = True
        segment.used = len(head)
        return segment

    @classmethod
    def write(cls, path: Path, *, epoch: str, records: Sequence[bytes], disk: Disk, on_damage: OnDamage) -> Self:
        """Make a sealed, durable segment of framed records; the folder is not synced. Replaces what is at `path`."""
        size = OVERHEAD_BYTES + sum(len(record) for record in records)
        descriptor = os.open(path, os.O_CREAT | os.O_TRUNC | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            header = frame(Header(kind=Kind.SEGMENT, number=size, samples=REWRITTEN), epoch.encode())
            disk.write(descriptor, b"".join((header, *records)).ljust(size, b"\0"), 0)
            segment = cls(path, epoch=epoch, descriptor=descriptor, size=size, disk=disk)
            segment.load(on_damage)
            segment.seal()
            disk.sync_all(descriptor)
        except OSError:
            os.close(descriptor)
            path.unlink(missing_ok=True)
            raise
        return segment

    @classmethod
    def open(cls, path: Path, *, on_damage: OnDamage, disk: Disk, read_only: bool = False) -> Self:
        """Read an existing segment: its seal if it has one, else all of it; damage is handed to `on_damage`."""
        descriptor = os.open(path, (os.O_RDONLY if read_only else os.O_RDWR) | os.O_CLOEXEC)
        try:
            segment = cls(path, epoch="", descriptor=descriptor, size=os.fstat(descriptor).st_size, disk=disk)
            if not segment._read_seal():
                segment.load(on_damage, repair=not read_only)
                segment.writable = not read_only and len(segment.epoch) == EPOCH_BYTES and segment._space > 0
        except OSError:
            os.close(descriptor)
            raise
        return segment

    @property
    def room(self) -> int:
        """Bytes that can still be appended."""
        return max(0, self._space) if self.writable else 0

    @property
    def written_at_ns(self) -> int:
        """When something was written to it last, by the system's clock."""
        return os.fstat(self._descriptor).st_mtime_ns

    def append(self, batches: Sequence[EncodedBatch]) -> None:
        """Write the batches' records in one go and make them durable; they must fit into `room`.

        After an error the segment takes nothing more: what the disk holds of a failed write is unknown.
        """
        headers = [header_of(batch) for batch in batches]
        records = [frame(header, batch.payload) for header, batch in zip(headers, batches, strict=True)]
        total = Totals()
        total.include(self.summary.total)
        for header in headers:
            total.add(header)
        try:
            self._disk.write(self._descriptor, b"".join((*records, tally(total))), self.used)
            self._disk.sync(self._descriptor)
        except OSError:
            self.writable = False
            raise
        for header, record in zip(headers, records, strict=True):
            self.add(Entry(at=self.used, end=self.used + len(record), header=header))
            self.summary.total.add(header)
            self.used += len(record)
        self.used += TALLY_BYTES

    def seal(self) -> None:
        """Write the totals at the file's end, so that a start need not read all of it; nothing is appended after."""
        self.writable, self.sure = False, True
        self._disk.write(self._descriptor, self.summary.framed(Kind.SEAL), self.size - SEAL_BYTES)

    def cut_and_seal(self) -> None:
        """Give back the space that is not used, and seal what is there."""
        self.size = self.used + SEAL_BYTES
        self.seal()
        os.ftruncate(self._descriptor, self.size)

    def load(self, on_damage: OnDamage, *, repair: bool = True) -> None:
        """Read and check all records; set `entries` and the totals from what is sound, and from what that says."""
        data = read_all(self._descriptor, self.size)
        known, self.pending, self.entries, self.broken = self.summary, Totals(), {}, {}
        self.summary = Summary(epoch=known.epoch)
        self.used = HEADER_BYTES + EPOCH_BYTES
        damages: list[Damage] = []
        counted: set[int] = set()
        for item in scan(data):
            self.used = max(self.used, item.end)
            self.take(item, data, counted)
            if isinstance(item, Damage):
                damages.append(item)
        if self.sure:
            self.summary = known
        for damage in damages if repair else ():
            on_damage(self, damage, data[damage.start : damage.end], damage.end == self.used)
            self._pass_over(damage, counted)
        self.drop(self.acked)

    def read(self, entry: Entry) -> bytes | None:
        """Return the payload at `entry`; none if it is not any more what was written there."""
        record = os.pread(self._descriptor, entry.end - entry.at, entry.at)
        whole = len(record) == entry.end - entry.at and read_header(record, 0) == entry.header
        return record[HEADER_BYTES:] if whole and sound(record, 0, len(record)) else None

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

    def before(self) -> tuple[int, Summary] | None:
        """Return the number of the file before this one and what it held, if this one knows."""
        data = os.pread(self._descriptor, HEADER_BYTES + EPOCH_BYTES + SEAL_BYTES, 0)
        for item in scan(data):
            if isinstance(item, Found) and item.header.kind == Kind.BEFORE:
                return item.header.number, Summary.parse(data[item.payload_at : item.end])
        return None

    def payloads_since(self, oldest_at_ns: int) -> Iterator[bytes]:
        """Yield the payloads of all batches, acknowledged or not, whose oldest sample is not before the time given."""
        data = read_all(self._descriptor, self.size)
        for item in scan(data):
            if isinstance(item, Found) and item.header.kind == Kind.BATCH and item.header.oldest_at_ns >= oldest_at_ns:
                yield data[item.payload_at : item.end]

    def records(self) -> tuple[list[tuple[Header, bytes]], bool]:
        """Return the file's sound batches, and whether damage lies between them, mended or not."""
        data = read_all(self._descriptor, self.size)
        found: list[tuple[Header, bytes]] = []
        at = 0
        clean = True
        for item in scan(data):
            hole = data[at : item.start].strip(b"\0")
            clean = clean and not hole and isinstance(item, Found) and item.header.kind != Kind.SKIP
            at = item.end
            if isinstance(item, Found) and item.header.kind == Kind.BATCH:
                found.append((item.header, data[item.payload_at : item.end]))
        return found, clean and not data[at:].strip(b"\0")

    def take_place_of(self, old: Segment) -> None:
        """Become the file at the old one's path, at once or not at all. The caller shreds the old one."""
        self.path.replace(old.path)
        self.path = old.path
        self._disk.sync_folder(self.path.parent)
        self.acknowledge(old.acked)

    def shred(self) -> None:
        """Overwrite the file, which has no name any more, and close it."""
        shred(self._descriptor, self._disk)

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)

    def remove(self) -> None:
        """Unlink the file and close it; it stays as it is if the disk refuses."""
        self.path.unlink(missing_ok=True)
        self.close()

    @property
    def _space(self) -> int:
        return self.size - SEAL_BYTES - TALLY_BYTES - self.used

    def _read_seal(self) -> bool:
        first = read_header(os.pread(self._descriptor, HEADER_BYTES, 0), 0)
        # A file that grew by accident has its seal where its header says, one that was cut short at its end.
        places = {self.size, first.number if first is not None and first.kind == Kind.SEGMENT else self.size}
        for size in sorted(places, reverse=True):
            data = os.pread(self._descriptor, SEAL_BYTES, max(0, size - SEAL_BYTES))
            found = next(iter(scan(data)), None)
            if isinstance(found, Found) and found.header.kind == Kind.SEAL:
                self.summary, self.sure = Summary.parse(data[found.payload_at : found.end]), True
                self.pending.include(self.summary.total)
                self.entries = None
                self.used = size
                return True
        self.cut = self.size < max(places, default=0) or not self.size
        return False

    def _pass_over(self, damage: Damage, counted: set[int]) -> None:
        """Overwrite counted damage with a record that says so; harmless if the disk refuses."""
        length = damage.end - damage.start
        header, known = damage.header, {}
        # Of a batch that stands elsewhere in the file, sound, nothing was lost.
        if header is not None and header.number in counted and header.number not in (self.entries or {}):
            counted.discard(header.number)
            known = {"batches": 1, "values": header.values} if header.kind == Kind.BATCH else {}
        patch = frame_skip(length, **known) if length >= HEADER_BYTES else bytes(length)
        try:
            self._disk.write(self._descriptor, patch, damage.start)
        except OSError:
            self.writable = False
        if length < HEADER_BYTES and damage.end == self.used:
            self.used = damage.start


def segment_files(folder: Path) -> list[Path]:
    """Return the segments in `folder`, oldest first; anything else that lies there is left alone."""
    return sorted(path for path in folder.glob("*" + SUFFIX) if path.stem.isdecimal())
