"""What a simulated camera sees, pure and seeded: how many people sit where in which scene. No pixels here.

Scene n of a programme depends on (seed, camera's name, n) alone. People sit in three rows of five places; those at the
back are smaller. The sizes are such that a face detector that is any good finds each of them, and nobody else.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Final

WIDTH: Final = 640
HEIGHT: Final = 480

PORTRAIT_PER_FACE: Final = 250 / 88
"""A portrait's side per width of the face in it."""
_COLUMNS: Final = 5
_ROWS: Final = ((10, 27, 33), (150, 31, 38), (305, 35, 42))
"""From the back to the front: upper edge in px, narrowest and widest face in px."""
_JITTER: Final = 8
_BRIGHTNESS: Final = (0.8, 1.15)
MAX_PEOPLE: Final = _COLUMNS * len(_ROWS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """One person, as a square portrait of head and shoulders: upper left corner and side in px."""

    x: int
    y: int
    side: int
    mirrored: bool
    brightness: float

    @property
    def face_width(self) -> float:
        """Width of the face, px."""
        return self.side / PORTRAIT_PER_FACE


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """Scene `n`: the people in it, from the back to the front."""

    n: int
    people: tuple[Person, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Programme:
    """How many people come to be seen: each number once, in seeded order, and again from the start."""

    says: str
    counts: tuple[int, ...]


PROGRAMMES: Final[dict[str, Programme]] = {
    "lesson": Programme(says="an empty room, some people, a class; another number each scene", counts=(0, 5, 8, 2, 12)),
    "empty": Programme(says="nobody, ever", counts=(0,)),
    "full": Programme(says="a full room, seated anew each scene", counts=(MAX_PEOPLE,)),
}


def people_in(programme: Programme, *, seed: int, name: str, n: int) -> int:
    """Return how many people scene `n` shows; the first is 1."""
    order = random.Random(f"{seed}/{name}/counts").sample(programme.counts, len(programme.counts))
    return order[(n - 1) % len(order)]


def scene(programme: Programme, *, seed: int, name: str, n: int) -> Scene:
    """Return scene `n`; the first is 1."""
    rng = random.Random(f"{seed}/{name}/scene/{n}")
    places = [(row, column) for row in range(len(_ROWS)) for column in range(_COLUMNS)]
    taken = sorted(rng.sample(places, people_in(programme, seed=seed, name=name, n=n)))
    return Scene(n=n, people=tuple(_person(rng, row, column) for row, column in taken))


def _person(rng: random.Random, row: int, column: int) -> Person:
    top, narrowest, widest = _ROWS[row]
    side = round(rng.uniform(narrowest, widest) * PORTRAIT_PER_FACE)
    cell = WIDTH // _COLUMNS
    room = cell - side
    return Person(
        x=column * cell + rng.randint(min(2, room), max(2, room - 2)),
        y=top + rng.randint(0, _JITTER),
        side=side,
        mirrored=rng.random() < 0.5,  # noqa: PLR2004 - one in two
        brightness=rng.uniform(*_BRIGHTNESS),
    )
