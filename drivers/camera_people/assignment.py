"""What the worker is told at its start, by its socket: the camera, the credentials, and how to count."""

from __future__ import annotations

import json
import struct
from dataclasses import asdict, dataclass, field
from typing import Final

LENGTH: Final = struct.Struct("<I")
MAX_BYTES: Final = 16_384


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """One camera and how to look at it. Neither a command line nor the environment ever holds it."""

    url: str
    """Without credentials."""
    capture: str
    """`rtsp`, `mjpeg` or `snapshot`."""
    username: str = ""
    password: str = field(default="", repr=False)
    model: str = "centerface"
    input_width: int = 640
    """Wider pictures are made smaller to this, px."""
    threshold: float = 0.5
    dark_below: float = 0.06
    stalled_s: float = 3.0
    """No new picture for so long: the connection is given up and opened again."""


def pack(assignment: Assignment) -> bytes:
    """Return `assignment` as length and JSON. Raises ValueError if it is too long."""
    text = json.dumps(asdict(assignment)).encode()
    if len(text) > MAX_BYTES:
        raise ValueError(f"an assignment of {len(text)} bytes, more than {MAX_BYTES}")
    return LENGTH.pack(len(text)) + text


def unpack(text: bytes) -> Assignment:
    """Return the assignment in `text`, which is what follows the length."""
    return Assignment(**json.loads(text))
