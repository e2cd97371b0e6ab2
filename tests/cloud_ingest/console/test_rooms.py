"""Room views: joined, aged, judged; and what never gets into one."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud_ingest.console.board import Board
from cloud_ingest.console.catalogue import Catalogue
from cloud_ingest.console.limits import Limits
from cloud_ingest.console.model import LimitState, RoomView, ValueView
from cloud_ingest.console.people import Taps, count_taps
from cloud_ingest.console.rooms import Moment, RoomMaker
from telemetry.counters import Counters
from telemetry.sample import Reason
from tests.cloud_ingest.console.stored import AIR, NS, SHANGHAI, SITE, WEDNESDAY, Clock, handle
from tests.cloud_ingest.console.told import device, devices, fleet_of, topic

CATALOGUE = Catalogue()


def record(room: str = "r101", at_ns: int = WEDNESDAY, of: str | None = None, **fields: Any) -> dict[str, Any]:
    return {"time_ns": at_ns, "site": SITE, "room": room, "device": of or f"{room}-air", **(fields or AIR)}


def rooms(
    board: dict[str, list[dict[str, Any]]], described: bytes | None = None, *, now_ns: int = WEDNESDAY, **more: Any
) -> tuple[RoomView, ...]:
    counters = Counters()
    merged = Board(counters)
    for measurement, records in board.items():
        merged.note(measurement, records)
    fleet, _ = fleet_of(Clock())
    if described is not None:
        fleet.hear(topic("devices"), described, retained=True)
    maker = RoomMaker(gateways=fleet, catalogue=CATALOGUE, limits=Limits(), zone=SHANGHAI)
    moment = Moment(board=merged, now_ns=now_ns, taps=more.get("taps", {}))
    return maker.rooms(SITE, moment)


def by_point(room: RoomView) -> dict[str, ValueView]:
    return {view.point: view for view in room.values}


def test_the_devices_of_a_room_are_joined_in_the_order_of_their_worth() -> None:
    records = [record(co2=1200.0), record(of="meter", power=90.0), record(of="second", co2=700.0)]
    views = rooms({"environment": records, "occupancy": [record(of="camera", people=31.0)]}, now_ns=WEDNESDAY + NS)
    (room,) = views
    shown = [(view.point, view.device, view.value, view.state) for view in room.values]
    assert shown == [
        ("co2", "r101-air", 1200.0, LimitState.ABOVE),
        ("co2", "second", 700.0, LimitState.WITHIN),
        ("people", "camera", 31.0, LimitState.UNJUDGED),
        ("power", "meter", 90.0, LimitState.UNJUDGED),
    ]
    assert [view.age_s for view in room.values] == [1.0] * 4
    assert room.taps_today is None
    assert not room.simulated


def test_noise_is_shown_with_its_limit_and_not_judged() -> None:
    noise = by_point(rooms({"environment": [record()]})[0])["noise"]
    assert (noise.value, noise.state, noise.limit.high, noise.unit) == (52.0, LimitState.UNJUDGED, 45.0, "dB")


@pytest.mark.parametrize(
    ("people", "shown"), [(0.0, (0.0, None)), (4.0, (4.0, 1.0)), (2.0, (4.0, 1.0)), (5.0, (5.0, None))]
)
def test_a_count_of_four_is_told_as_one_to_four(people: float, shown: tuple[float, float | None]) -> None:
    (room,) = rooms({"occupancy": [record(people=people)], "vitals": [record(of="bands", bands_seen=people)]})
    for view in room.values:
        assert (view.value, view.range_from) == shown


def test_why_there_is_no_value_and_what_is_simulated() -> None:
    first = record(at_ns=WEDNESDAY - 5 * NS, co2=600.0, temperature=20.0)
    then = record(co2_bad="timeout", temperature_bad="gremlins", humidity=40.0, quality="suspect", simulated=True)
    (room,) = rooms({"environment": [first, then]})
    found = by_point(room)
    assert (found["co2"].value, found["co2"].bad) == (None, Reason.TIMEOUT)
    assert found["temperature"].bad == "gremlins"
    assert (found["humidity"].quality, found["humidity"].simulated, room.simulated) == ("suspect", True, True)
    assert "co2_bad" not in found


def test_an_older_row_changes_nothing() -> None:
    (room,) = rooms({"environment": [record(co2=700.0), record(at_ns=WEDNESDAY - NS, co2=900.0, humidity=41.0)]})
    assert {point: view.value for point, view in by_point(room).items()} == {"co2": 700.0, "humidity": 41.0}


@pytest.mark.parametrize(
    ("described", "age_s", "stale"),
    [
        (None, 59, False),
        (None, 61, True),
        (devices(device()), 9, False),
        (devices(device()), 11, True),
        (devices(device(period_s=60.0)), 179, False),
        (devices(device(period_s=60.0)), 181, True),
        (devices(device(period_s=None)), 11, True),  # an older gateway: the shipped profile tells
        (devices(device(period_s=None, profile="site/own@1.0.0")), 59, False),
        (devices(device(measurement="attendance")), 59, False),
    ],
)
def test_a_value_is_stale_by_its_devices_period(described: bytes | None, age_s: int, stale: bool) -> None:
    (room,) = rooms({"environment": [record(co2=2000.0)]}, described, now_ns=WEDNESDAY + age_s * NS)
    (co2,) = room.values
    assert (co2.stale, co2.value) == (stale, 2000.0)
    assert co2.state is (LimitState.UNJUDGED if stale else LimitState.ABOVE)


def test_what_is_reported_by_exception_may_be_older() -> None:
    records = [record(co2=600.0, illuminance=400.0)]
    (room,) = rooms({"environment": records}, devices(device()), now_ns=WEDNESDAY + 20 * NS)
    assert {point: view.stale for point, view in by_point(room).items()} == {"co2": True, "illuminance": False}


def test_a_row_from_the_future_is_not_fresh() -> None:
    (room,) = rooms({"environment": [record(at_ns=WEDNESDAY + 3600 * NS, co2=600.0)]})
    assert (room.values[0].age_s, room.values[0].stale) == (0.0, True)


def test_rooms_are_known_by_their_devices_even_when_silent() -> None:
    described = devices(device("c", "r102", measurement="attendance", points=[]), device("a", "r103"))
    views = rooms({"environment": [record()]}, described, taps={(SITE, "r104"): Taps(count=3, simulated=True)})
    assert [(room.room, room.taps_today, room.simulated) for room in views] == [
        ("r101", None, False),
        ("r102", 0, False),
        ("r103", None, False),
        ("r104", 3, True),
    ]


def test_heartbeats_and_texts_of_unknown_points_are_not_shown() -> None:
    (room,) = rooms({"environment": [record(co2=600.0, sequence=7.0, host="pi-7")]}, devices(device()))
    assert list(by_point(room)) == ["co2"]
    (room,) = rooms({"environment": [record(co2=600.0, sequence=7.0, host="pi-7")]})
    assert list(by_point(room)) == ["co2"]


def lesson(school_class: str, rate: float, pupils: float, **more: Any) -> dict[str, Any]:
    return record("g1", of=f"lesson-{school_class}", heart_rate_mean=rate, pupils=pupils, **more)


def test_the_class_means_of_the_gateway_are_shown_with_their_pupils_in_fives() -> None:
    air = [record("g1", co2=700.0, noise=60.0)]
    (room,) = rooms({"lesson": [lesson("5b", 121.0, 20.0), lesson("5a", 138.0, 40.0)], "environment": air})
    assert [(view.point, view.device, view.value, view.range_from, view.unit) for view in room.values] == [
        ("co2", "g1-air", 700.0, None, "ppm"),
        ("noise", "g1-air", 60.0, None, "dB"),
        ("heart_rate_mean", "lesson-5a", 138.0, None, "beat/min"),
        ("heart_rate_mean", "lesson-5b", 121.0, None, "beat/min"),
        ("pupils", "lesson-5a", 44.0, 40.0, "count"),
        ("pupils", "lesson-5b", 24.0, 20.0, "count"),
    ]


@pytest.mark.parametrize(("age_s", "shown"), [(179, {False}), (181, {True}), (899, {True}), (901, set())])
def test_a_class_mean_is_stale_after_three_minutes_and_gone_when_the_lesson_is(age_s: int, shown: set[bool]) -> None:
    (room,) = rooms({"lesson": [lesson("5a", 138.0, 40.0)]}, now_ns=WEDNESDAY + age_s * NS)
    assert {view.stale for view in room.values} == shown


def test_a_lessons_row_about_a_person_is_no_class_mean() -> None:
    assert (
        rooms({"lesson": [lesson("5a", 138.0, 40.0, subject=handle(1)), lesson("5b", 99.0, 5.0, heart_rate=1.0)]}) == ()
    )


def test_points_that_are_lacking_in_the_newest_row_are_known() -> None:
    board = Board(Counters())
    board.note("environment", [record(co2=1.0, illuminance=2.0), record(at_ns=WEDNESDAY + NS, co2=1.0)])
    assert board.lacking("environment") == {"illuminance"}
    board.note("environment", [record(at_ns=WEDNESDAY + 700 * NS, co2=1.0)])
    assert board.lacking("environment") == frozenset()
    board.note("environment", [record(at_ns=WEDNESDAY + 90_000 * NS, co2=1.0), record("old", of="x", co2=1.0)])
    board.forget_before(WEDNESDAY + NS)
    assert [(series.room, list(series.points)) for series in board.site(SITE)] == [("r101", ["co2"])]


def test_a_board_does_not_grow_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cloud_ingest.console.board._MOST_SERIES", 3)
    counters = Counters()
    board = Board(counters)
    board.note("environment", [record(f"r{n}") for n in range(5)])
    board.note("environment", [record("r0", co2=1.0, **{f"p{n}": 1.0 for n in range(300)})])
    assert counters.get("console.dropped_rows") == 2
    assert len(list(board.places())) == 3
    assert max(len(series.points) for series in board.site(SITE)) == 100


names = st.sampled_from(["r101", "g1", "b-7", handle(7), f"x-{handle(8)}", "", "a b", "学校"])
values = st.one_of(st.floats(), st.booleans(), st.sampled_from([handle(1), f"card {handle(2)}", "up", "timeout"]))
fields = st.dictionaries(
    st.sampled_from(
        [
            "co2",
            "people",
            "presence",
            "heart_rate",
            "state",
            "note",
            "co2_bad",
            "quality",
            "simulated",
            "battery",
            handle(3),
        ]
    ),
    values,
    max_size=6,
)


@st.composite
def hostile(draw: st.DrawFn) -> dict[str, Any]:
    tags = {"site": SITE, "room": draw(names), "device": draw(names)}
    if draw(st.booleans()):
        tags["subject"] = handle(draw(st.integers(0, 9)))
    return {"time_ns": WEDNESDAY - draw(st.integers(0, 60)) * NS, **tags, **draw(fields)}


@given(
    st.dictionaries(st.sampled_from(["environment", "occupancy", "vitals", "lesson"]), st.lists(hostile(), max_size=12))
)
def test_no_pseudonym_and_no_persons_value_gets_into_a_view(board: dict[str, list[dict[str, Any]]]) -> None:
    everything = [one for records in board.values() for one in records]
    more = {"taps": count_taps(everything)}
    described = devices(device("b-7", "r101", points=[{"name": "state", "quantity": "state", "unit": ""}]))
    views = rooms(board, described, **more)
    encoded = msgspec.json.encode(views).decode()
    assert "subject" not in encoded
    for number in range(10):
        assert handle(number) not in encoded
    for room in views:
        for view in room.values:
            assert view.point not in ("presence", "heart_rate")
