"""Lapses: for how long this process did nothing at all (frozen, swapped out, starved), and time without them."""

from __future__ import annotations

import asyncio
import time
from typing import Self


class Lapses:
    """Enter it in a running loop. It looks at the clock every `tick_s`; being late by more than `least_s` is a lapse.

    Bytes that arrived meanwhile seem to have come at its end, so that a gap before them says nothing about the wire.
    """

    def __init__(self, *, tick_s: float, least_s: float) -> None:
        self._tick_s = tick_s
        self._least_s = least_s
        self._due_s = 0.0
        self._total_s = 0.0
        self._last = (0.0, 0.0)
        """Beginning and length of the last lapse."""
        self._timer: asyncio.TimerHandle | None = None

    def __enter__(self) -> Self:
        """Begin to look."""
        self._wait()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop looking."""
        if self._timer is not None:
            self._timer.cancel()

    def without(self, at_s: float) -> float:
        """Return the time `at_s` of `time.monotonic()`, now or a moment ago, on a clock that stood still in lapses."""
        began_s, length_s = self._last
        if at_s <= began_s:
            return at_s - (self._total_s - length_s)
        late_s = at_s - self._due_s  # the timer may be told of a lapse after the bytes
        return at_s - self._total_s - (late_s if late_s > self._least_s else 0.0)

    def _wait(self) -> None:
        self._due_s = time.monotonic() + self._tick_s
        self._timer = asyncio.get_running_loop().call_later(self._tick_s, self._ticked)

    def _ticked(self) -> None:
        late_s = time.monotonic() - self._due_s
        if late_s > self._least_s:
            self._last = (self._due_s, late_s)
            self._total_s += late_s
        self._wait()
