"""Cells: large enough, the same for the same list, drawn afresh for another."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.groups.cells import Sizes, draw, stepped

KEY = b"k" * 32
SIZES = Sizes.of(5)


def names(count):
    return [f"{number:032x}" for number in range(count)]


@given(count=st.integers(0, 200), size=st.integers(1, 30))
def test_everybody_is_in_one_cell_of_the_size_or_more(count, size):
    cells = draw(names(count), size=size, key=KEY, group="7-1")
    assert sorted(member for cell in cells for member in cell) == names(count)
    assert all(len(cell) >= min(size, count) for cell in cells)
    assert max(map(len, cells)) - min(map(len, cells)) <= 1
    assert len(cells) == max(1, count // size)


def test_the_same_list_has_the_same_cells_whatever_its_order():
    first = draw(names(45), size=10, key=KEY, group="7-1")
    assert first == draw(reversed(names(45)), size=10, key=KEY, group="7-1")
    assert first != draw(names(45), size=10, key=b"l" * 32, group="7-1")
    assert first != draw(names(45), size=10, key=KEY, group="7-2")


def test_a_list_with_one_pupil_less_is_drawn_afresh_as_a_whole():
    """Cells that differ by one pupil would give away that pupil; here none has more in common than by chance."""
    before = draw(names(45), size=10, key=KEY, group="7-1")
    after = draw(names(44), size=10, key=KEY, group="7-1")
    assert all(len(one & other) <= 7 for one in before for other in after)


def test_each_pupil_falls_into_each_cell_equally_often():
    where = np.zeros((20, 2))
    for number in range(1000):
        for index, cell in enumerate(draw(names(20), size=10, key=number.to_bytes(32, "big"), group="c")):
            for member in cell:
                where[int(member, 16), index] += 1
    assert np.all(np.abs(where - 500) < 5 * np.sqrt(250))


@pytest.mark.parametrize(
    ("min_group", "cell", "told"), [(5, 10, 8), (2, 10, 8), (8, 16, 11)], ids=["default", "too small", "larger"]
)
def test_sizes_follow_the_policy_but_never_go_below_the_default(min_group, cell, told):
    assert Sizes.of(min_group) == Sizes(cell=cell, told=told)


@pytest.mark.parametrize(("pupils", "told"), [(8, 5), (10, 10), (44, 40), (45, 45)])
def test_numbers_are_told_in_fives(pupils, told):
    assert stepped(pupils) == told


def left(size, known):
    """Return by which factor the mean of `size` and the values of `known` of them shrink the error on another one."""
    others = size - known
    return float(np.sqrt(1 - 1 / others)) if others else 0.0


def test_nobody_is_known_better_than_by_nine_tenths_whatever_four_others_tell():
    """The bound, for pupils who differ independently: of a cell nothing but its mean can be told.

    Knowing the mean of h pupils leaves the error on one of them sqrt(1 - 1/h) of what it was; guessing the mean of all
    n leaves sqrt(1 - 1/n). Here for each class size and cell, and with the worst luck: all four bands in that cell.
    """
    for count in range(SIZES.told, 100):
        for cell in draw(names(count), size=SIZES.cell, key=KEY, group="c"):
            assert left(len(cell), 4) >= 0.9 * np.sqrt(1 - 1 / count)


def test_smaller_cells_would_not_do():
    assert left(6, 4) < 0.9 * np.sqrt(1 - 1 / 45)
    assert left(7, 4) < 0.9 * np.sqrt(1 - 1 / 7)  # a class of seven


def test_the_bound_is_that_of_the_posterior():
    """The formula above, against the posterior worked out with matrices."""
    for known, size in combinations(range(12), 2):
        others = size - known
        ones = np.ones((1, others))
        posterior = np.eye(others) - ones.T @ np.linalg.inv(ones @ ones.T) @ ones
        assert np.sqrt(posterior[0, 0]) == pytest.approx(left(size, known), abs=1e-7)
