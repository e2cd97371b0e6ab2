"""Backoff: how long to leave a failing device alone; full jitter, doubling, capped."""

from __future__ import annotations

import random
from typing import Final

FIRST_S: Final = 0.25
CAP_S: Final = 1.5
"""A re-plugged device is back within 2 s; asking a dead one twice in three seconds costs its link little."""
AUTH_S: Final = 300.0
"""A refused login: only a person can mend it, and asking again may lock the account."""


class Backoff:
    """Delays for one device; `reset` after a success."""

    def __init__(self, random_: random.Random | None = None) -> None:
        self._random = random_ or random.Random()  # noqa: S311 - spreads load, hides nothing
        self._failures = 0

    def reset(self) -> None:
        """Forget the failures."""
        self._failures = 0

    def next_s(self) -> float:
        """Return the next delay: between half and all of a span that doubles up to the cap."""
        span = min(CAP_S, FIRST_S * float(1 << self._failures))
        self._failures = min(self._failures + 1, 16)
        return span * (0.5 + self._random.random() / 2)
