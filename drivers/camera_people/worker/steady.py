"""Steady, pure: a number of people that does not flicker: the median of some looks, with hysteresis."""

from __future__ import annotations

from collections import deque
from statistics import median_low
from typing import Final

HOLD: Final = 2
"""So many looks in a row the median must lie on the same side of the number told before that changes."""


class Steady:
    """Over one look nothing is changed: what is seen is told."""

    def __init__(self, looks: int) -> None:
        self._looks: deque[int] = deque(maxlen=looks)
        self._told: int | None = None
        self._side = 0
        self._held = 0

    @property
    def looks(self) -> int:
        """How many looks there are."""
        return len(self._looks)

    def add(self, people: int) -> int | None:
        """Take note of a look; return the steadied number, or none while more than half of the looks are missing."""
        self._looks.append(people)
        if 2 * len(self._looks) <= (self._looks.maxlen or 1):
            return None
        middle = median_low(self._looks)
        if self._told is None or self._looks.maxlen == 1:
            self._told = middle
            return middle
        side = (middle > self._told) - (middle < self._told)
        self._held = self._held + 1 if side and side == self._side else abs(side)
        self._side = side
        if self._held >= HOLD:
            self._told, self._held, self._side = middle, 0, 0
        return self._told

    def forget(self) -> None:
        """Begin anew: a picture that could not be counted lies between what was and what will be."""
        self._looks.clear()
        self._told, self._side, self._held = None, 0, 0
