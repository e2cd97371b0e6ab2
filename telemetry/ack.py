"""The acknowledgement that travels back to the gateway's buffer on `stored`."""

from __future__ import annotations

import msgspec

from telemetry.errors import ProtocolError
from telemetry.ranges import Range


class Refused(msgspec.Struct, frozen=True, kw_only=True):
    """Samples of one batch that are on disk as dead letters and will not be stored."""

    batch: int
    samples: list[int]
    """Indices over the batch's samples in their order, device after device; empty means all."""
    reason: str


class Ack(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What became of a gateway's batches. `stored` and `refused` both free the buffer.

    An Ack that names no batch says only that the ingest is there and what time it is.
    """

    epoch: str
    time_ns: int
    """The ingest's UTC clock: the gateway's fallback where NTP is blocked."""
    stored: list[Range] = []
    """Inclusive ranges of batch numbers; a batch also in `refused` is stored but for the samples named there."""
    refused: list[Refused] = []
    retry_after_s: float = 0.0
    """The store is busy: send nothing new for so long."""
    answers_ns: int | None = None
    """`at_ns` of the gateway's `status` that this answers: the gateway knows when it sent that."""


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Ack)


def encode_ack(ack: Ack) -> bytes:
    """Return the acknowledgement's JSON."""
    return _encoder.encode(ack)


def decode_ack(payload: bytes) -> Ack:
    """Return the acknowledgement in `payload`. Raises ProtocolError naming what is wrong."""
    try:
        return _decoder.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ProtocolError(f"acknowledgement cannot be decoded: {error}") from error
