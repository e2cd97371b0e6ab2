"""How fast old batches go out: a limit in bytes a second, and less while acknowledgements come late. Pure."""

from __future__ import annotations

from typing import Final

BYTES_PER_S: Final = 64 * 1024
"""A hundred gateways that drain at once then take half of a school's 100 Mbit/s."""
OVERHEAD_BYTES: Final = 256
"""What a batch costs beside its payload: topic, headers, its acknowledgements."""
_LEAST: Final = 1 / 32
"""Slower than this it never gets: a backlog must shrink also where every acknowledgement takes long."""
_MORE: Final = 1 / 32


class Pace:
    """Spaces backfill out; halves its share when an acknowledgement was late, and wins it back with quick ones.

    All gateways see the same ingest through their acknowledgements: when it is behind, each makes way for live data.
    """

    def __init__(self, *, bytes_per_s: float = BYTES_PER_S, late_s: float = 1.0) -> None:
        self.share = 1.0
        """Of the limit, at present."""
        self._bytes_per_s = bytes_per_s
        self._late_s = late_s
        self._at = 0.0
        self._slowed_at = float("-inf")

    def ready_at(self) -> float:
        """Return the time from which the next old batch may go."""
        return self._at

    def sent(self, size: int, now: float) -> None:
        """Note that an old batch of `size` bytes was sent."""
        self._at = max(self._at, now) + (size + OVERHEAD_BYTES) / (self._bytes_per_s * self.share)

    def acknowledged(self, sent_at: float, now: float) -> None:
        """Note how long an acknowledgement took, be it of a live batch or of an old one."""
        if now - sent_at <= self._late_s:
            self.share = min(1.0, self.share + _MORE)
        elif sent_at > self._slowed_at:
            # What was on its way when we slowed down says nothing about the pace since then.
            self.slow_down(now)

    def slow_down(self, now: float) -> None:
        """Go at half the pace."""
        self.share = max(_LEAST, self.share / 2)
        self._slowed_at = now
