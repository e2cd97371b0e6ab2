"""The source on real stores: what a page is given, how often a store is asked, what happens when it is away."""

from __future__ import annotations

import asyncio
import sqlite3
from datetime import date
from typing import TYPE_CHECKING

import msgspec
import pytest

from cloud_ingest.console.reader import Reader
from cloud_ingest.settings import load
from cloud_ingest.stores.sqlite import SqliteStore
from telemetry.errors import ConfigError, StoreBusy
from tests.cloud_ingest.console.stored import (
    NS,
    SITE,
    WEDNESDAY,
    Clock,
    air,
    beat,
    gateway_row,
    handle,
    row,
    source_of,
    store,
    tap,
)

if TYPE_CHECKING:
    from pathlib import Path

    from cloud_ingest.console.model import RoomView
    from cloud_ingest.stores.base import Selection

TODAY = date(2026, 11, 18)
MIDNIGHT = WEDNESDAY - (10 * 3600 + 1800) * NS


@pytest.fixture(params=["sqlite", "influx1", "influx2"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite://{tmp_path}/store.sqlite"
    if request.param == "influx1":
        return f"influx1://{request.getfixturevalue('influxd').authority}/campus"
    return request.getfixturevalue("influx2").url


def school() -> list:
    taps = [tap("r101", MIDNIGHT + n * 60 * NS, handle(n % 7)) for n in range(9)]
    before = [tap("r101", MIDNIGHT - NS, handle(1)), tap("gate", WEDNESDAY, handle(2), simulated=True)]
    beats = [
        beat("g1", WEDNESDAY - n * NS, handle(subject), 120.0 + subject) for n in range(20) for subject in range(6)
    ]
    few = [beat("g2", WEDNESDAY - NS, handle(subject), 99.0) for subject in range(4)]
    counts = [
        row("vitals", "g1", "g1-bands", WEDNESDAY - 2 * NS, bands_seen=12.0, simulated=True),
        row("lesson", "g1", "lesson-5a", WEDNESDAY - 60 * NS, heart_rate_mean=131.0, pupils=20.0),
        row("lesson", "g1", "lesson-5a", WEDNESDAY - 120 * NS, heart_rate_mean=125.0, pupils=25.0),
        row("occupancy", "r102", "r102-camera", WEDNESDAY, people=4.0),
        row("energy", "r102", "r102-meter", WEDNESDAY, power=812.5),
    ]
    rows = [air("r101", WEDNESDAY - NS), air("r101", WEDNESDAY), air("r102", WEDNESDAY - NS, co2_bad="timeout")]
    return [*rows, *taps, *before, *beats, *few, *counts, gateway_row("gw-9", WEDNESDAY - 60 * NS)]


def named(views: list[RoomView]) -> dict[str, RoomView]:
    return {view.room: view for view in views}


async def test_a_school_is_shown_without_its_persons(store_url: str, tmp_path: Path) -> None:
    await store(store_url, school())
    async with source_of(store_url, tmp_path, Clock()) as source:
        assert await source.sites() == [SITE]
        found = named(await source.rooms(SITE))
        # Where nothing but persons' rows is stored, there is nothing to show.
        assert list(found) == ["g1", "gate", "r101", "r102"]
        assert (found["r101"].taps_today, found["gate"].taps_today, found["r102"].taps_today) == (9, 1, None)
        assert found["gate"].simulated
        assert {view.point: view.value for view in found["r101"].values}["co2"] == 640.0
        shown = {view.point: (view.value, view.range_from, view.bad) for view in found["r102"].values}
        assert shown == {"co2": (None, None, "timeout"), "people": (4.0, 1.0, None), "power": (812.5, None, None)}
        gym = {view.point: view for view in found["g1"].values}
        assert {point: (view.value, view.range_from) for point, view in gym.items()} == {
            "bands_seen": (12.0, None),
            "heart_rate_mean": (131.0, None),
            "pupils": (24.0, 20.0),
        }
        assert gym["bands_seen"].simulated
        chart = await source.chart(SITE, "g1", TODAY)
        assert [(one.point, one.device, one.simulated) for one in chart.series] == [
            ("heart_rate_mean", "lesson-5a", False),
            ("pupils", "lesson-5a", False),
            ("bands_seen", "g1-bands", True),
        ]
        assert [value for _, value in chart.series[1].points if value is not None] == [20.0]
        gateways = await source.gateways()
        assert [(view.gateway, view.online, view.last_contact_age_s) for view in gateways] == [("gw-9", None, 60)]
        assert (await source.state()).store_problem is None
        shown_text = msgspec.json.encode([list(found.values()), chart, gateways]).decode()
        assert "subject" not in shown_text
        assert not any(handle(n) in shown_text for n in range(8))
        assert await source.rooms("another-school") == ()


async def test_new_rows_appear_and_old_ones_age(store_url: str, tmp_path: Path) -> None:
    clock = Clock()
    await store(
        store_url, [air("r101", WEDNESDAY, co2=500.0, illuminance=300.0), air("r105", WEDNESDAY - 5 * 86_400 * NS)]
    )
    async with source_of(store_url, tmp_path, clock) as source:
        (first, silent) = await source.rooms(SITE)
        assert {view.value for view in first.values} == {500.0, 300.0}
        assert all(view.stale for view in silent.values)
        # Two rows between two looks: the first of them is never the newest.
        await store(store_url, [air("r101", WEDNESDAY + 2 * NS, co2=510.0, illuminance=350.0)])
        await store(store_url, [air("r101", WEDNESDAY + 3 * NS, co2=520.0)])
        clock.advance(11)
        found = {view.point: view for view in (await source.rooms(SITE))[0].values}
        assert (found["co2"].value, found["co2"].age_s) == (520.0, 8.0)
        assert (found["illuminance"].value, found["illuminance"].age_s) == (350.0, 9.0)


async def test_rows_that_come_after_an_outage_are_found(tmp_path: Path) -> None:
    url, clock = f"sqlite://{tmp_path}/s.sqlite", Clock()
    await store(url, [air("r101", WEDNESDAY, co2=500.0)])
    async with source_of(url, tmp_path, clock) as source:
        await source.rooms(SITE)
        clock.advance(3600)  # nobody looked for an hour
        await store(url, [air("r102", WEDNESDAY + 60 * NS, co2=600.0)])
        assert [room.room for room in await source.rooms(SITE)] == ["r101", "r102"]
        await store(url, [air("r103", WEDNESDAY + 1800 * NS, co2=600.0)])  # late by half an hour
        clock.advance(301)
        assert len(await source.rooms(SITE)) == 3


async def test_taps_begin_anew_at_the_schools_midnight(tmp_path: Path) -> None:
    url, clock = f"sqlite://{tmp_path}/s.sqlite", Clock(MIDNIGHT + 86_399 * NS)
    await store(url, [tap("r101", MIDNIGHT + n * NS, handle(n)) for n in range(-2, 3)])
    async with source_of(url, tmp_path, clock) as source:
        assert (await source.rooms(SITE))[0].taps_today == 3
        clock.advance(6)
        assert await source.rooms(SITE) == ()
    async with source_of(url, tmp_path, Clock(MIDNIGHT + 7200 * NS), timezone="Europe/Berlin") as source:
        assert (await source.rooms(SITE))[0].taps_today == 5


async def test_everybody_shares_one_reading_a_second(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url, clock = f"sqlite://{tmp_path}/s.sqlite", Clock()
    await store(url, [air("r101", WEDNESDAY)])
    asked: list[str] = []
    latest = SqliteStore.latest

    async def counted(self: SqliteStore, measurement: str, **more: int) -> list:
        asked.append(measurement)
        return await latest(self, measurement, **more)

    monkeypatch.setattr(SqliteStore, "latest", counted)
    async with source_of(url, tmp_path, clock) as source:
        await asyncio.gather(*(source.rooms(SITE) for _ in range(50)), *(source.sites() for _ in range(50)))
        assert asked.count("environment") == 1
        clock.advance(1)
        await asyncio.gather(*(source.rooms(SITE) for _ in range(50)))
        assert asked.count("environment") == 2


async def test_a_store_that_does_not_exist_yet_is_empty_and_is_not_made(tmp_path: Path) -> None:
    url, clock = f"sqlite://{tmp_path}/not/yet.sqlite", Clock()
    async with source_of(url, tmp_path, clock) as source:
        assert await source.sites() == []
        assert await source.rooms(SITE) == ()
        assert (await source.chart(SITE, "r101", TODAY)).series == ()
        assert (await source.state()).store_problem is None
        assert not (tmp_path / "not").exists()
        await store(url, [air("r101", WEDNESDAY)])
        clock.advance(1)
        assert await source.sites() == [SITE]


async def test_reading_neither_writes_nor_locks(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    url, clock = f"sqlite://{path}", Clock()
    await store(url, [air("r101", WEDNESDAY)])
    before = path.read_bytes()
    async with source_of(url, tmp_path, clock) as source:
        await source.rooms(SITE)
        assert path.read_bytes() == before
        writer = sqlite3.connect(path, isolation_level=None, timeout=0)
        writer.execute("BEGIN IMMEDIATE")
        clock.advance(11)
        await source.rooms(SITE)
        assert (await source.chart(SITE, "r101", TODAY)).series
        writer.execute("DELETE FROM value")
        writer.execute("COMMIT")
        assert writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0
        writer.close()


async def test_a_store_that_is_away_is_told_and_not_hammered(tmp_path: Path, influxd_url: tuple) -> None:
    server, url = influxd_url
    clock = Clock()
    await store(url, [air("r101", WEDNESDAY)])
    async with source_of(url, tmp_path, clock) as source:
        assert len(await source.rooms(SITE)) == 1
        server.kill()
        clock.advance(2)
        with pytest.raises(StoreBusy):
            await source.rooms(SITE)
        assert "cannot be reached" in (await source.state()).store_problem
        assert await source.sites() == [SITE]
        server.start()
        async with asyncio.timeout(20):
            while True:
                clock.advance(1)
                try:
                    found = await source.rooms(SITE)
                except StoreBusy:
                    await asyncio.sleep(0.1)
                else:
                    break
        assert len(found) == 1
        assert (await source.state()).store_problem is None


@pytest.fixture
def influxd_url(influxd) -> tuple:
    return influxd, f"influx1://{influxd.authority}/campus"


async def test_a_file_that_is_no_database_is_a_problem_to_show(tmp_path: Path) -> None:
    (tmp_path / "s.sqlite").write_bytes(b"no database at all, " * 100)
    async with source_of(f"sqlite://{tmp_path}/s.sqlite", tmp_path, Clock()) as source:
        with pytest.raises(StoreBusy, match="not usable"):
            await source.rooms(SITE)
        assert await source.sites() == []


async def test_classes_that_are_routed_elsewhere_are_read_there(tmp_path: Path) -> None:
    await store(f"sqlite://{tmp_path}/a.sqlite", [air("r101", WEDNESDAY)])
    await store(f"sqlite://{tmp_path}/b.sqlite", [tap("r101", WEDNESDAY, handle(1))])
    settings = {"url": f"sqlite://{tmp_path}/a.sqlite", "routes": {"personal": f"sqlite://{tmp_path}/b.sqlite"}}
    loaded = load(None, {"data": tmp_path, "mqtt": {"url": "mqtt://[::1]:1"}, "store": settings})
    from cloud_ingest.console.source import StoreSource

    clock = Clock()
    source = StoreSource(loaded, now_ns=clock.now_ns, clock_s=clock.monotonic)
    try:
        (room,) = await source.rooms(SITE)
        assert (room.taps_today, len(room.values)) == (1, 5)
        (tmp_path / "b.sqlite").write_bytes(b"broken" * 100)
        clock.advance(6)
        (room,) = await source.rooms(SITE)
        assert room.values
        assert "b.sqlite" in (await source.state()).store_problem
    finally:
        await source.close()


def test_a_wrong_time_zone_or_limits_file_stops_the_start(tmp_path: Path) -> None:
    flags = {"data": tmp_path, "mqtt": {"url": "mqtt://h"}, "store": {"url": "sqlite:///s"}}
    with pytest.raises(ConfigError, match="'Mars' is no time zone"):
        load(None, {**flags, "console": {"timezone": "Mars"}})


async def test_no_row_of_a_persons_vitals_is_read(
    store_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store(store_url, school())
    read: list[dict] = []
    query, latest = Reader.query, Reader.latest

    async def kept(self: Reader, selection: Selection, deadline_s: float) -> list:
        found = await query(self, selection, deadline_s)
        read.extend(found if selection.measurement == "vitals" else ())
        return found

    async def never(self: Reader, measurement: str, *more: float) -> list:
        assert measurement != "vitals"
        return await latest(self, measurement, *more)

    monkeypatch.setattr(Reader, "query", kept)
    monkeypatch.setattr(Reader, "latest", never)
    async with source_of(store_url, tmp_path, Clock()) as source:
        await source.rooms(SITE)
        await source.chart(SITE, "g1", TODAY)
    assert len(read) > 2
    assert not [one for one in read if "subject" in one or "heart_rate" in one]


async def test_bands_are_counted_where_no_heart_rate_was_ever_stored(store_url: str, tmp_path: Path) -> None:
    await store(store_url, [row("vitals", "g1", "g1-bands", WEDNESDAY - NS, bands_seen=12.0)])
    async with source_of(store_url, tmp_path, Clock()) as source:
        (gym,) = await source.rooms(SITE)
        assert [(view.point, view.value) for view in gym.values] == [("bands_seen", 12.0)]
        assert [one.point for one in (await source.chart(SITE, "g1", TODAY)).series] == ["bands_seen"]


async def test_a_database_that_is_not_there_yet_is_told_until_it_is(tmp_path: Path, influxd_url: tuple) -> None:
    _, url = influxd_url
    clock = Clock()
    async with source_of(url, tmp_path, clock) as source:
        assert await source.sites() == []
        assert "database not found" in (await source.state()).store_problem
        await store(url, [air("r101", WEDNESDAY)])
        clock.advance(1)
        assert len(await source.rooms(SITE)) == 1
        assert (await source.state()).store_problem is None
