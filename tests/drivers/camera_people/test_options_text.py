"""Regions, hours and the median: what options say, and what they do."""

from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.camera_people.assignment import LENGTH, pack, unpack
from drivers.camera_people.hours import parse_hours, within
from drivers.camera_people.options import assignment_of, parse_options
from drivers.camera_people.regions import MAX_NUMBERS, MAX_REGIONS, parse_regions
from drivers.camera_people.worker.steady import Steady
from drivers.links.camera import CameraLink
from telemetry.counters import Counters


def test_a_rectangle_and_a_polygon():
    rectangle, triangle = parse_regions("0.1,0.2,0.5,0.9; 0,0, 1,0, 0.5,1;")
    assert rectangle == ((0.1, 0.2), (0.5, 0.2), (0.5, 0.9), (0.1, 0.9))
    assert triangle == ((0, 0), (1, 0), (0.5, 1))
    assert parse_regions("") == ()


@pytest.mark.parametrize(
    "text", ["1", "0,0,1", "0,0,2,1", "0.5,0,0.4,1", "a,b,c,d", "0,0,1,nan", "0,0,0,0,1", "0,0,1,1;" * 40]
)
def test_what_is_no_region_is_refused(text):
    with pytest.raises(ValueError, match=r"write|number|rectangle|regions"):
        parse_regions(text)


def test_as_many_regions_as_may_be_fit_into_what_the_worker_is_told():
    all_of_them = ";".join([",".join(["0.1234"] * MAX_NUMBERS)] * MAX_REGIONS)
    found = []
    options = parse_options({"masks": all_of_them, "zones": all_of_them}, "options", found)
    link = CameraLink("lens", Counters(), url="rtsp://h/s", capture="rtsp")
    assert unpack(pack(assignment_of(options, link))[LENGTH.size :]).zones == all_of_them
    assert parse_options({"masks": all_of_them + " " * 10_000}, "options", found) is None
    assert "masks" in str(found[0])


@given(st.text(max_size=40))
def test_any_text_is_read_or_refused(text):
    for parse in (parse_regions, parse_hours):
        try:
            parse(text)
        except ValueError:
            continue


@pytest.mark.parametrize(
    ("at", "inside"),
    [
        ("2026-11-23 07:29", False),
        ("2026-11-23 07:30", True),
        ("2026-11-27 17:29", True),
        ("2026-11-27 17:30", False),
        ("2026-11-28 09:00", True),
        ("2026-11-29 09:00", False),
    ],
)
def test_hours_of_a_week(at, inside):
    spans = parse_hours("Mon-Fri 07:30-17:30; Sat 08:00-12:00")
    assert within(spans, datetime.fromisoformat(at)) is inside
    assert within(parse_hours("Sat-Mon 00:00-24:00"), datetime.fromisoformat("2026-11-29 23:59"))
    assert within((), datetime.fromisoformat(at))


@pytest.mark.parametrize(
    "text", ["Mon", "Mon-Fri", "Mon-Fri 7:30-17:30", "Mxn 07:30-17:30", "Mon 17:30-07:30", "Mon 07:60-08:00"]
)
def test_what_are_no_hours_is_refused(text):
    with pytest.raises(ValueError, match=r"Mon"):
        parse_hours(text)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"zones": "1,2"}, "zones"),
        ({"masks": "x"}, "masks"),
        ({"median_of": 4}, "odd number"),
        ({"median_of": 11}, "median_of"),
        ({"method": "yolo"}, "method"),
        ({"only_in_lessons": "always"}, "no span of hours"),
    ],
)
def test_options_that_cannot_be_are_refused(options, complaint):
    found = []
    assert parse_options(options, "options", found) is None
    assert complaint in str(found[0])


def test_the_threshold_is_what_was_measured_with_the_method():
    found = []
    assert parse_options({}, "o", found).face_threshold == 0.35
    assert parse_options({"method": "faces"}, "o", found).face_threshold == 0.5
    assert parse_options({"threshold": 0.4}, "o", found).face_threshold == 0.4


def test_without_a_median_what_is_seen_is_told():
    steady = Steady(1)
    assert [steady.add(people) for people in (3, 0, 12, 11)] == [3, 0, 12, 11]


def test_a_false_person_in_two_looks_of_five_is_not_told():
    steady = Steady(5)
    assert [steady.add(people) for people in (0, 1, 0, 0, 1, 0, 0, 2, 1, 0)] == [None, None, *[0] * 8]


def test_a_change_must_hold_and_then_is_told():
    steady = Steady(5)
    told = [steady.add(people) for people in (10,) * 5 + (20,) * 6]
    assert told == [None, None, *[10] * 6, *[20] * 3]


def test_after_a_gap_nothing_old_is_told():
    steady = Steady(5)
    for _ in range(5):
        steady.add(30)
    steady.forget()
    assert [steady.add(0) for _ in range(3)] == [None, None, 0]


@given(st.lists(st.integers(0, 50), min_size=1, max_size=60), st.sampled_from([1, 3, 5, 7, 9]))
def test_only_numbers_that_were_seen_are_told(seen, looks):
    steady = Steady(looks)
    told = [steady.add(people) for people in seen]
    assert all(value is None or value in seen for value in told)
    assert all(value is None for value in told[: looks // 2])
