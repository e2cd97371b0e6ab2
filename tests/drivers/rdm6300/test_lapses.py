"""Lapses: what nobody saw does not count, whether the bytes or the timer are told first."""

import asyncio
import time

import pytest

from drivers.rdm6300.lapses import Lapses


def frozen(seconds):
    time.sleep(seconds)


async def test_a_clock_without_lapses_is_the_clock():
    with Lapses(tick_s=0.02, least_s=1.0) as lapses:
        await asyncio.sleep(0.1)
        now = time.monotonic()
        assert lapses.without(now) == now


async def test_a_lapse_does_not_count_before_and_after_the_timer_has_noticed_it():
    with Lapses(tick_s=0.02, least_s=0.05) as lapses:
        before = lapses.without(time.monotonic())
        frozen(0.3)
        woken = time.monotonic()
        at_once = lapses.without(woken)
        await asyncio.sleep(0.03)
        later = lapses.without(woken)
    assert at_once - before < 0.05
    assert later == pytest.approx(at_once, abs=0.15)


async def test_what_came_before_a_lapse_and_is_looked_at_after_it_keeps_its_time():
    with Lapses(tick_s=0.1, least_s=0.05) as lapses:
        came = time.monotonic()
        frozen(0.5)
        await asyncio.sleep(0.03)
        assert lapses.without(came) == came
        assert lapses.without(time.monotonic()) - came < 0.4
