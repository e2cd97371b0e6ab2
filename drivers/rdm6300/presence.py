"""Presences, pure: many sightings of a card become one arrival."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True, kw_only=True)
class _Seen:
    first_ns: int
    first_s: float
    last_s: float
    sightings: int
    arrived: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """A card that has come and was confirmed."""

    card: str
    first_ns: int
    """UTC time of its first frame."""
    resumed: bool
    """It may have lain there before the reader was opened."""


class Presences:
    """Which cards lie on the reader. Times in seconds are monotonic; `opened_s` is when the port was opened.

    A card arrives when it was seen `confirm_frames` times (an 8-bit XOR lets one corrupted frame in some ten thousand
    pass; two equal ones it does not), and has left when it was not seen for `gap_s`.
    """

    def __init__(self, *, confirm_frames: int, gap_s: float, opened_s: float) -> None:
        self._confirm_frames = confirm_frames
        self._gap_s = gap_s
        self._opened_s = opened_s
        self._seen: dict[str, _Seen] = {}
        self.unconfirmed = 0
        """Cards that went before they were confirmed: too quick a tap, or a corrupted frame."""

    def sighting(self, card: str, *, now_s: float, now_ns: int) -> Arrival | None:
        """Take note of one valid frame; return the arrival that it confirms, if it does."""
        self.expire(now_s)
        seen = self._seen.get(card)
        if seen is None:
            seen = self._seen[card] = _Seen(first_ns=now_ns, first_s=now_s, last_s=now_s, sightings=0)
        seen.last_s = now_s
        seen.sightings += 1
        if seen.arrived or seen.sightings < self._confirm_frames:
            return None
        seen.arrived = True
        return Arrival(card=card, first_ns=seen.first_ns, resumed=seen.first_s - self._opened_s <= self._gap_s)

    def expire(self, now_s: float) -> None:
        """Forget the cards that have left."""
        for card in [card for card, seen in self._seen.items() if now_s - seen.last_s > self._gap_s]:
            self.unconfirmed += not self._seen.pop(card).arrived
