"""Rows about persons: what becomes of them before anything is shown."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cloud_ingest.console.people import coarse_count, count_taps, in_fives, pupils_range, without_handles
from tests.cloud_ingest.console.stored import SITE, handle


def test_taps_are_counted_by_room() -> None:
    where = {"time_ns": 1, "site": SITE, "device": "c", "subject": handle(1)}
    rows = [{**where, "room": "r1", "presence": True}] * 3 + [{**where, "room": "r2", "presence": False}]
    taps = count_taps([*rows, {**where, "room": "r3", "presence": True, "simulated": True}])
    assert {room: (one.count, one.simulated) for (_, room), one in taps.items()} == {"r1": (3, False), "r3": (1, True)}


def test_small_counts_are_told_as_a_range() -> None:
    assert [coarse_count(float(n)) for n in (0, 1, 3, 4, 5)] == [(0, None), (4, 1), (4, 1), (4, 1), (5, None)]


def test_pupils_are_told_in_fives() -> None:
    assert [pupils_range(float(n)) for n in (0, 3, 5, 40, 43)] == [(0, None), (4, 1), (9, 5), (44, 40), (44, 40)]
    assert [in_fives(n) for n in (0.0, 12.5, 38.3)] == [0, 10, 35]


@given(st.text(max_size=50), st.text(max_size=50), st.integers(0, 2**128 - 1))
def test_pseudonyms_are_struck_out_of_any_text(before: str, after: str, number: int) -> None:
    assert handle(number) not in without_handles(f"{before}{handle(number)}{after}")
    assert handle(number).upper() not in without_handles(f"{before}{handle(number).upper()}{after}")
