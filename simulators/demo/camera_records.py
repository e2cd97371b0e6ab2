"""What left a camera's worker, decoded from the text of drivers/camera_people/README.md; on purpose not its code."""

from __future__ import annotations

import json
import struct
import zlib
from typing import TYPE_CHECKING, Final

from simulators.demo.verdict import Look
from telemetry.errors import ProtocolError

if TYPE_CHECKING:
    from pathlib import Path

PEOPLE: Final = "people"
LIGHT: Final = "light"
_SIZE: Final = 56
_VERSION: Final = 2
_COUNTED: Final = 1
_WITH_PICTURE: Final = {1: None, 2: "dark", 7: "sensor_fault", 9: "covered", 10: "warming_up"}
"""State → why the picture tells nothing about people."""
_WITHOUT: Final = {3: "stale", 4: "decode", 5: "timeout", 6: "refused", 8: "timeout"}
_UNKNOWN: Final = 0xFFFF
_FULL: Final = 10_000


def read_looks(path: Path, *, device: str, room: str) -> list[Look]:
    """Return the records in `path` and in the full file before it, in their order. Raises ProtocolError."""
    data = b"".join(file.read_bytes() for file in (path.with_name(f"{path.name}.1"), path) if file.exists())
    lines = data[: data.rfind(b"\n") + 1].splitlines()
    return [_look(json.loads(line), device=device, room=room) for line in lines]


def _look(line: dict[str, object], *, device: str, room: str) -> Look:
    at_ns, text = line.get("at_ns"), line.get("record")
    if set(line) != {"at_ns", "record"} or not isinstance(at_ns, int) or not isinstance(text, str):
        raise ProtocolError(f"a line with {', '.join(sorted(line))} and not at_ns and record alone")
    values, bad, picture = decode(bytes.fromhex(text))
    return Look(device=device, room=room, at_ns=at_ns, values=values, bad=bad, picture=picture)


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
