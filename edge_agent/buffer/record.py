"""The record: what one append to the log is made of. Pure: bytes in, records out.

A record is a 48-byte header and a payload. The header has its own checksum, so that the loss of a damaged
payload can be counted exactly; zero bytes are the end of the log.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Final

from edge_agent.buffer.priority import Priority, priority_of
from telemetry.sample import DataClass

if TYPE_CHECKING:
    from collections.abc import Iterator

MAGIC: Final = b"CmB\xe1"
VERSION: Final = 1
# magic, version, kind, class, flags, priority, 3 reserved, number, values, samples, oldest_at_ns, length
_HEAD: Final = struct.Struct("<4sBBBBB3xQIIqI")
_CRCS: Final = struct.Struct("<II")
HEADER_BYTES: Final = _HEAD.size + _CRCS.size
_EVENT: Final = 1
_CLASSES: Final = (DataClass.OPEN, DataClass.GROUP, DataClass.PERSONAL, DataClass.SENSITIVE, DataClass.OPS)
"""Position is the number on disk: only ever append."""


class Kind(IntEnum):
    """What a record is."""

    SEGMENT = 1
    """First of its file; the payload is the epoch of all batches in it, the number is the file's size."""
    BATCH = 2
    ACKED = 3
    """Acknowledged numbers of one epoch."""
    SEAL = 4
    """Totals of a full segment, at the end of its file."""
    SKIP = 5
    """Written over damage that was quarantined and counted, so that it is counted once."""
    TALLY = 6
    """After each group: how many batches and values the file was given up to here."""
    BEFORE = 7
    """Second of its file: what the file with this number, the one before, held when it was closed."""
    SETTLED = 8
    """In the log of acknowledgements: numbers of one file, and how many batches and values of it are done with."""
    GIVEN = 9
    """There too: how many batches and values the file in use was given so far."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodedBatch:
    """A closed batch: its identity is taken and its bytes never change again."""

    epoch: str
    number: int
    data_class: DataClass
    event: bool
    samples: int
    values: int
    """Points of all samples, the bad ones too."""
    oldest_at_ns: int
    """Acquisition of its oldest sample, UTC."""
    payload: bytes

    @property
    def priority(self) -> Priority:
        """What it is worth."""
        return priority_of(self.data_class, event=self.event)


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """What a record's header says."""

    kind: int
    class_code: int = 0
    event: bool = False
    number: int = 0
    values: int = 0
    samples: int = 0
    oldest_at_ns: int = 0
    length: int = 0

    @property
    def data_class(self) -> DataClass | None:
        """The batch's class; none if a newer version wrote one that this version does not know."""
        return _CLASSES[self.class_code] if self.class_code < len(_CLASSES) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A whole record at `start`; its payload is `data[payload_at:end]`."""

    start: int
    end: int
    header: Header

    @property
    def payload_at(self) -> int:
        """Where the payload begins."""
        return self.start + HEADER_BYTES


@dataclass(frozen=True, slots=True, kw_only=True)
class Damage:
    """Bytes that are no record; `header` is what was lost, where that can still be read."""

    start: int
    end: int
    header: Header | None


def frame(header: Header, payload: bytes) -> bytes:
    """Return the record's bytes; the length is the payload's, whatever the header says."""
    priority = 1 if header.event else 0
    head = _HEAD.pack(
        MAGIC,
        VERSION,
        header.kind,
        header.class_code,
        _EVENT if header.event else 0,
        priority,
        header.number,
        header.values,
        header.samples,
        header.oldest_at_ns,
        len(payload),
    )
    crc = zlib.crc32(payload, zlib.crc32(head))
    crc_bytes = crc.to_bytes(4, "little")
    return head + crc_bytes + zlib.crc32(head + crc_bytes).to_bytes(4, "little") + payload


def header_of(batch: EncodedBatch) -> Header:
    """Return the header of a batch's record."""
    return Header(
        kind=Kind.BATCH,
        class_code=_CLASSES.index(batch.data_class),
        event=batch.event,
        number=batch.number,
        values=batch.values,
        samples=batch.samples,
        oldest_at_ns=batch.oldest_at_ns,
        length=len(batch.payload),
    )


def frame_skip(length: int, *, batches: int = 0, values: int = 0) -> bytes:
    """Return a header that makes a reader pass over `length` bytes in all, of which the header is a part.

    `batches` and `values` are what the damage is known to have held.
    """
    head = _HEAD.pack(MAGIC, VERSION, Kind.SKIP, 0, 0, 0, batches, values, 0, 0, length - HEADER_BYTES)
    crc_bytes = bytes(4)
    return head + crc_bytes + zlib.crc32(head + crc_bytes).to_bytes(4, "little")


def read_header(data: bytes, at: int) -> Header | None:
    """Return the header at `at`, or none if no sound one stands there."""
    end = at + HEADER_BYTES
    if end > len(data) or not data.startswith(MAGIC, at):
        return None
    if zlib.crc32(data[at : end - 4]) != int.from_bytes(data[end - 4 : end], "little"):
        return None
    _, version, kind, class_code, flags, _, number, values, samples, oldest_at_ns, length = _HEAD.unpack_from(data, at)
    if version != VERSION:
        return None
    return Header(
        kind=kind,
        class_code=class_code,
        event=bool(flags & _EVENT),
        number=number,
        values=values,
        samples=samples,
        oldest_at_ns=oldest_at_ns,
        length=length,
    )


def sound(data: bytes, at: int, end: int) -> bool:
    """Whether the record at `data[at:end]` is as it was written, by its checksum."""
    expected = int.from_bytes(data[at + _HEAD.size : at + _HEAD.size + 4], "little")
    payload = memoryview(data)[at + HEADER_BYTES : end]
    return zlib.crc32(payload, zlib.crc32(data[at : at + _HEAD.size])) == expected


def _next_header(data: bytes, at: int, end: int) -> int | None:
    while (at := data.find(MAGIC, at, end)) >= 0:
        if read_header(data, at) is not None:
            return at
        at += 1
    return None


def scan(data: bytes) -> Iterator[Found | Damage]:
    """Yield every whole record and every damaged stretch of `data`, in order; ends at zeros that nothing follows.

    What a reader has to pass over is a record too, of kind SKIP.
    """
    at = 0
    while at < len(data):
        header = read_header(data, at)
        end = len(data) if header is None else at + HEADER_BYTES + header.length
        whole = header is not None and end <= len(data)
        if header is not None and whole and (header.kind == Kind.SKIP or sound(data, at, end)):
            yield Found(start=at, end=end, header=header)
            at = end
            continue
        # A sound header ends the damage, also before the length says so: bytes may be missing or too many.
        following = _next_header(data, at + 1, min(end, len(data)) + len(MAGIC) - 1)
        if following is None and not whole:
            end = len(data.rstrip(b"\0")) if header is None else len(data)
            if end > at:
                yield Damage(start=at, end=end, header=header)
            return
        end = end if following is None else following
        damaged = _before_seal(data, at, end) if header is None else end
        if damaged > at:
            yield Damage(start=at, end=damaged, header=header)
        at = end


def _before_seal(data: bytes, at: int, end: int) -> int:
    """Return where damage from `at` ends: a file's unused zeros before its seal are none."""
    following = read_header(data, end)
    return at + len(data[at:end].rstrip(b"\0")) if following is not None and following.kind == Kind.SEAL else end
