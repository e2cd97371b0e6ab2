"""A room's day on real stores: buckets, gaps, limits, days of other lengths."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from cloud_ingest.console.charts import step_ns, with_gaps
from cloud_ingest.zones import day_bounds_ns, zone
from tests.cloud_ingest.console.stored import NS, SHANGHAI, SITE, WEDNESDAY, Clock, air, row, source_of, store
from tests.cloud_ingest.console.told import device, devices, topic

if TYPE_CHECKING:
    from pathlib import Path

    from cloud_ingest.console.model import DayChart

TODAY = date(2026, 11, 18)
MIDNIGHT = WEDNESDAY - (10 * 3600 + 1800) * NS


@pytest.fixture(params=["sqlite", "influx1"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite://{tmp_path}/store.sqlite"
    return f"influx1://{request.getfixturevalue('influxd').authority}/campus"


def points(chart: DayChart, name: str) -> dict[int, float | None]:
    (series,) = [one for one in chart.series if one.point == name]
    return {(at - chart.start_ns) // (300 * NS): value for at, value in series.points}


async def test_a_day_is_means_of_five_minutes_with_gaps(store_url: str, tmp_path: Path) -> None:
    rows = [air("r101", MIDNIGHT + n * 60 * NS, co2=400.0 + n, noise=40.0) for n in range(600) if not 100 <= n < 200]
    await store(store_url, [*rows, air("r102", MIDNIGHT, co2=5000.0), air("r101", MIDNIGHT - NS, co2=9999.0)])
    async with source_of(store_url, tmp_path, Clock()) as source:
        chart = await source.chart(SITE, "r101", TODAY)
    assert (chart.start_ns, chart.end_ns - chart.start_ns) == (MIDNIGHT, 86_400 * NS)
    assert [one.point for one in chart.series] == ["co2", "noise"]
    co2 = points(chart, "co2")
    assert list(co2) == list(range(126))  # until now: 10:30
    assert (co2[0], co2[19], co2[20], co2[39], co2[40]) == (402.0, 497.0, None, None, 602.0)
    assert set(list(co2.values())[120:]) == {None}
    assert [limit.high for limit in chart.series[0].limits] == [1000.0]
    assert not chart.series[0].simulated


async def test_simulated_data_and_small_counts_are_known_in_charts_too(store_url: str, tmp_path: Path) -> None:
    rows = [
        row("occupancy", "r1", "cam", MIDNIGHT + n * 60 * NS, people=p, simulated=True) for n, p in [(0, 0.0), (1, 4.0)]
    ]
    rows += [row("occupancy", "r1", "cam", MIDNIGHT + 600 * NS, people=31.0, simulated=True)]
    await store(store_url, [*rows, row("energy", "r1", "meter", MIDNIGHT, power=5.0)])
    async with source_of(store_url, tmp_path, Clock()) as source:
        chart = await source.chart(SITE, "r1", TODAY)
    assert [(one.point, one.simulated) for one in chart.series] == [("people", True), ("power", False)]
    people = points(chart, "people")
    assert (people[0], people[1], people[2]) == (4.0, None, 31.0)


async def test_a_slow_device_has_no_gaps_between_its_readings(tmp_path: Path) -> None:
    url = f"sqlite://{tmp_path}/s.sqlite"
    await store(url, [air("r101", MIDNIGHT + n * 900 * NS, co2=1.0) for n in (0, 1, 2, 7)])
    async with source_of(url, tmp_path, Clock()) as source:
        source._fleet.hear(topic("devices"), devices(device(period_s=900.0)), retained=True)
        co2 = points(await source.chart(SITE, "r101", TODAY), "co2")
    assert list(co2)[:4] == [0, 3, 6, 7]
    assert [at for at, value in co2.items() if value is not None] == [0, 3, 6, 21]


@pytest.mark.parametrize("day", [date(1, 1, 1), date(9999, 12, 31), TODAY + timedelta(days=1), date(1969, 1, 1)])
async def test_days_without_rows_are_empty(tmp_path: Path, day: date) -> None:
    url = f"sqlite://{tmp_path}/s.sqlite"
    await store(url, [air("r101", WEDNESDAY)])
    async with source_of(url, tmp_path, Clock()) as source:
        assert (await source.chart(SITE, "r101", day)).series == ()


@pytest.mark.parametrize("room", ["' OR 1=1 --", '"', "r101\n", "", "../r101", "房间"])
async def test_strange_rooms_are_empty(store_url: str, tmp_path: Path, room: str) -> None:
    await store(store_url, [air("r101", WEDNESDAY)])
    async with source_of(store_url, tmp_path, Clock()) as source:
        assert (await source.chart(SITE, room, TODAY)).series == ()
        assert (await source.chart(room, "r101", TODAY)).series == ()


def test_no_day_has_more_than_three_hundred_points() -> None:
    berlin = zone("Europe/Berlin")
    hours = set()
    for day in (date(2026, 3, 29), date(2026, 10, 25), date(2026, 6, 1)):
        start, end = day_bounds_ns(day, berlin)
        hours.add((end - start) // NS // 3600)
        assert (end - start) // step_ns(end - start) <= 300
    assert hours == {23, 24, 25}
    assert step_ns(86_400 * NS) == 300 * NS
    assert datetime.fromtimestamp(MIDNIGHT // NS, SHANGHAI).hour == 0


def test_gaps_stay_gaps_but_for_slow_devices() -> None:
    grid = range(0, 60, 10)
    assert with_gaps({10: 1.0, 40: 2.0}, grid, 0) == (
        (0, None),
        (10, 1.0),
        (20, None),
        (30, None),
        (40, 2.0),
        (50, None),
    )
    assert with_gaps({10: 1.0, 40: 2.0}, grid, 20) == ((0, None), (10, 1.0), (40, 2.0), (50, None))
    assert with_gaps({}, grid, 0) == tuple((at, None) for at in grid)
