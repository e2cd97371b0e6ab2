"""What the evaluating worker is told and tells, pure: pictures with the true boxes in, fixed rows of numbers out."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Final

from telemetry.errors import ProtocolError

if TYPE_CHECKING:
    from collections.abc import Sequence

HEAD: Final = struct.Struct("<II")
"""How many bytes of a picture follow, and then how many true boxes; no bytes: that was all."""
BOX: Final = struct.Struct("<4f")
"""x, y, width, height in px."""
MAX_PICTURE: Final = 64_000_000
MAX_BOXES: Final = 2000
_SCORE: Final = struct.Struct("<HHHHHHfIHH")
SCORE_SIZE: Final = _SCORE.size


class Fate(IntEnum):
    """What became of a picture."""

    COUNTED = 1
    DARK = 2
    UNDECODABLE = 4
    MODEL_FAULT = 7
    COVERED = 9


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """One picture in numbers; all but `fate` are 0 unless it was counted."""

    fate: Fate
    people: int = 0
    """Counted, exact: this is no room's telemetry."""
    found: int = 0
    """True boxes with a person found in them."""
    hidden: int = 0
    """True boxes that redaction covers to the last pixel."""
    faces_left: int = 0
    people_left: int = 0
    """What watchful detectors still find after redaction."""
    coverage: float = 0.0
    """Mean share of a true box that redaction covers."""
    micros: int = 0
    """Counting, without decoding and redaction, µs."""
    width: int = 0
    height: int = 0


def pack_picture(data: bytes, boxes: Sequence[tuple[float, float, float, float]]) -> bytes:
    """Return what is said of one picture. Raises ValueError if it is too large."""
    if not 0 < len(data) <= MAX_PICTURE or len(boxes) > MAX_BOXES:
        raise ValueError(f"{len(data)} bytes and {len(boxes)} boxes")
    return HEAD.pack(len(data), len(boxes)) + data + b"".join(BOX.pack(*box) for box in boxes)


def pack_score(score: Score) -> bytes:
    """Return `score` as its bytes."""
    numbers = (score.fate, score.people, score.found, score.hidden, score.faces_left, score.people_left)
    sides = (min(score.width, 0xFFFF), min(score.height, 0xFFFF))
    return _SCORE.pack(*numbers, score.coverage, min(score.micros, 0xFFFFFFFF), *sides)


def unpack_score(data: bytes) -> Score:
    """Return the score in `data`. Raises ProtocolError for what no sound worker says."""
    if len(data) != SCORE_SIZE:
        raise ProtocolError(f"a score of {len(data)} bytes, not {SCORE_SIZE}")
    fate, people, found, hidden, faces_left, people_left, coverage, micros, width, height = _SCORE.unpack(data)
    if fate not in set(Fate) or not 0 <= coverage <= 1:
        raise ProtocolError(f"a score of fate {fate} and coverage {coverage}")
    return Score(
        fate=Fate(fate),
        people=people,
        found=found,
        hidden=hidden,
        faces_left=faces_left,
        people_left=people_left,
        coverage=coverage,
        micros=micros,
        width=width,
        height=height,
    )
