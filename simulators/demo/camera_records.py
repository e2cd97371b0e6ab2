"""What left a camera's worker, decoded from the text of drivers/camera_people/README.md; on purpose not its code.

A picture's time is taken from the record's CLOCK_MONOTONIC, which nobody sets. The file's own times are the agent's:
one that boots with a wrong clock writes on by it. What it is wrong by is known from the pictures beside a record.
"""

from __future__ import annotations

import json
import struct
import time
import zlib
from bisect import bisect_left
from typing import TYPE_CHECKING, Final

from simulators.demo.verdict import Look
from telemetry.errors import ProtocolError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

PEOPLE: Final = "people"
LIGHT: Final = "light"
_SIZE: Final = 56
_CAPTURED: Final = 16
_VERSION: Final = 2
_COUNTED: Final = 1
_WITH_PICTURE: Final = {1: None, 2: "dark", 7: "sensor_fault", 9: "covered", 10: "warming_up"}
"""State → why the picture tells nothing about people."""
_WITHOUT: Final = {3: "stale", 4: "decode", 5: "timeout", 6: "refused", 8: "timeout"}
_UNKNOWN: Final = 0xFFFF
_FULL: Final = 10_000


def monotonic_offset_ns() -> int:
    """Return what CLOCK_MONOTONIC lacks of UTC on this machine."""
    return time.time_ns() - time.monotonic_ns()


def read_looks(path: Path, *, device: str, room: str, offset_ns: int) -> list[Look]:
    """Return the records in `path` and in the full file before it, in their order. Raises ProtocolError.

    `offset_ns`: `monotonic_offset_ns()` of the machine that the worker ran on.
    """
    data = b"".join(file.read_bytes() for file in (path.with_name(f"{path.name}.1"), path) if file.exists())
    lines = data[: data.rfind(b"\n") + 1].splitlines()
    told = [_line(json.loads(line)) for line in lines]
    told_ns = [at_ns for at_ns, _ in told]
    decoded = [decode(data) for _, data in told]
    captured = [struct.unpack_from("<Q", data, _CAPTURED)[0] + offset_ns for _, data in told]
    pictures = [index for index, (_, _, picture) in enumerate(decoded) if picture]
    looks = []
    for index, (values, bad, picture) in enumerate(decoded):
        at_ns = captured[index] if picture else _placed(index, told_ns, captured, pictures)
        looks.append(Look(device=device, room=room, at_ns=at_ns, values=values, bad=bad, picture=picture))
    return looks


def _line(line: dict[str, object]) -> tuple[int, bytes]:
    at_ns, text = line.get("at_ns"), line.get("record")
    if set(line) != {"at_ns", "record"} or not isinstance(at_ns, int) or not isinstance(text, str):
        raise ProtocolError(f"a line with {', '.join(sorted(line))} and not at_ns and record alone")
    return at_ns, bytes.fromhex(text)


def _placed(index: int, told_ns: Sequence[int], captured: Sequence[int], pictures: Sequence[int]) -> int:
    """Return when a record without a picture was made: by the clock of the picture before or after it, and between."""
    at = bisect_left(pictures, index)
    before, after = pictures[max(0, at - 1) : at], pictures[at : at + 1]
    for neighbour in (*before, *after):
        at_ns = told_ns[index] - told_ns[neighbour] + captured[neighbour]
        if all(captured[one] <= at_ns for one in before) and all(at_ns <= captured[one] for one in after):
            return at_ns
    return told_ns[index]


def decode(data: bytes) -> tuple[dict[str, float], dict[str, str], bool]:
    """Return (values, reasons, whether there was a picture). Raises ProtocolError."""
    if len(data) != _SIZE or zlib.crc32(data[:52]) != struct.unpack_from("<I", data, 52)[0]:
        raise ProtocolError("no record: its length or sum is wrong")
    version, state = struct.unpack_from("<HH", data, 0)
    people, brightness = struct.unpack_from("<HH", data, 8)
    if version != _VERSION or state not in _WITH_PICTURE.keys() | _WITHOUT.keys():
        raise ProtocolError(f"a record of version {version} and state {state}")
    if state in _WITHOUT:
        reason = _WITHOUT[state]
        return {}, {PEOPLE: reason, LIGHT: reason}, False
    values = {LIGHT: brightness / _FULL}
    reason_or_none = _WITH_PICTURE[state]
    if reason_or_none is not None:
        return values, {PEOPLE: reason_or_none}, True
    if people == _UNKNOWN:
        raise ProtocolError("a record that counted and tells no number")
    return values | {PEOPLE: float(people)}, {}, True
