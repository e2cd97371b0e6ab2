"""Regions of a picture as an option says them, pure: "0.1,0.2,0.5,0.9; 0,0 ..." in fractions of width and height."""

from __future__ import annotations

import math
from typing import Final

Region = tuple[tuple[float, float], ...]
"""Corners x, y, each 0 to 1."""
MAX_REGIONS: Final = 32
MAX_NUMBERS: Final = 64
_RECTANGLE: Final = 4
_TRIANGLE: Final = 6


def parse_regions(text: str) -> tuple[Region, ...]:
    """Return the regions in `text`, parted by `;`: four numbers are a rectangle, more are a polygon's corners.

    A rectangle is left, top, right, bottom; a polygon x, y, x, y, …. Raises ValueError with what is wrong.
    """
    parts = [part.strip() for part in text.split(";") if part.strip()]
    if len(parts) > MAX_REGIONS:
        raise ValueError(f"{len(parts)} regions, more than {MAX_REGIONS}")
    return tuple(_region(part) for part in parts)


def _region(text: str) -> Region:
    try:
        numbers = [float(word) for word in text.split(",")]
    except ValueError:
        raise ValueError(f"{text!r} holds what is no number") from None
    if not all(math.isfinite(number) and 0 <= number <= 1 for number in numbers):
        raise ValueError(f"{text!r}: write fractions of the picture, 0 to 1")
    if len(numbers) == _RECTANGLE:
        left, top, right, bottom = numbers
        if left >= right or top >= bottom:
            raise ValueError(f"{text!r}: a rectangle is left, top, right, bottom")
        return ((left, top), (right, top), (right, bottom), (left, bottom))
    if len(numbers) < _TRIANGLE or len(numbers) % 2 or len(numbers) > MAX_NUMBERS:
        raise ValueError(f"{text!r}: write four numbers for a rectangle, or x,y for each of three to 32 corners")
    return tuple(zip(numbers[::2], numbers[1::2], strict=True))
