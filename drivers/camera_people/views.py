"""What the aiming worker tells its view, pure: a verdict, and only with SHOWN the bytes of a picture.

The counting worker knows nothing of this: its record has no room for a picture.
"""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import Final

from telemetry.errors import ProtocolError

VERSION: Final = 1
HEAD: Final = struct.Struct("<HHI")
MAX_JPEG: Final = 8_000_000
REQUEST: Final = struct.Struct("<H")
"""What the view asks with: how many milliseconds the worker may wait for a new picture."""


class Verdict(IntEnum):
    """What may be shown."""

    SHOWN = 1
    """The picture that follows: nobody was found in it, nor in those before it; or people are filled rectangles."""
    HOLD = 2
    """Nobody found, but not for long enough."""
    PERSON = 3
    DARK = 4
    UNSURE = 5
    """A detector gave what is no number."""
    NO_PICTURE = 6
    """The camera sends none, or none that is sound."""
    REFUSED = 7
    """The camera does not accept the credentials."""


ENDING: Final = frozenset({Verdict.PERSON, Verdict.DARK, Verdict.UNSURE, Verdict.REFUSED})
"""Verdicts that close the view for good."""


def pack_view(verdict: Verdict, jpeg: bytes = b"") -> bytes:
    """Return the message's bytes. Raises ValueError for a picture that may not be shown or is too large."""
    if (verdict is Verdict.SHOWN) is not bool(jpeg) or len(jpeg) > MAX_JPEG:
        raise ValueError(f"{verdict.name} with {len(jpeg)} bytes")
    return HEAD.pack(VERSION, verdict, len(jpeg)) + jpeg


def unpack_head(head: bytes) -> tuple[Verdict, int]:
    """Return the verdict and how many bytes of a picture follow. Raises ProtocolError."""
    version, verdict, length = HEAD.unpack(head)
    if version != VERSION or verdict not in set(Verdict) or length > MAX_JPEG:
        raise ProtocolError(f"a view of version {version}, verdict {verdict}, {length} bytes")
    if (verdict == Verdict.SHOWN) is not (length > 0):
        raise ProtocolError(f"verdict {Verdict(verdict).name} with {length} bytes")
    return Verdict(verdict), length
