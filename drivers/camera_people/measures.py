"""What a worker has given up, as it tells the agent before its first record: eight bytes, flags only."""

from __future__ import annotations

import struct
import zlib
from enum import IntFlag
from typing import Final

from telemetry.errors import ProtocolError

VERSION: Final = 1
_BODY: Final = struct.Struct("<HH")
_SUM: Final = struct.Struct("<I")
GREETING_SIZE: Final = _BODY.size + _SUM.size


class Measure(IntFlag):
    """One thing that the kernel, or the C library, holds the worker to."""

    NO_NEW_RIGHTS = 1 << 0
    NOT_READABLE = 1 << 1
    """No other process of its user may look into its memory."""
    NO_CORE_DUMP = 1 << 2
    NO_FILE_GROWS = 1 << 3
    FEW_DESCRIPTORS = 1 << 4
    MEMORY_CAP = 1 << 5
    NO_SWAP = 1 << 6
    """By itself; a service has MemorySwapMax=0 instead, which no process can see."""
    WIPED = 1 << 7
    """Memory is overwritten when it is given back."""
    FILES = 1 << 8
    """Landlock: no file may be written, and only the libraries' may be read."""
    ADDRESS = 1 << 9
    """Landlock: TCP to the camera's port alone; to none for a local camera."""
    CALLS = 1 << 10
    """Seccomp: no program, no process, no socket beyond the camera's."""
    OWN_NETWORK = 1 << 11
    """A network of its own without an interface; for local cameras."""
    UNPRIVILEGED = 1 << 12
    """It runs as no privileged user, and without capabilities."""

    @property
    def word(self) -> str:
        """As counters and programs name it, such as `no_swap`; for a single measure."""
        return (self.name or "").lower()


EXPECTED: Final = (
    Measure.NO_NEW_RIGHTS
    | Measure.NOT_READABLE
    | Measure.NO_CORE_DUMP
    | Measure.FILES
    | Measure.CALLS
    | Measure.UNPRIVILEGED
)
"""What a Linux of 2021 or later gives every worker; without one of these a person should look."""


def words(measures: Measure) -> list[str]:
    """Return the names of `measures`."""
    return [measure.word for measure in Measure if measure in measures]


def encode_greeting(measures: Measure) -> bytes:
    """Return what the worker says first."""
    body = _BODY.pack(VERSION, measures)
    return body + _SUM.pack(zlib.crc32(body))


def decode_greeting(data: bytes) -> Measure:
    """Return what the worker has given up. Raises ProtocolError for anything that no sound worker says."""
    if len(data) != GREETING_SIZE or _SUM.unpack(data[_BODY.size :])[0] != zlib.crc32(data[: _BODY.size]):
        raise ProtocolError("a greeting with a wrong length or sum")
    version, flags = _BODY.unpack(data[: _BODY.size])
    if version != VERSION or flags & ~sum(Measure):
        raise ProtocolError(f"a greeting of version {version} with flags {flags:#x}")
    return Measure(flags)
