"""Census, pure: which bands were heard, what they said last, and how many they are. Bounded, whatever is in the air."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from telemetry.crowd import told

MAX_BANDS: Final = 1000
"""Anybody can send made-up ids: beyond so many the one that was silent for longest is forgotten, and counted."""


@dataclass(slots=True)
class _Heard:
    at_s: float
    said: bytes
    said_s: float


class Census:
    """Times are monotonic seconds. A band that says the same again within `repeat_s` has said it once."""

    def __init__(self, *, repeat_s: float) -> None:
        self._repeat_s = repeat_s
        self._heard: OrderedDict[str, _Heard] = OrderedDict()
        self.forgotten = 0

    def news(self, band: str, said: bytes, *, now_s: float) -> bool:
        """Take note of a band; tell whether `said` is a new reading and no repeat of the last one."""
        heard = self._heard.get(band)
        if heard is None:
            if len(self._heard) >= MAX_BANDS:
                self._heard.popitem(last=False)
                self.forgotten += 1
            self._heard[band] = _Heard(now_s, said, now_s)
            return True
        self._heard.move_to_end(band)
        heard.at_s = now_s
        if said == heard.said and now_s - heard.said_s < self._repeat_s:
            return False
        heard.said, heard.said_s = said, now_s
        return True

    def count(self, *, now_s: float, within_s: float) -> int:
        """Return how many bands were heard within `within_s`, and forget the others; 1 to 4 are told as 4."""
        for band in [band for band, heard in self._heard.items() if now_s - heard.at_s > within_s]:
            del self._heard[band]
        return told(len(self._heard))
