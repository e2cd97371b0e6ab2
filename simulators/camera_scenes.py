"""What a simulated camera sees, pure and seeded: how many people sit where in which scene. No pixels here.

Scene n of a programme depends on (seed, camera's name, n) alone. People sit in rows; those at the back are smaller. The
sizes are such that a face detector that is any good finds each of them, and nobody else. In `rooms` up to 45 people sit
closer, move, are in part hidden by their desks, and the light is another one each scene.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from typing import Final

WIDTH: Final = 640
HEIGHT: Final = 480

PORTRAIT_PER_FACE: Final = 250 / 88
"""A portrait's side per width of the face in it."""
_JITTER: Final = 8
_BRIGHTNESS: Final = (0.8, 1.15)


@dataclass(frozen=True, slots=True, kw_only=True)
class Seats:
    """Where people may sit."""

    columns: int
    rows: tuple[tuple[int, float, float], ...]
    """From the back to the front: upper edge in px, narrowest and widest face in px."""

    @property
    def places(self) -> int:
        """How many there are."""
        return self.columns * len(self.rows)


_CLASS: Final = Seats(columns=5, rows=((10, 27, 33), (150, 31, 38), (305, 35, 42)))
_HALL: Final = Seats(columns=9, rows=((6, 17, 19), (88, 18, 20), (174, 19, 21), (264, 20, 22), (358, 21, 23)))
MAX_PEOPLE: Final = _HALL.places
_LIGHT: Final = (0.55, 1.15)
_HIDDEN: Final = 0.28
"""A desk hides at most so much of a portrait, from below: shoulders, never the face."""
_MOVES: Final = 3
MOVES: Final = 4
"""A person who moves is seen in so many places in turn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """One person, as a square portrait of head and shoulders: upper left corner and side in px."""

    x: int
    y: int
    side: int
    mirrored: bool
    brightness: float
    hidden: float = 0.0
    """Share of the portrait, from below, that a desk hides."""
    reach: int = 0
    """Goes so many px to and fro."""

    @property
    def face_width(self) -> float:
        """Width of the face, px."""
        return self.side / PORTRAIT_PER_FACE


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """Scene `n`: the people in it, from the back to the front."""

    n: int
    people: tuple[Person, ...]
    light: float = 1.0
    covered: bool = False
    """Something is in front of the lens: nobody can be seen."""

    @property
    def moves(self) -> bool:
        """Whether anybody does."""
        return any(person.reach for person in self.people)


@dataclass(frozen=True, slots=True, kw_only=True)
class Programme:
    """How many people come to be seen: each number once, in seeded order, and again from the start."""

    says: str
    counts: tuple[int, ...]
    seats: Seats = _CLASS
    lively: bool = False
    """People move and are in part hidden, and the light changes."""
    covered: bool = False
    """The lens is covered in each third scene."""


PROGRAMMES: Final[dict[str, Programme]] = {
    "lesson": Programme(says="an empty room, some people, a class; another number each scene", counts=(0, 5, 8, 2, 12)),
    "empty": Programme(says="nobody, ever", counts=(0,)),
    "full": Programme(says="a full room, seated anew each scene", counts=(_CLASS.places,)),
    "rooms": Programme(
        says="up to 45 people who move and are in part hidden, in changing light; another number each scene",
        counts=(0, *range(1, MAX_PEOPLE + 1)),
        seats=_HALL,
        lively=True,
    ),
    "empty-room": Programme(says="nobody, ever, in changing light", counts=(0,), lively=True),
    "covered": Programme(says="a class; in each third scene something covers the lens", counts=(5, 12), covered=True),
}


def people_in(programme: Programme, *, seed: int, name: str, n: int) -> int:
    """Return how many people scene `n` shows; the first is 1."""
    order = random.Random(f"{seed}/{name}/counts").sample(programme.counts, len(programme.counts))
    return order[(n - 1) % len(order)]


def scene(programme: Programme, *, seed: int, name: str, n: int) -> Scene:
    """Return scene `n`; the first is 1."""
    rng = random.Random(f"{seed}/{name}/scene/{n}")
    if programme.covered and n % 3 == 0:
        return Scene(n=n, people=(), covered=True)
    seats = programme.seats
    places = [(row, column) for row in range(len(seats.rows)) for column in range(seats.columns)]
    taken = sorted(rng.sample(places, people_in(programme, seed=seed, name=name, n=n)))
    people = tuple(_person(rng, seats, row, column) for row, column in taken)
    if not programme.lively:
        return Scene(n=n, people=people)
    lively = (replace(person, hidden=rng.uniform(0, _HIDDEN), reach=rng.randint(0, _MOVES)) for person in people)
    return Scene(n=n, people=tuple(lively), light=rng.uniform(*_LIGHT))


def _person(rng: random.Random, seats: Seats, row: int, column: int) -> Person:
    top, narrowest, widest = seats.rows[row]
    side = round(rng.uniform(narrowest, widest) * PORTRAIT_PER_FACE)
    cell = WIDTH // seats.columns
    room = cell - side
    return Person(
        x=column * cell + rng.randint(min(2, room), max(2, room - 2)),
        y=top + rng.randint(0, _JITTER),
        side=side,
        mirrored=rng.random() < 0.5,  # noqa: PLR2004 - one in two
        brightness=rng.uniform(*_BRIGHTNESS),
    )
