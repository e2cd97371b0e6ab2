"""(topic, payload) → Accepted or Rejected. Never raises for what it is given: hostile bytes are an answer too."""

from __future__ import annotations

import re
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING, Final

from telemetry.batch import MAX_PLAIN_BYTES, decode_batch, peek_identity, unpack
from telemetry.errors import ProtocolError
from telemetry.topics import Channel, Topic, parse_topic

if TYPE_CHECKING:
    from cloud_ingest.rows import RowMaker
    from cloud_ingest.series import Row
    from telemetry.batch import Batch

_EPOCH: Final = re.compile(r"[0-9a-f]{16}")
_MAX_NUMBER: Final = 10**18


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """What names a batch for ever. The gateway is the topic's: whoever may publish there answers for it."""

    site: str
    gateway: str
    epoch: str
    number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """A batch that can be stored, but for the samples in `refused`."""

    identity: Identity
    digest: bytes
    """16 bytes over the plain JSON: tells a resend from a conflict."""
    batch: Batch
    size: int
    """Bytes of the plain JSON."""
    rows: list[Row]
    refused: dict[int, str]
    """Sample index → reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejected:
    """A message of which nothing can be stored."""

    reason: str
    identity: Identity | None
    """Set where the batch's gateway can be told, so that it stops sending it."""
    digest: bytes


def reject(topic: str, payload: bytes, reason: str) -> Rejected:
    """Return the rejection of a message that is not to be decoded."""
    where = parse_topic(topic)
    return Rejected(reason=reason, identity=_peek(where, payload) if where else None, digest=_digest(payload))


def decode(topic: str, payload: bytes, maker: RowMaker) -> Accepted | Rejected:
    """Return what a telemetry message holds; inflates at most 4 MiB and never raises."""
    where = parse_topic(topic)
    if where is None or where.channel is not Channel.TELEMETRY:
        return Rejected(reason="topic is not a telemetry topic", identity=None, digest=_digest(payload))
    try:
        plain = unpack(payload)
        batch = decode_batch(plain)
    except ProtocolError as error:
        return Rejected(reason=str(error)[:300], identity=_peek(where, payload), digest=_digest(payload))
    digest = _digest(plain)
    identity = Identity(site=where.site, gateway=where.gateway, epoch=batch.epoch, number=batch.number)
    if not _EPOCH.fullmatch(batch.epoch) or not 0 <= batch.number < _MAX_NUMBER:
        return Rejected(reason="epoch or batch number is malformed", identity=None, digest=digest)
    for name, inside, outside in (
        ("site", batch.site, where.site),
        ("gateway", batch.gateway, where.gateway),
        ("class", batch.data_class, where.data_class),
    ):
        if inside != outside:
            reason = f"{name} in the batch is not the {name} in the topic"
            return Rejected(reason=reason, identity=identity, digest=digest)
    rows, refused = maker.rows(batch)
    return Accepted(identity=identity, digest=digest, batch=batch, size=len(plain), rows=rows, refused=refused)


def _digest(content: bytes) -> bytes:
    return blake2b(content[:MAX_PLAIN_BYTES], digest_size=16).digest()


def _peek(where: Topic, payload: bytes) -> Identity | None:
    found = peek_identity(payload)
    return found and Identity(site=where.site, gateway=where.gateway, epoch=found[0], number=found[1])
