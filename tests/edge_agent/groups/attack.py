"""The attack on class means: simulated lessons, what is told of them, and the best linear guess of each pupil.

The attacker knows the class list, who is there in each minute, the algorithm, the statistics by which heart rates are
made, and all that is told. Here he also knows the split, which really only the gateway does: whoever does not know it
can do no better. Rates are in beat/min. A lesson's truth is an array of pupils by minutes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edge_agent.groups.cells import Sizes, draw
from edge_agent.groups.lesson import ClassLesson

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Bools = NDArray[np.bool_]
    Presence = Callable[[np.random.Generator, int, int], Bools]

OFFSET_SD = 15.0
"""How pupils differ, in all lessons."""
DAY_SD = 5.0
"""How a pupil differs from that in one lesson."""
NOISE_SD = 4.0
"""How a pupil's minutes differ in a lesson."""
LEVEL_SD = 8.0
"""How lessons differ for the whole class."""
MINUTES = 30
USUAL = np.interp(np.arange(MINUTES), [0, 6, 14, 17, 25, 30], [100, 135, 160, 140, 165, 110])
"""Warming up, load, rest, load, cooling down."""


@dataclass(frozen=True, kw_only=True)
class Told:
    """A class mean, and (for the attacker who knows the split) whose it is."""

    minute: int
    mean: float
    members: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class PastLesson:
    """One simulated lesson."""

    rates: Floats
    there: Bools
    trend: Floats
    told: Sequence[Told]
    mates: Sequence[int]
    """The cell of pupil 0, he too: what gives him away gives them away as well."""


def trend(rng: np.random.Generator) -> Floats:
    """Return a class's course: the usual one, at a level of the day, with a walk of its own."""
    course: Floats = USUAL + rng.normal(0, LEVEL_SD) + np.cumsum(rng.normal(0, 1.0, MINUTES))
    return course


def lesson(
    rng: np.random.Generator, offsets: Floats, there: Bools, *, key: bytes, forced: dict[int, float] | None = None
) -> PastLesson:
    """Return one lesson of the pupils with `offsets`, run through the real code; `forced` bands say what they like."""
    count = len(offsets)
    course = trend(rng)
    person = offsets + rng.normal(0, DAY_SD, count)
    rates = np.clip(course + person[:, None] + rng.normal(0, NOISE_SD, (count, MINUTES)), 45, 215)
    for pupil, rate in (forced or {}).items():
        rates[pupil] = rate
    names = [f"{number:03d}" for number in range(count)]
    sizes = Sizes.of(5)
    state = ClassLesson(
        cells=draw(names, size=sizes.cell, key=key, group="7-1"),
        first_minute=0,
        seen_from_start=True,
        told_from=sizes.told,
    )
    told = []
    for minute in range(MINUTES):
        for pupil in np.flatnonzero(there[:, minute]):
            state.note(names[pupil], minute, float(rates[pupil, minute]), now_minute=minute)
        answer = state.close(minute)
        if answer is not None:
            present = {names[pupil] for pupil in np.flatnonzero(there[:, minute])}
            members = tuple(int(name) for cell in state.whole_cells(minute, present) for name in sorted(cell))
            assert len(members) == answer.pupils
            told.append(Told(minute=minute, mean=answer.mean, members=members))
    mates = next(sorted(int(name) for name in cell) for cell in state.cells if names[0] in cell)
    return PastLesson(rates=rates, there=there, trend=course, told=told, mates=mates)


def guesses(
    past: Sequence[PastLesson], *, known: Sequence[int] = (), knows_trend: bool, least_squares: bool = False
) -> list[Floats]:
    """Return the attacker's guess of each pupil's rate in each minute of each lesson.

    Unknown are each pupil's offset from the class in each lesson, of whose prior he knows the covariance. With
    `knows_trend` he also knows the class's true course; else its prior. `least_squares`: by the least squares with the
    smallest answer instead, which is what one does who knows no statistics. `known` pupils' rates are his own bands'.
    """
    lessons, count = len(past), past[0].rates.shape[0]
    prior = np.kron(np.full((lessons, lessons), OFFSET_SD**2) + DAY_SD**2 * np.eye(lessons), np.eye(count))
    rows, right, sizes, minutes = [], [], [], []
    for number, one in enumerate(past):
        for told in one.told:
            unknown = [pupil for pupil in told.members if pupil not in known]
            own = sum(one.rates[pupil, told.minute] for pupil in told.members if pupil in known)
            # All in sums over the unknown: mean * n - own bands = share of trend + the offsets' sum
            row = np.zeros(lessons * count)
            row[[number * count + pupil for pupil in unknown]] = 1.0
            rows.append(row)
            right.append(told.mean * len(told.members) - own - len(unknown) * one.trend[told.minute] * knows_trend)
            sizes.append((len(unknown), len(told.members)))
            minutes.append((number, told.minute))
    if not rows:
        offsets = np.zeros(lessons * count)
        courses = [one.trend for one in past]
        return [_spread(offsets[n * count : (n + 1) * count], courses[n]) for n in range(lessons)]
    matrix, values = np.array(rows), np.array(right)
    noise = _noise(sizes)
    solve = _smallest if least_squares else _posterior
    if knows_trend:
        courses = [one.trend for one in past]
        offsets = solve(matrix, values, prior, noise)
    else:
        # The class's course is unknown too: its level, and its walk from minute to minute.
        picks = np.zeros((len(values), lessons * MINUTES))
        for row, (number, minute) in enumerate(minutes):
            picks[row, number * MINUTES + minute] = sizes[row][0]
        walk = np.minimum.outer(np.arange(1, MINUTES + 1), np.arange(1, MINUTES + 1)).astype(float)
        both, known_part = lessons * count, picks @ np.tile(USUAL, lessons)
        joint = np.zeros((both + lessons * MINUTES, both + lessons * MINUTES))
        joint[:both, :both] = prior
        joint[both:, both:] = np.kron(np.eye(lessons), LEVEL_SD**2 + walk)
        found = solve(np.hstack([matrix, picks]), values - known_part, joint, noise)
        offsets = found[:both]
        courses = [USUAL + found[both + n * MINUTES : both + (n + 1) * MINUTES] for n in range(lessons)]
    return [_spread(offsets[n * count : (n + 1) * count], courses[n]) for n in range(lessons)]


def _noise(sizes: Sequence[tuple[int, int]]) -> Floats:
    """Return the variances of the equations: the pupils' minutes, and the rounding of the mean."""
    return np.array([unknown * NOISE_SD**2 + told**2 / 12 for unknown, told in sizes]) + 1e-6


def _posterior(matrix: Floats, values: Floats, prior: Floats, noise: Floats) -> Floats:
    gain = prior @ matrix.T @ np.linalg.inv(matrix @ prior @ matrix.T + np.diag(noise))
    mean: Floats = gain @ values
    return mean


def _smallest(matrix: Floats, values: Floats, prior: Floats, noise: Floats) -> Floats:
    answer: Floats = np.linalg.lstsq(matrix, values, rcond=None)[0]
    return answer


def _spread(offsets: Floats, course: Floats) -> Floats:
    guess: Floats = offsets[:, None] + course[None, :]
    return guess


def squares(past: Sequence[PastLesson], guess: Sequence[Floats], targets: Sequence[int]) -> tuple[float, float, int]:
    """Return the attacker's squared error, that of guessing the class mean, and how many values there were.

    Counted in the minutes in which the target is there and something is told.
    """
    attack = mean = 0.0
    count = 0
    for one, rates in zip(past, guess, strict=True):
        told = sorted({entry.minute for entry in one.told})
        for target in targets:
            for minute in told:
                if one.there[target, minute]:
                    truth = one.rates[target, minute]
                    class_mean = one.rates[one.there[:, minute], minute].mean()
                    attack += float(rates[target, minute] - truth) ** 2
                    mean += float(class_mean - truth) ** 2
                    count += 1
    return attack, mean, count
