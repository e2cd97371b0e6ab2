"""Counters: named, from nothing, sorted, and a snapshot stays as it was."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from telemetry.counters import Counters


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 9))))
def test_counters_add_up(additions):
    counters, expected = Counters(), Counter()
    for name, amount in additions:
        counters.add(name, amount)
        expected[name] += amount
    assert counters.snapshot() == dict(expected)
    assert list(counters.snapshot()) == sorted(expected)


def test_one_is_the_default_and_nothing_is_zero():
    counters = Counters()
    assert counters.get("x") == 0
    assert counters.snapshot() == {}
    counters.add("x")
    counters.add("x")
    assert counters.get("x") == 2


def test_a_snapshot_does_not_change():
    counters = Counters()
    counters.add("x")
    before = counters.snapshot()
    counters.add("x")
    before["y"] = 1
    assert (before["x"], counters.get("x"), counters.get("y")) == (1, 2, 0)
