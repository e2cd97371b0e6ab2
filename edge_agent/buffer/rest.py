"""What is left of a batch without some people's rows. Pure: payload in, batch out."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import msgspec

from edge_agent.buffer.record import EncodedBatch
from telemetry.batch import decode_batch, encode_batch, pack, unpack
from telemetry.errors import ProtocolError
from telemetry.sample import PERSON_CLASSES

if TYPE_CHECKING:
    from edge_agent.buffer.holding import Key
    from telemetry.batch import Batch, BatchSample
    from telemetry.sample import DataClass

Who = Callable[[str], bool]
"""Whether a handle is one of those whose rows go."""
_HANDLE: Final = re.compile(rb'"([0-9a-f]{32})"')


@dataclass(slots=True, kw_only=True)
class Purged:
    """What a purge found."""

    samples: int = 0
    values: int = 0
    batches: int = 0
    """Batches that held something of theirs."""
    files: int = 0
    """Files that were rewritten or removed."""
    gone: list[Key] = field(default_factory=list)
    """Identities that must not be sent (again)."""

    def add(self, other: Purged) -> None:
        """Add what another part found."""
        self.samples += other.samples
        self.values += other.values
        self.batches += other.batches
        self.files += other.files
        self.gone += other.gone


@dataclass(frozen=True, slots=True, kw_only=True)
class Rest:
    """A batch that held rows of theirs."""

    batch: Batch | None
    """What is left of it; none if nothing is, or if nobody can tell the rows apart."""
    samples: int
    values: int
    """Purged, the bad ones too."""


def concerns(data_class: DataClass | None) -> bool:
    """Whether a batch of the class may hold people's rows; one of a class that this version does not know may."""
    return data_class is None or data_class in PERSON_CLASSES


def without(payload: bytes, who: Who) -> Rest | None:
    """Return what is left of a batch without the rows of `who`; none if it holds nothing of theirs."""
    try:
        plain = unpack(payload)
    except ProtocolError:
        return None  # its checksum fits: bytes of another version, compressed in a way that this one cannot read
    if not any(who(handle.decode()) for handle in set(_HANDLE.findall(plain))):
        return None
    try:
        batch = decode_batch(plain)
    except ProtocolError:
        # Of another version: the rows cannot be told apart, and theirs must go.
        return Rest(batch=None, samples=0, values=0)
    devices = []
    samples = values = 0
    for block in batch.devices:
        kept = [sample for sample in block.samples if sample.subject is None or not who(sample.subject)]
        samples += len(block.samples) - len(kept)
        values += _values(block.samples) - _values(kept)
        if kept:
            devices.append(msgspec.structs.replace(block, samples=kept))
    left = msgspec.structs.replace(batch, devices=devices) if devices and samples else None
    return Rest(batch=left, samples=samples, values=values)


def encoded(rest: Batch, *, of: EncodedBatch, epoch: str, number: int) -> EncodedBatch:
    """Return the rest of batch `of`, encoded under an identity of its own."""
    samples = [sample for block in rest.devices for sample in block.samples]
    batch = msgspec.structs.replace(rest, epoch=epoch, number=number)
    return EncodedBatch(
        epoch=epoch,
        number=number,
        data_class=of.data_class,
        event=of.event,
        samples=len(samples),
        values=_values(samples),
        oldest_at_ns=min(sample.acquired_at_ns for sample in samples),
        payload=pack(encode_batch(batch)),
    )


def _values(samples: list[BatchSample]) -> int:
    return sum(len(sample.values) + len(sample.bad or {}) for sample in samples)
