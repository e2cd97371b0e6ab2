"""Which batches of a stream were acknowledged: a small log beside the segments, written lazily and never waited for.

Losing its end costs nothing but sending those batches again; the ingest knows them. Keeping it apart leaves
sealed segments as they are, so that a start reads their seals only.
"""

from __future__ import annotations

import os
import struct
from typing import TYPE_CHECKING, Final

from edge_agent.buffer.record import Found, Header, Kind, frame, scan
from edge_agent.buffer.segment import EPOCH_BYTES, merge

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from collections.abc import Set as AbstractSet
    from pathlib import Path

    from telemetry.ranges import Range

COMPACT_ABOVE_BYTES: Final = 128 * 1024
_RANGE: Final = struct.Struct("<QQ")


def _encode(epoch: str, ranges: Iterable[Range]) -> bytes:
    return frame(Header(kind=Kind.ACKED), epoch.encode() + b"".join(_RANGE.pack(*span) for span in ranges))


def read_acked(path: Path) -> dict[str, list[Range]]:
    """Return the acknowledged ranges in the log by epoch; damaged records are passed over. Raises OSError."""
    data = path.read_bytes() if path.exists() else b""
    acked: dict[str, list[Range]] = {}
    for item in scan(data):
        if not isinstance(item, Found) or item.header.kind != Kind.ACKED:
            continue
        payload = data[item.payload_at : item.end]
        epoch = payload[:EPOCH_BYTES].decode("ascii", "replace")
        spans = payload[EPOCH_BYTES:]
        ranges = [_RANGE.unpack_from(spans, at) for at in range(0, len(spans) - _RANGE.size + 1, _RANGE.size)]
        acked[epoch] = merge(acked.get(epoch, ()), ranges)
    return acked


class AckedLog:
    """Appends noted ranges; compacts itself to what the segments still need."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._noted: dict[str, list[Range]] = {}
        self._descriptor = -1
        self._size = 0

    def open(self) -> dict[str, list[Range]]:
        """Return the acknowledged ranges by epoch. Raises OSError."""
        self._descriptor = os.open(self._path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        self._size = os.fstat(self._descriptor).st_size
        return read_acked(self._path)

    def note(self, epoch: str, ranges: Sequence[Range]) -> None:
        """Remember ranges for the next flush."""
        self._noted[epoch] = merge(self._noted.get(epoch, ()), ranges)

    def flush(self, needed: AbstractSet[tuple[str, Range]], *, sync: bool) -> None:
        """Append what was noted, or start afresh with what is `needed` when the log is long. Raises OSError."""
        if not self._noted:
            return
        data = b"".join(_encode(epoch, ranges) for epoch, ranges in self._noted.items())
        if not needed or self._size + len(data) > COMPACT_ABOVE_BYTES:
            by_epoch: dict[str, list[Range]] = {}
            for epoch, span in needed:
                by_epoch[epoch] = merge(by_epoch.get(epoch, ()), [span])
            # A crash in between loses acknowledgements, never data.
            os.ftruncate(self._descriptor, 0)
            self._size = 0
            data = b"".join(_encode(epoch, ranges) for epoch, ranges in by_epoch.items())
        os.pwrite(self._descriptor, data, self._size)
        self._size += len(data)
        self._noted.clear()
        if sync:
            os.fdatasync(self._descriptor)

    def close(self) -> None:
        """Close the file."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
