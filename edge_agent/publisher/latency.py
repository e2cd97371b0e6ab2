"""How long acknowledgements take: the 95th percentile over the last ones. Pure."""

from __future__ import annotations

import math
from collections import deque
from typing import Final

KEPT: Final = 200
ENOUGH: Final = 20
_SHARE: Final = 0.95


class Latency:
    """Keeps the latest acknowledgement times in seconds."""

    def __init__(self) -> None:
        self._times: deque[float] = deque(maxlen=KEPT)

    def add(self, seconds: float) -> None:
        """Note one acknowledgement."""
        self._times.append(seconds)

    @property
    def p95_s(self) -> float | None:
        """The time within which 95 of 100 came; none while there are too few to tell."""
        if len(self._times) < ENOUGH:
            return None
        return sorted(self._times)[math.ceil(_SHARE * len(self._times)) - 1]
