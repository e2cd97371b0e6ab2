"""How a small number of people is told: one to four are one number, since fewer would point at persons."""

from __future__ import annotations

from typing import Final

FEW: Final = 4


def told(people: int) -> int:
    """Return `people` as it may be told: 0 is 0, 1 to 4 are 4, more are exact."""
    return max(FEW, people) if people else 0
