"""What acknowledgements say of the time: bounds, which have to agree. Pure: times are passed in."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from edge_agent.clock import EARLIEST_NS, LATEST_NS

if TYPE_CHECKING:
    from telemetry.counters import Counters

MUST_AGREE: Final = 3
"""One wrong answer must set no clock."""
WIDEST_NS: Final = 2_000_000_000
"""An answer that took longer says too little: the middle of it may be off by half."""
_KEPT: Final = 8
_DRIFT: Final = 2e-4
"""By how much a gateway's oscillator may be off: what was heard a while ago is worth less."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Bounds:
    """UTC minus CLOCK_BOOTTIME lies between these."""

    low_ns: int
    high_ns: int
    at_boot_ns: int


class TimeEvidence:
    """Collects the ingest's clock as it is told; half the round trip is what nobody can know."""

    def __init__(self, counters: Counters) -> None:
        self._counters = counters
        self._bounds: deque[_Bounds] = deque(maxlen=_KEPT)
        self._fresh = False
        """There is an answer that was not compared with the others yet."""

    def add(self, time_ns: int, *, sent_boot_ns: int, received_boot_ns: int) -> None:
        """Note an answer: the ingest's UTC when it answered, and CLOCK_BOOTTIME when it was asked and heard."""
        if not EARLIEST_NS <= time_ns < LATEST_NS:
            self._counters.add("clock.absurd_answers")
            return
        bounds = _Bounds(low_ns=time_ns - received_boot_ns, high_ns=time_ns - sent_boot_ns, at_boot_ns=received_boot_ns)
        if 0 <= bounds.high_ns - bounds.low_ns <= WIDEST_NS:
            self._bounds.append(bounds)
            self._fresh = True
        else:
            self._counters.add("clock.slow_answers")

    def offset_ns(self, now_boot_ns: int) -> int | None:
        """Return UTC minus CLOCK_BOOTTIME as the last answers agree on it, three at least; none if they do not."""
        found: int | None = None
        low = high = 0
        for count, one in enumerate(reversed(self._bounds), start=1):
            slack = int((now_boot_ns - one.at_boot_ns) * _DRIFT)
            low = max(low, one.low_ns - slack) if count > 1 else one.low_ns - slack
            high = min(high, one.high_ns + slack) if count > 1 else one.high_ns + slack
            if low > high:
                if count <= MUST_AGREE and self._fresh:
                    self._counters.add("clock.answers_disagree")
                break
            if count >= MUST_AGREE:
                found = (low + high) // 2
        self._fresh = False
        return found
