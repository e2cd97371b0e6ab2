"""Batch, the unit that is buffered, published, stored and acknowledged; and its JSON encoding.

A batch is encoded once: the same bytes are buffered and sent again. JSON that a person can read with
`mosquitto_sub`, gzip above a size. Unknown fields are ignored, another major version is refused.
"""

from __future__ import annotations

import gzip
import re
import zlib
from typing import Final

import msgspec

from telemetry.errors import ProtocolError
from telemetry.sample import DataClass, Quality, Reason, Value

SCHEMA: Final = "campus.batch/1"
GZIP_ABOVE_BYTES: Final = 1024
MAX_PLAIN_BYTES: Final = 4 * 1024 * 1024
"""A batch longer than this after decompression is refused: no sender of ours makes one."""
_GZIP_MAGIC: Final = b"\x1f\x8b"
_IDENTITY: Final = re.compile(rb'"epoch"\s*:\s*"([0-9a-f]{16})"\s*,\s*"batch"\s*:\s*(\d{1,18})\b')
_HEAD_BYTES: Final = 1024


class BatchSample(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """One sample inside a batch: many points of one device at one time."""

    acquired_at_ns: int
    values: dict[str, Value] = {}
    bad: dict[str, Reason] | None = None
    """Points whose value is absent, each with its reason; none, rather than empty, since most samples have none."""
    quality: Quality = Quality.GOOD
    subject: str | None = None
    """Pseudonymous handle; only in classes `personal` and `sensitive`."""


class DeviceInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What is needed to store a device's samples without asking anybody."""

    device: str
    room: str
    profile: str
    """`id@version` of the device profile."""
    measurement: str
    quantities: dict[str, str]
    """Point name → quantity name; the quantity fixes the unit and the field's type."""


class DeviceBlock(DeviceInfo, frozen=True, kw_only=True, omit_defaults=True):
    """A device and its samples in this batch."""

    samples: list[BatchSample]


class Batch(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename={"number": "batch", "data_class": "class"}
):
    """Samples of one class from one gateway, identified by (gateway, epoch, number)."""

    schema: str
    site: str
    gateway: str
    epoch: str
    """Random, 16 hex digits, minted with the buffer: a re-imaged gateway has a new one."""
    number: int
    data_class: DataClass
    devices: list[DeviceBlock]
    simulated: bool = False
    """The data come from simulators or with a demo key; stored beside each row of them."""


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Batch)


def encode_batch(batch: Batch) -> bytes:
    """Return the batch's JSON; floats must be finite (JSON has no NaN: the derive stage marks those bad)."""
    return _encoder.encode(batch)


def pack(plain: bytes) -> bytes:
    """Return the payload for `plain` JSON: gzip above 1 KiB; the same input gives the same bytes."""
    return gzip.compress(plain, compresslevel=6, mtime=0) if len(plain) > GZIP_ABOVE_BYTES else plain


def unpack(payload: bytes, *, limit: int = MAX_PLAIN_BYTES) -> bytes:
    """Return the plain JSON of `payload`; never inflates more than `limit` bytes.

    Raises ProtocolError if it is not gzip where it says so, is cut short, or is longer than `limit`.
    """
    if not payload.startswith(_GZIP_MAGIC):
        if len(payload) > limit:
            raise ProtocolError(f"batch of {len(payload)} bytes is over the limit of {limit}")
        return payload
    inflater = zlib.decompressobj(wbits=31)
    try:
        plain = inflater.decompress(payload, limit + 1)
    except zlib.error as error:
        raise ProtocolError(f"payload is not gzip: {error}") from error
    if len(plain) > limit:
        raise ProtocolError(f"batch inflates to more than the limit of {limit} bytes")
    if not inflater.eof or inflater.unused_data:
        raise ProtocolError("gzip payload is cut short or has bytes after its end")
    return plain


def decode_batch(plain: bytes) -> Batch:
    """Return the batch of `plain` JSON. Raises ProtocolError naming the field that is wrong."""
    try:
        batch = _decoder.decode(plain)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ProtocolError(f"batch cannot be decoded: {error}") from error
    if batch.schema != SCHEMA:
        raise ProtocolError(f"schema {batch.schema!r} is not supported; this version reads {SCHEMA!r}")
    return batch


def peek_identity(payload: bytes) -> tuple[str, int] | None:
    """Return (epoch, number) from the head of a payload too broken or too large to decode, else none.

    Lets the ingest refuse a poison batch by name, so that its gateway stops sending it.
    """
    head = payload[:_HEAD_BYTES]
    if payload.startswith(_GZIP_MAGIC):
        try:
            head = zlib.decompressobj(wbits=31).decompress(payload, _HEAD_BYTES)
        except zlib.error:
            return None
    found = _IDENTITY.search(head)
    return (found[1].decode(), int(found[2])) if found else None
