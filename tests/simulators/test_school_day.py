from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulators.school_day import SchoolDay, saturation_g_m3


def day(seed: int = 1, device: str = "r101-air") -> SchoolDay:
    return SchoolDay(seed=seed, device=device, scenario="classroom", step_s=480)


@given(st.lists(st.integers(0, 90), min_size=1, max_size=4))
def test_a_measurement_depends_on_its_number_alone(numbers: list[int]) -> None:
    asked_before = day()
    for number in numbers:
        assert asked_before.measurement(number) == day().measurement(number)


def test_seed_and_device_change_it() -> None:
    assert day(1).measurement(5) != day(2).measurement(5)
    assert day(device="a").measurement(5) != day(device="b").measurement(5)


@given(st.integers(0, 50))
def test_a_minute_of_samples_passes_a_believable_day(seed: int) -> None:
    room = day(seed)
    samples = [room.measurement(number) for number in range(1, 61)]
    co2 = [sample["co2"] for sample in samples]
    assert max(co2) > 1200, "a full class with closed windows"
    assert min(co2) < 1000, "aired in a break"
    limits = {
        "temperature": (10, 30),
        "humidity": (10, 99),
        "co2": (380, 6000),
        "pm2_5": (0, 200),
        "noise": (30, 110),
        "illuminance": (0, 2000),
    }
    for sample in samples:
        assert sample.keys() == limits.keys()
        for point, (low, high) in limits.items():
            assert low <= sample[point] <= high, point


def test_carbon_dioxide_follows_the_mass_balance() -> None:
    room = day()
    room.measurement(4)
    before, people = room._co2, room._people()
    changes = room.day.open_ach if room._windows_open() else room.day.closed_ach
    volume = room.day.volume * room._size
    room._pass_minute()
    expected = (0.0145 * people * 1e6 / volume - changes * (before - room.day.outdoor_co2)) / 60
    assert room._co2 - before == pytest.approx(expected)


def test_water_in_saturated_air() -> None:
    assert saturation_g_m3(20.0) == pytest.approx(17.3, abs=0.1)
    assert saturation_g_m3(0.0) == pytest.approx(4.85, abs=0.05)
