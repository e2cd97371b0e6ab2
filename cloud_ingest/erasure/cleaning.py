"""Takes people out of dead letters: rows where they can be told apart, else the whole letter."""

from __future__ import annotations

import re
import zlib
from typing import TYPE_CHECKING, Final

import msgspec

from telemetry.batch import MAX_PLAIN_BYTES, decode_batch, encode_batch, pack, unpack
from telemetry.errors import ProtocolError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_HANDLE: Final = re.compile(rb"(?<![0-9a-f])[0-9a-f]{32}(?![0-9a-f])")
_GZIP: Final = b"\x1f\x8b"


def handles_in(data: bytes) -> Iterator[str]:
    """Yield what looks like a handle in `data`, each once."""
    return (found.decode() for found in dict.fromkeys(_HANDLE.findall(data)))


def without(payload: bytes, who: Callable[[str], bool]) -> bytes | None:
    """Return the payload without the rows of `who`: itself if none is theirs; none if nothing is left of it."""
    if not any(who(handle) for handle in handles_in(readable(payload))):
        return payload
    try:
        batch = decode_batch(unpack(payload))
    except ProtocolError:
        return None  # nobody can tell whose the rest is
    devices = []
    for block in batch.devices:
        kept = [sample for sample in block.samples if sample.subject is None or not who(sample.subject)]
        if kept:
            devices.append(msgspec.structs.replace(block, samples=kept))
    if not devices:
        return None
    plain = encode_batch(msgspec.structs.replace(batch, devices=devices))
    # A handle may stand where no sample has one: in a device's name, in a field of another version.
    return None if any(who(handle) for handle in handles_in(plain)) else pack(plain)


def readable(payload: bytes) -> bytes:
    """Return the payload's plain text as far as it can be read; never inflates more than a batch may have."""
    if not payload.startswith(_GZIP):
        return payload
    try:
        return zlib.decompressobj(wbits=31).decompress(payload, MAX_PLAIN_BYTES)
    except zlib.error:
        return payload
