"""What the files of the waiting room say, and when a boot was that never knew the time. Pure."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import msgspec

from edge_agent.buffer.record import Header, Kind, frame
from edge_agent.clock import EARLIEST_NS
from telemetry.batch import DeviceInfo
from telemetry.sample import Admitted

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_GZIP: Final = 31
_LEVEL: Final = 6
"""Of zlib: a group is some kilobytes, and flash is dearer than a fraction of a millisecond."""

Waiting = tuple[int, Admitted]
"""When it was taken, by CLOCK_BOOTTIME in ns, and what the gate admitted."""


class Label(msgspec.Struct, frozen=True, kw_only=True):
    """The first record of a file."""

    boot: str
    guess_ns: int
    """What the system's clock said of UTC minus CLOCK_BOOTTIME when the agent began."""
    devices: dict[str, DeviceInfo] = {}
    """The devices that there were: the settings may name others when these samples are told."""


class Stamp(msgspec.Struct, frozen=True, kw_only=True):
    """By which offset some files of a boot are told, now and after any crash: the same points."""

    boot: str
    files: list[int]
    """Their numbers; no file has two stamps."""
    offset_ns: int
    at_boot_ns: int
    """CLOCK_BOOTTIME of that boot when the offset was learned; people who had waited too long by then are withheld."""
    uncertain: bool = False


class Known(msgspec.Struct, frozen=True, kw_only=True):
    """What is remembered of the time, across crashes and boots."""

    boot: str = ""
    offset_ns: int | None = None
    """UTC minus CLOCK_BOOTTIME in that boot, if it was learned."""
    last_good_ns: int = 0
    """UTC when it was known last: whatever comes later was later."""
    reckoning: int = 0
    """No offset bears a number of those up to this one, counted on from 0 to 999."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitingState:
    """What waits for the clock."""

    samples: int
    bytes: int
    error: str | None


NOBODYS: Final = Label(boot="", guess_ns=0)
"""Of a file whose first record is lost: a boot that nobody knows, so what it holds is told as uncertain."""
_groups_in: Final = msgspec.msgpack.Decoder(list[Waiting])
_groups_out: Final = msgspec.msgpack.Encoder()


def values_in(samples: Iterable[Admitted]) -> int:
    """Return how many points they have, the bad ones too."""
    return sum(len(one.values) + len(one.bad) for one in samples)


def first_record(label: Label) -> bytes:
    """Return the record that a file begins with."""
    return frame(Header(kind=Kind.SEGMENT), zlib.compress(msgspec.msgpack.encode(label), wbits=_GZIP))


def pack(samples: Sequence[Waiting]) -> bytes:
    """Return a group's payload."""
    return zlib.compress(_groups_out.encode(samples), _LEVEL, wbits=_GZIP)


def unpack(payload: bytes) -> list[Waiting] | None:
    """Return a group; none if another version wrote it in a way that this one cannot read."""
    try:
        return _groups_in.decode(zlib.decompress(payload, wbits=_GZIP))
    except (zlib.error, msgspec.DecodeError):
        return None


def label_of(payload: bytes) -> Label | None:
    """Return what the first record says; none if it cannot be read."""
    try:
        return msgspec.msgpack.decode(zlib.decompress(payload, wbits=_GZIP), type=Label)
    except (zlib.error, msgspec.DecodeError):
        return None


def estimate(boots: Iterable[tuple[int, int]], *, lower_ns: int = 0, upper_ns: int | None = None) -> list[int]:
    """Return UTC minus CLOCK_BOOTTIME, as good as it can be known, of boots that followed each other.

    For each is given what its own clock said, and CLOCK_BOOTTIME of its last sample. What the clock said is moved into
    the time in which the boot must have been: after `lower_ns`, when the time was known last, and over before the next
    boot; the last one before `upper_ns`, when this boot began.
    """
    spans = list(boots)
    latest: list[int | None] = []
    for _, last_ns in reversed(spans):
        upper_ns = None if upper_ns is None else upper_ns - last_ns
        latest.insert(0, upper_ns)
    found: list[int] = []
    lower_ns = max(lower_ns, EARLIEST_NS)
    for (guess_ns, last_ns), most_ns in zip(spans, latest, strict=True):
        offset_ns = max(guess_ns, lower_ns)
        found.append(offset_ns if most_ns is None else min(offset_ns, most_ns))
        lower_ns = found[-1] + last_ns
    return found
