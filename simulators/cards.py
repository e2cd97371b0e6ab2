"""Who lays a card on a reader, when, and for how many frames: a seeded plan without end."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Final

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterator

FRAME_PERIOD_S: Final = 0.065
"""An RDM6300 repeats its frame so often while a card lies there."""
FIRST_ARRIVAL_S: Final = 2.0
APART_S: Final = 36.0
"""From one presence of a card at a reader to its next: far beyond any window in which two are merged."""
_AGAIN_CHANCE: Final = 0.3
_QUICK_CHANCE: Final = 0.15


class Presence(msgspec.Struct, frozen=True, kw_only=True):
    """One card on one reader; `n` counts from 1."""

    n: int
    offset_s: float
    """After the schedule's start."""
    card: str
    """Ten upper-case hex digits: version byte and tag."""
    frames: int
    refuses: bool = False
    """The card of the pupil who does not consent: nothing of him may leave the room."""


def pupil_cards(seed: int, pupils: int) -> list[str]:
    """Return the school's cards, all different; the same for every reader."""
    rng = random.Random(f"{seed}/cards")
    cards: dict[str, None] = {}
    while len(cards) < pupils:
        cards[f"{rng.getrandbits(40):010X}"] = None
    return list(cards)


def refusing_card(seed: int, pupils: int) -> str:
    """Return the card of the one pupil who refuses."""
    return random.Random(f"{seed}/refuses").choice(pupil_cards(seed, pupils))


def presences(*, seed: int, reader: str, pupils: int) -> Iterator[Presence]:
    """Yield the reader's presences in the order of time, without end; none overlap.

    Everybody comes once, about one each 1.2 s; some come again. The one who refuses is among the first, and comes
    again as soon as he may: twice within the first minute.
    """
    if not pupils:
        return
    rng = random.Random(f"{seed}/{reader}/presences")
    refusing = refusing_card(seed, pupils)
    arriving = [card for card in pupil_cards(seed, pupils) if card != refusing]
    rng.shuffle(arriving)
    arriving.insert(rng.randrange(min(2, pupils), min(6, pupils) + 1) if pupils > 1 else 0, refusing)
    seen: dict[str, float] = {}
    at, number = FIRST_ARRIVAL_S + rng.uniform(0, 0.8), 0
    while True:
        again = [card for card, ended in seen.items() if at - ended >= APART_S]
        if refusing in again:
            card = refusing
        elif again and (not arriving or rng.random() < _AGAIN_CHANCE):
            card = rng.choice(again)
        elif arriving:
            card = arriving.pop(0)
        else:
            at = min(seen.values()) + APART_S + rng.uniform(0.1, 0.5)
            continue
        number += 1
        at = round(at, 3)
        frames = rng.randint(3, 8)
        yield Presence(n=number, offset_s=at, card=card, frames=frames, refuses=card == refusing)
        at += frames * FRAME_PERIOD_S
        # pop first: the card moves to the end, so that `seen` is in the order of time.
        seen.pop(card, None)
        seen[card] = at
        at += rng.uniform(0.08, 0.18) if rng.random() < _QUICK_CHANCE else rng.uniform(0.35, 1.6)
