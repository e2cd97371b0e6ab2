"""Lateness, pure: is a picture as new as its arrival makes believe? Queues let go of old pictures in a burst."""

from __future__ import annotations

from typing import Final

LATE_S: Final = 0.8
"""So much later than the promptest picture of the last minutes: it has lain in a queue."""
JUMP_S: Final = 4.0
"""Late for so long: it was the camera's clock that jumped."""
DRIFT: Final = 0.001
"""The clocks may go apart by so much, in seconds a second."""


class Lateness:
    """Compares the camera's own time of each picture with the time of its arrival; both in seconds."""

    def __init__(self) -> None:
        self._least = float("inf")
        self._before_s = 0.0
        self._late_since_s: float | None = None

    def is_late(self, *, pictured_s: float, arrived_s: float) -> bool:
        """Take note of a picture; tell whether it has lain somewhere."""
        delay = arrived_s - pictured_s
        self._least += DRIFT * max(0.0, arrived_s - self._before_s)
        self._before_s = arrived_s
        self._least = min(self._least, delay)
        if delay - self._least <= LATE_S:
            self._late_since_s = None
            return False
        if self._late_since_s is None:
            self._late_since_s = arrived_s
        if arrived_s - self._late_since_s >= JUMP_S:
            self._least, self._late_since_s = delay, None
            return False
        return True
