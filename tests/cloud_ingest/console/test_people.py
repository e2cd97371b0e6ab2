"""Rows about persons: what becomes of them before anything is shown."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cloud_ingest.console.people import class_means, coarse_count, count_taps, without_handles
from tests.cloud_ingest.console.stored import SITE, handle

PLACE = (SITE, "g1")


def beat(subject: object, rate: object, at: int = 1, **more: object) -> dict:
    return {"time_ns": at, "site": SITE, "room": "g1", "device": "b", "subject": subject, "heart_rate": rate, **more}


def test_a_mean_needs_five_persons_however_often_each_is_heard() -> None:
    four = [beat(handle(n), 120.0, at) for n in range(4) for at in range(20)]
    hidden = class_means(four)[PLACE]
    assert (hidden.value, hidden.members) == (None, None)
    shown = class_means([*four, beat(handle(9), 170.0, 5)])[PLACE]
    assert (shown.value, shown.members, shown.newest_ns) == (130.0, 5, 19)


@given(st.dictionaries(st.integers(0, 20), st.lists(st.floats(30, 220), min_size=1, max_size=5), max_size=9))
def test_fewer_than_five_never_give_a_number(rates: dict[int, list[float]]) -> None:
    found = class_means([beat(handle(n), rate) for n, each in rates.items() for rate in each])
    for mean in found.values():
        assert (mean.value is None) == (len(rates) < 5)
        assert mean.members in (None, len(rates))
        assert mean.value is None or mean.value == round(mean.value)


def test_rows_without_person_or_rate_do_not_count() -> None:
    rows = [beat(None, 100.0), beat(handle(1), None), beat(handle(2), float("nan")), beat(handle(3), "x")]
    rows.append({"time_ns": 1, "site": SITE, "room": handle(4), "device": "b", "subject": "x", "heart_rate": 99.0})
    assert class_means(rows) == {}


def test_taps_are_counted_by_room() -> None:
    where = {"time_ns": 1, "site": SITE, "device": "c", "subject": handle(1)}
    rows = [{**where, "room": "r1", "presence": True}] * 3 + [{**where, "room": "r2", "presence": False}]
    taps = count_taps([*rows, {**where, "room": "r3", "presence": True, "simulated": True}])
    assert {room: (one.count, one.simulated) for (_, room), one in taps.items()} == {"r1": (3, False), "r3": (1, True)}


def test_small_counts_are_told_as_a_range() -> None:
    assert [coarse_count(float(n)) for n in (0, 1, 3, 4, 5)] == [(0, None), (4, 1), (4, 1), (4, 1), (5, None)]


@given(st.text(max_size=50), st.text(max_size=50), st.integers(0, 2**128 - 1))
def test_pseudonyms_are_struck_out_of_any_text(before: str, after: str, number: int) -> None:
    assert handle(number) not in without_handles(f"{before}{handle(number)}{after}")
    assert handle(number).upper() not in without_handles(f"{before}{handle(number).upper()}{after}")
