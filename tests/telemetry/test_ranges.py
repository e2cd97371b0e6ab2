"""Ranges of batch numbers, against plain sets."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from telemetry.ranges import covers, numbers_in, to_ranges

numbers = st.integers(-20, 60)


@given(st.lists(numbers))
def test_ranges_hold_the_same_numbers_as_a_set_and_are_sorted_and_apart(given_numbers):
    ranges = to_ranges(given_numbers)
    assert {n for first, last in ranges for n in range(first, last + 1)} == set(given_numbers)
    assert all(first <= last for first, last in ranges)
    assert all(left[1] + 1 < right[0] for left, right in pairwise(ranges))


@given(st.lists(st.tuples(numbers, numbers)), st.lists(numbers))
def test_covers_and_numbers_in_agree_with_sets(ranges, among):
    held = {n for first, last in ranges for n in range(first, last + 1)}
    assert [covers(ranges, n) for n in among] == [n in held for n in among]
    assert list(numbers_in(ranges, among=among)) == [n for n in among if n in held]


def test_a_hostile_huge_range_costs_nothing():
    assert list(numbers_in([(0, 10**18)], among=[5, -1, 10**18, 10**18 + 1])) == [5, 10**18]


def test_the_documented_example():
    assert to_ranges([1, 2, 3, 7]) == [(1, 3), (7, 7)]
