"""How much a segment holds, in numbers that outlive damage to it. Pure."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Self

from edge_agent.buffer.record import HEADER_BYTES, Header, Kind, frame

if TYPE_CHECKING:
    from edge_agent.buffer.record import EncodedBatch

# batches, values, bytes, first, last, oldest_at_ns, newest_at_ns, epoch
_SEAL: Final = struct.Struct("<QQQQQqq16s")
SEAL_BYTES: Final = HEADER_BYTES + _SEAL.size
TALLY_BYTES: Final = HEADER_BYTES


@dataclass(slots=True, kw_only=True)
class Totals:
    """Batches, their values and their bytes on disk."""

    batches: int = 0
    values: int = 0
    bytes: int = 0

    def add(self, header: Header, sign: int = 1) -> None:
        """Count one batch in (or out, with sign -1)."""
        self.batches += sign
        self.values += sign * header.values
        self.bytes += sign * (HEADER_BYTES + header.length)

    def include(self, other: Totals) -> None:
        """Count others in."""
        self.batches += other.batches
        self.values += other.values
        self.bytes += other.bytes

    def raise_to(self, batches: int, values: int) -> None:
        """Believe a tally that knows of more than was found."""
        self.batches = max(self.batches, batches)
        self.values = max(self.values, values)

    def without(self, *others: Totals) -> Totals:
        """Return what is left when the others are taken out."""
        return Totals(
            batches=max(0, self.batches - sum(other.batches for other in others)),
            values=max(0, self.values - sum(other.values for other in others)),
            bytes=max(0, self.bytes - sum(other.bytes for other in others)),
        )


@dataclass(slots=True, kw_only=True)
class Summary:
    """A segment's content in short: what its seal says, and the next file's record about it."""

    epoch: str
    total: Totals = field(default_factory=Totals)
    """All batches ever written to it, the lost ones too."""
    first: int = 0
    last: int = 0
    oldest_at_ns: int = 0
    newest_at_ns: int = 0

    def note(self, header: Header) -> None:
        """Stretch the limits for one batch; the total is the caller's."""
        if self.newest_at_ns or self.last:
            self.first, self.last = min(self.first, header.number), max(self.last, header.number)
            self.oldest_at_ns = min(self.oldest_at_ns, header.oldest_at_ns)
            self.newest_at_ns = max(self.newest_at_ns, header.oldest_at_ns)
        else:
            self.first = self.last = header.number
            self.oldest_at_ns = self.newest_at_ns = header.oldest_at_ns

    def framed(self, kind: Kind, sequence: int = 0) -> bytes:
        """Return it as a record."""
        total = self.total
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
        return frame(Header(kind=kind, number=sequence), payload)

    @classmethod
    def parse(cls, payload: bytes) -> Self:
        """Return what a record's payload says."""
        batches, values, size, first, last, oldest, newest, epoch = _SEAL.unpack(payload)
        return cls(
            epoch=epoch.decode("ascii", "replace"),
            total=Totals(batches=batches, values=values, bytes=size),
            first=first,
            last=last,
            oldest_at_ns=oldest,
            newest_at_ns=newest,
        )


def tally(total: Totals) -> bytes:
    """Return the record that ends each group: what the file holds up to here, so that what is missing can be told."""
    return frame(Header(kind=Kind.TALLY, number=total.batches, values=total.values & 0xFFFFFFFF), b"")


def record_bytes(batch: EncodedBatch) -> int:
    """Return what a batch takes on disk."""
    return HEADER_BYTES + len(batch.payload)
