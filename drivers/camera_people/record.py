"""What the worker tells the agent, pure: 56 bytes of numbers. There is no field that could hold a picture.

Layout: README.md beside this file. Both ends use this module; the demo's verdict reads the bytes by itself.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from telemetry.crowd import FEW
from telemetry.errors import ProtocolError

VERSION: Final = 2
_BODY: Final = struct.Struct("<HHIHHHHQIIIIIHHHH")
_SUM: Final = struct.Struct("<I")
SIZE: Final = _BODY.size + _SUM.size
NOTHING: Final = 0xFFFF
"""In `people`, `brightness`, `motion` and the faces' widths: not known."""
MAX_PEOPLE: Final = 1000
FULL_BRIGHTNESS: Final = 10_000
MAX_WIDTH: Final = 8192
MAX_LOOKS: Final = 99

REQUEST: Final = struct.Struct("<H")
"""What the agent asks with: how many milliseconds the worker may wait for a new picture."""
MAX_WAIT_MS: Final = 0xFFFF
"""More does not fit."""


class State(IntEnum):
    """What became of one reading."""

    COUNTED = 1
    DARK = 2
    """Too little light to tell how many people are there."""
    STALLED = 3
    """The camera is connected, but sends no new picture."""
    UNDECODABLE = 4
    """What it sends is no picture, or a damaged one."""
    UNREACHABLE = 5
    REFUSED = 6
    """It does not accept the credentials."""
    MODEL_FAULT = 7
    """The model gave something that is no number."""
    WAITING = 8
    """Connecting, or waiting for the next picture of a slow camera."""
    COVERED = 9
    """Something covers the lens: the picture is one even surface."""
    SETTLING = 10
    """Too few pictures so far for the median that is asked for."""


SEEN: Final = frozenset({State.COUNTED, State.DARK, State.MODEL_FAULT, State.COVERED, State.SETTLING})
"""States that are about a picture: its brightness, size and time are known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One answer of the worker. The counts from `frames` on grow from the worker's start and wrap at 2^32."""

    state: State
    sequence: int
    """Number of this record, from 1 at the worker's start."""
    people: int | None = None
    """As it may be told (`telemetry.crowd`); only when counted."""
    brightness: float | None = None
    """Mean of the picture's luma, 0 to 1."""
    width: int = 0
    height: int = 0
    """The picture's size, px."""
    captured_ns: int = 0
    """CLOCK_MONOTONIC, in ns, when the picture was received; 0 without one."""
    frames: int = 0
    """Pictures received."""
    skipped: int = 0
    """Of these, not looked at since a newer one came, or nobody asked."""
    undecodable: int = 0
    reopened: int = 0
    """How often the connection was opened again."""
    inference_us: int = 0
    """How long the models took for this picture, µs."""
    motion: float | None = None
    """Mean difference from the picture before, 0 to 1; none for a first one."""
    narrowest_px: int | None = None
    """Width of the narrowest and widest face in px of the network's input; only if the assignment asks for it."""
    widest_px: int | None = None
    looks: int = 0
    """How many pictures the number of people stands on: 1 without a median; 0 unless counted."""


def encode(record: Record) -> bytes:
    """Return `record` as its bytes."""
    body = _BODY.pack(
        VERSION,
        record.state,
        _u32(record.sequence),
        NOTHING if record.people is None else min(record.people, MAX_PEOPLE),
        NOTHING if record.brightness is None else round(record.brightness * FULL_BRIGHTNESS),
        min(record.width, 0xFFFF),
        min(record.height, 0xFFFF),
        record.captured_ns,
        _u32(record.frames),
        _u32(record.skipped),
        _u32(record.undecodable),
        _u32(record.reopened),
        min(record.inference_us, 0xFFFFFFFF),
        NOTHING if record.motion is None else round(record.motion * FULL_BRIGHTNESS),
        NOTHING if record.narrowest_px is None else min(record.narrowest_px, MAX_WIDTH),
        NOTHING if record.widest_px is None else min(record.widest_px, MAX_WIDTH),
        min(record.looks, MAX_LOOKS),
    )
    return body + _SUM.pack(zlib.crc32(body))


def decode(data: bytes) -> Record:
    """Return the record in `data`. Raises ProtocolError for anything that no sound worker says."""
    if len(data) != SIZE:
        raise ProtocolError(f"a record of {len(data)} bytes, not {SIZE}")
    body = data[: _BODY.size]
    if _SUM.unpack(data[_BODY.size :])[0] != zlib.crc32(body):
        raise ProtocolError("a record with a wrong sum")
    version, state, sequence, people, brightness, width, height, captured_ns, *counts = _BODY.unpack(body)
    if version != VERSION:
        raise ProtocolError(f"a record of version {version}, not {VERSION}")
    if state not in set(State):
        raise ProtocolError(f"a record of unknown state {state}")
    state = State(state)
    counted, seen = state is State.COUNTED, state in SEEN
    if (people != NOTHING) is not counted or (counted and not (people == 0 or FEW <= people <= MAX_PEOPLE)):
        raise ProtocolError(f"a record of state {state.name} that says {people} people")
    if (brightness != NOTHING) is not seen or (seen and brightness > FULL_BRIGHTNESS):
        raise ProtocolError(f"a record of state {state.name} that says brightness {brightness}")
    if seen is not (width > 0 and height > 0 and captured_ns > 0):
        raise ProtocolError(f"a record of state {state.name} with a picture of {width}x{height} px at {captured_ns}")
    frames, skipped, undecodable, reopened, inference_us, motion, narrowest, widest, looks = counts
    _check_measured(state, motion=motion, narrowest=narrowest, widest=widest, looks=looks)
    return Record(
        state=state,
        sequence=sequence,
        people=people if counted else None,
        brightness=brightness / FULL_BRIGHTNESS if seen else None,
        width=width,
        height=height,
        captured_ns=captured_ns,
        frames=frames,
        skipped=skipped,
        undecodable=undecodable,
        reopened=reopened,
        inference_us=inference_us,
        motion=None if motion == NOTHING else motion / FULL_BRIGHTNESS,
        narrowest_px=None if narrowest == NOTHING else narrowest,
        widest_px=None if widest == NOTHING else widest,
        looks=looks,
    )


def _check_measured(state: State, *, motion: int, narrowest: int, widest: int, looks: int) -> None:
    """Raise ProtocolError unless the numbers fit the state."""
    counted = state is State.COUNTED
    if motion != NOTHING and not (state in SEEN and motion <= FULL_BRIGHTNESS):
        raise ProtocolError(f"a record of state {state.name} that says motion {motion}")
    measured = narrowest != NOTHING
    if measured is not (widest != NOTHING) or (measured and not (counted and narrowest <= widest <= MAX_WIDTH)):
        raise ProtocolError(f"a record of state {state.name} that says faces of {narrowest} to {widest} px")
    if looks > MAX_LOOKS or (looks > 0) is not counted:
        raise ProtocolError(f"a record of state {state.name} that stands on {looks} pictures")


def _u32(count: int) -> int:
    return count & 0xFFFFFFFF
