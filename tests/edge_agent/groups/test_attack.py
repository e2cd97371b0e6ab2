"""The attack fails: nobody's heart rate is known better than by nine tenths of guessing the class mean.

Each test simulates lessons, runs them through the real code, and lets the attacker of attack.py work on all that was
told. `python -m tests.edge_agent.groups.figures` prints the figures of edge_agent/groups/README.md.
"""

from dataclasses import replace

import numpy as np
import pytest

from tests.edge_agent.groups.attack import MINUTES, OFFSET_SD, Told, guesses, lesson, squares

BOUND = 0.9
SIZES = (8, 9, 11, 12, 25, 45)


def everybody(rng, count, number):
    return np.ones((count, MINUTES), dtype=bool)


def one_leaves(rng, count, number):
    there = everybody(rng, count, number)
    there[0, rng.integers(8, 20) :] = False
    return there


def one_joins(rng, count, number):
    there = everybody(rng, count, number)
    there[0, : rng.integers(4, 20)] = False
    return there


def every_other_minute(rng, count, number):
    """One band drops out and returns."""
    there = everybody(rng, count, number)
    there[0, 1::2] = False
    return there


def waves(rng, count, number):
    """Twelve times some leave together and come back."""
    there = everybody(rng, count, number)
    for _ in range(12):
        begin = rng.integers(1, MINUTES - 4)
        there[rng.choice(count, size=max(1, count // 8), replace=False), begin : begin + rng.integers(1, 6)] = False
    return there


def radio(rng, count, number):
    """One reading in twenty is lost."""
    return rng.random((count, MINUTES)) > 0.05


def absent_each_fifth(rng, count, number):
    there = everybody(rng, count, number)
    if number % 5 == 4:
        there[0] = False
    return there


SINGLE = (everybody, one_leaves, one_joins, every_other_minute)
MANY = (waves, radio)


def ratio(scene, count, *, lessons=1, classes=40, known=0, draws=1, seed=1, forced=None, **how):
    """Return the attacker's root mean square error over that of guessing the class mean, for who moves and his cell.

    `known`: the last so many bands are the attacker's. `draws`: how many different lists (draws of cells) there are.
    """
    rng = np.random.default_rng([seed, count, lessons])
    attack = mean = 0.0
    for _ in range(classes):
        offsets = rng.normal(0, OFFSET_SD, count)
        keys = [rng.bytes(32) for _ in range(draws)]
        past = [
            lesson(rng, offsets, scene(rng, count, number), key=keys[number % draws], forced=forced)
            for number in range(lessons)
        ]
        # Whoever shares a cell is given away with him, and counts: but not where he alone would be.
        alone = draws > 1 or scene is absent_each_fifth
        targets = [0] if alone else [pupil for pupil in past[0].mates if pupil < count - known]
        guess = guesses(past, known=range(count - known, count), **how)
        errors = squares(past, guess, targets)
        attack, mean = attack + errors[0], mean + errors[1]
    assert mean, "nothing was told: there is nothing to attack"
    return float(np.sqrt(attack / mean))


def mistaken(scene, count, *, plain=False, least_squares=False):
    """Return the ratio for who takes each mean for that of all who are there; with `plain` it is."""
    rng = np.random.default_rng(5)
    attack = mean = 0.0
    for _ in range(60):
        there = scene(rng, count, 0)
        one = lesson(rng, rng.normal(0, OFFSET_SD, count), there, key=rng.bytes(32))
        present = [np.flatnonzero(there[:, minute]) for minute in range(MINUTES)]
        plainly = {minute: np.round(one.rates[present[minute], minute].mean()) for minute in range(MINUTES)}
        told = plainly if plain else {told.minute: told.mean for told in one.told}
        past = [
            replace(
                one,
                told=[
                    Told(minute=minute, mean=float(rate), members=tuple(present[minute]))
                    for minute, rate in told.items()
                ],
            )
        ]
        errors = squares(past, guesses(past, knows_trend=True, least_squares=least_squares), [0])
        attack, mean = attack + errors[0], mean + errors[1]
    return float(np.sqrt(attack / mean))


@pytest.mark.parametrize("count", SIZES)
@pytest.mark.parametrize("known", [0, 4], ids=["stranger", "four bands"])
@pytest.mark.parametrize("scene", [*SINGLE, *MANY])
def test_one_lesson_by_who_knows_split_and_course(scene, count, known):
    """The strongest: he knows the random split, and the class's true course without error."""
    assert ratio(scene, count, known=known, knows_trend=True) >= BOUND


@pytest.mark.parametrize("count", SIZES)
@pytest.mark.parametrize("scene", [one_leaves, every_other_minute, waves])
def test_one_lesson_by_least_squares(scene, count):
    """As DoD says it: least squares over all told equations, without any statistics of heart rates."""
    assert ratio(scene, count, knows_trend=True, least_squares=True) >= BOUND
    assert ratio(scene, count, knows_trend=False, least_squares=True) >= BOUND


@pytest.mark.parametrize("count", [12, 25, 45])
@pytest.mark.parametrize("known", [0, 4], ids=["stranger", "four bands"])
@pytest.mark.parametrize("scene", [one_leaves, every_other_minute, waves])
def test_twelve_lessons_of_the_same_class(scene, count, known):
    """All equations of all lessons together: the cells stay the same, so nothing adds up."""
    assert ratio(scene, count, lessons=12, classes=10, known=known, knows_trend=False) >= BOUND


@pytest.mark.parametrize("count", [9, 12, 25])
def test_twelve_lessons_two_of_them_without_one_pupil(count):
    """Days differ by more than one pupil does: a class of one cell, told with and without him, does not tell of him."""
    assert ratio(absent_each_fifth, count, lessons=12, classes=40, knows_trend=False) >= BOUND


def test_a_band_that_says_what_it_likes_gains_nothing():
    """The attacker's bands jump to shift the rounding."""
    assert (
        ratio(every_other_minute, 12, known=4, forced={8: 45.0, 9: 200.0, 10: 61.3, 11: 214.0}, knows_trend=True)
        >= BOUND
    )


def test_the_attacker_who_counts_on_everybody_being_in_the_mean_does_worse():
    """Without the split: he takes each mean for that of all who are there."""
    assert mistaken(every_other_minute, 45, least_squares=True) >= BOUND


def test_the_attack_is_a_real_one():
    """It finds a pupil where the cells are drawn anew for each lesson: this is why they are not."""
    assert ratio(every_other_minute, 45, lessons=12, classes=20, draws=12, knows_trend=False) < 0.85


def test_with_whole_classes_instead_of_cells_the_pupil_would_be_found():
    """The mean of all who are there, with one band coming and going: what differencing is."""
    assert mistaken(every_other_minute, 12, plain=True) < 0.5
