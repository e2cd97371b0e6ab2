"""Which batches of a stream are done with: a small log beside the segments, written lazily and never waited for.

Losing its end costs nothing but sending those batches again; the ingest knows them. Keeping it apart leaves
sealed segments as they are, so that a start reads their seals only. It also says how many batches and values of each
file are done with, so that a loss can be told exactly, though the lost cannot be asked whether they were acknowledged.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from edge_agent.buffer.disk import FRESH
from edge_agent.buffer.record import Found, Header, Kind, frame, scan
from edge_agent.buffer.segment import EPOCH_BYTES
from edge_agent.buffer.totals import Totals
from telemetry.ranges import merge

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from edge_agent.buffer.disk import Disk
    from edge_agent.buffer.segment import Segment
    from telemetry.ranges import Range

COMPACT_ABOVE_BYTES: Final = 128 * 1024
_TOTALS: Final = struct.Struct("<QQ")
_RANGE: Final = struct.Struct("<QQ")


@dataclass(slots=True, kw_only=True)
class Settled:
    """What is done with in one file: acknowledged, too old, or counted as lost."""

    epoch: str
    total: Totals = field(default_factory=Totals)
    ranges: list[Range] = field(default_factory=list)


@dataclass(slots=True, kw_only=True)
class Acked:
    """The content of a log."""

    by_epoch: dict[str, list[Range]] = field(default_factory=dict)
    """As the version with two priorities wrote it: without numbers of files."""
    by_sequence: dict[int, Settled] = field(default_factory=dict)
    given: dict[int, Settled] = field(default_factory=dict)
    """What a file held when the log was written last, done with or not; without ranges."""

    def of(self, segment: Segment) -> tuple[Settled | None, list[Range]]:
        """Return what is settled in a file, and ranges of its epoch that were acknowledged besides."""
        settled = self.by_sequence.get(segment.sequence)
        if settled is not None and segment.epoch and settled.epoch != segment.epoch:
            settled = None
        return settled, self.by_epoch.get(segment.epoch, [])


def _encode(sequence: int, settled: Settled, kind: Kind = Kind.SETTLED) -> bytes:
    total = _TOTALS.pack(settled.total.batches, settled.total.values)
    spans = b"".join(_RANGE.pack(*span) for span in settled.ranges)
    epoch = settled.epoch.encode().ljust(EPOCH_BYTES, b"\0")
    return frame(Header(kind=kind, number=sequence), epoch + total + spans)


def _settled(segment: Segment) -> Settled:
    return Settled(epoch=segment.epoch, total=segment.settled, ranges=segment.acked)


def _ranges(spans: bytes) -> list[Range]:
    return [_RANGE.unpack_from(spans, at) for at in range(0, len(spans) - _RANGE.size + 1, _RANGE.size)]


def read_acked(path: Path) -> Acked:
    """Return the log's content; damaged records are passed over. Raises OSError."""
    data = path.read_bytes() if path.exists() else b""
    acked = Acked()
    for item in scan(data):
        if not isinstance(item, Found):
            continue
        payload = data[item.payload_at : item.end]
        epoch, rest = payload[:EPOCH_BYTES].rstrip(b"\0").decode("ascii", "replace"), payload[EPOCH_BYTES:]
        if item.header.kind == Kind.ACKED:
            acked.by_epoch[epoch] = merge(acked.by_epoch.get(epoch, ()), _ranges(rest))
        elif item.header.kind == Kind.SETTLED:
            batches, values = _TOTALS.unpack_from(rest)
            known = acked.by_sequence.get(item.header.number)
            if known is None or known.epoch != epoch:
                known = acked.by_sequence[item.header.number] = Settled(epoch=epoch)
            known.total.include(Totals(batches=batches, values=values))
            known.ranges = merge(known.ranges, _ranges(rest[_TOTALS.size :]))
        elif item.header.kind == Kind.GIVEN:
            batches, values = _TOTALS.unpack_from(rest)
            total = Totals(batches=batches, values=values)
            acked.given[item.header.number] = Settled(epoch=epoch, total=total)
    return acked


class AckedLog:
    """Appends what was noted; compacts itself to what the segments still need."""

    def __init__(self, path: Path, disk: Disk) -> None:
        self._path = path
        self._disk = disk
        self._noted: dict[int, Settled] = {}
        self._descriptor = -1
        self._size = 0
        self._given = b""

    def open(self) -> Acked:
        """Return the log's content. Raises OSError."""
        self._descriptor = os.open(self._path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        self._size = os.fstat(self._descriptor).st_size
        return read_acked(self._path)

    def note(self, segment: Segment, ranges: Sequence[Range], total: Totals) -> None:
        """Remember for the next flush what is done with: numbers, where they are known, and how much."""
        noted = self._noted.get(segment.sequence)
        if noted is None or noted.epoch != segment.epoch:
            noted = self._noted[segment.sequence] = Settled(epoch=segment.epoch)
        noted.total.include(total)
        noted.ranges = merge(noted.ranges, ranges)

    def flush(self, segments: Sequence[Segment], *, sync: bool, anew: bool = False) -> None:
        """Append what was noted; with `anew`, or when the log is long, write all that is needed afresh.

        What the file in use was given is told along with it, and at the end (`sync`) in any case. Raises OSError.
        """
        active = segments[-1] if segments and segments[-1].writable and not segments[-1].empty else None
        given = b""
        if active is not None:
            given = _encode(active.sequence, Settled(epoch=active.epoch, total=active.summary.total), Kind.GIVEN)
        if self._descriptor < 0 or not (self._noted or anew or (sync and given != self._given)):
            return
        data = b"".join(_encode(sequence, settled) for sequence, settled in self._noted.items())
        needed = [segment for segment in segments if segment.acked or segment.settled.batches]
        if not needed:
            os.ftruncate(self._descriptor, 0)
            self._size = 0
            data = b""
        if needed and (anew or self._size + len(data) > COMPACT_ABOVE_BYTES):
            self._write_anew(b"".join(_encode(one.sequence, _settled(one)) for one in needed) + given)
        else:
            self._disk.write(self._descriptor, data + given, self._size)
            self._size += len(data + given)
        self._given = given
        self._noted.clear()
        if sync:
            self._disk.sync(self._descriptor)

    def _write_anew(self, content: bytes) -> None:
        """Replace the log at once or not at all: half of it would have batches sent again."""
        fresh = self._path.with_suffix(FRESH)
        descriptor = os.open(fresh, os.O_CREAT | os.O_TRUNC | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            self._disk.write(descriptor, content, 0)
            fresh.replace(self._path)
        except OSError:
            os.close(descriptor)
            raise
        os.close(self._descriptor)
        self._descriptor, self._size = descriptor, len(content)

    def close(self) -> None:
        """Close the file."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
