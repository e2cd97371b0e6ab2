"""What the worker is told at its start, by its socket: the camera, the credentials, and how to count."""

from __future__ import annotations

import json
import struct
from dataclasses import asdict, dataclass, field
from typing import Final
from urllib.parse import urlsplit

LENGTH: Final = struct.Struct("<I")
MAX_BYTES: Final = 65_536
FILE: Final = "file"
V4L2: Final = "v4l2"
PORTS: Final = {"rtsp": 554, "http": 80}
LOCAL: Final = frozenset({FILE, V4L2})
"""Ways to get pictures that need no network."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """One camera and how to look at it. Neither a command line nor the environment ever holds it."""

    url: str
    """Without credentials; empty for a local camera."""
    capture: str
    """`rtsp`, `mjpeg`, `snapshot`, `file` or `v4l2`."""
    path: str = ""
    """A local camera's file or device."""
    username: str = ""
    password: str = field(default="", repr=False)
    method: str = "faces_and_people"
    """`faces`, or `faces_and_people`: with the people detector, for those who show no face."""
    input_width: int = 640
    """Wider pictures are made smaller to this, px."""
    threshold: float = 0.35
    """How sure the face detector must be."""
    people_threshold: float = 0.5
    """How sure the people detector must be."""
    masks: str = ""
    """Regions (`regions.py`) that are blackened before people are looked for."""
    zones: str = ""
    """Regions in which people are counted; everywhere without any."""
    median_of: int = 1
    measure: bool = False
    """Tell how wide the faces are, for the check at installation."""
    dark_below: float = 0.06
    stalled_s: float = 3.0
    """No new picture for so long: the connection is given up and opened again."""
    memory_mb: int = 0
    """The worker may not take more memory of its own than this; 0: no cap."""

    @property
    def address(self) -> tuple[str, int]:
        """Host and TCP port of a camera on the network: what is connected to, and the only one that may be."""
        parts = urlsplit(self.url)
        return parts.hostname or "", parts.port or PORTS[parts.scheme]


def pack(assignment: Assignment) -> bytes:
    """Return `assignment` as length and JSON. Raises ValueError if it is too long."""
    text = json.dumps(asdict(assignment)).encode()
    if len(text) > MAX_BYTES:
        raise ValueError(f"an assignment of {len(text)} bytes, more than {MAX_BYTES}")
    return LENGTH.pack(len(text)) + text


def unpack(text: bytes) -> Assignment:
    """Return the assignment in `text`, which is what follows the length."""
    return Assignment(**json.loads(text))
