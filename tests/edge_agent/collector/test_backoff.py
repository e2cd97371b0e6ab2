"""Delays: jittered, doubling, capped, short again after a success."""

import random

from hypothesis import given
from hypothesis import strategies as st

from edge_agent.collector import Backoff
from edge_agent.collector.backoff import CAP_S, FIRST_S


@given(st.integers(), st.lists(st.booleans(), max_size=60))
def test_every_delay_lies_between_half_and_all_of_a_doubling_capped_span(seed, resets):
    backoff, failures = Backoff(random.Random(seed)), 0  # noqa: S311 - repeatable
    for reset in resets:
        if reset:
            backoff.reset()
            failures = 0
        span = min(CAP_S, FIRST_S * 2**failures)
        assert span / 2 <= backoff.next_s() <= span
        failures += 1


def test_a_replugged_device_can_be_back_within_two_seconds():
    assert CAP_S <= 1.5


def test_two_devices_do_not_march_in_step():
    first, second = Backoff(), Backoff()
    assert [first.next_s() for _ in range(5)] != [second.next_s() for _ in range(5)]
