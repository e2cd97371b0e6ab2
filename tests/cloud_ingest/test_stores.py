"""What every store must do, shown on SQLite, a real InfluxDB 1 and a strict imitation of InfluxDB 2."""

from __future__ import annotations

import math
import os
import sqlite3
import time
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cloud_ingest.placing import Placer
from cloud_ingest.series import Row, make_series
from cloud_ingest.stores.base import Capabilities, Selection, Store
from cloud_ingest.stores.opening import open_store
from telemetry.counters import Counters
from telemetry.errors import ConfigError, StoreBusy
from telemetry.sample import DataClass
from tests.cloud_ingest.gateway import HANDLE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

MINUTE = 60 * 10**9
T0 = 1_760_000_040 * 10**9  # a whole minute


@pytest.fixture(params=["sqlite", "influx1", "influx2"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite://{tmp_path}/deep/store.sqlite"
    if request.param == "influx1":
        return f"influx1://{request.getfixturevalue('influxd').authority}/campus"
    return request.getfixturevalue("influx2").url


@pytest.fixture
async def store(store_url: str) -> AsyncIterator[Store]:
    opened = open_store(store_url)
    await opened.prepare()
    await opened.prepare()
    yield opened
    await opened.close()


def air(at: int, device: str = "d1", **fields) -> Row:
    return Row(
        series=make_series("environment", {"site": "s", "room": "r1", "device": device}),
        time_ns=at,
        fields=fields or {"co2": 600.0},
    )


async def rows_of(store: Store, **selection) -> list[dict]:
    return await store.query(Selection(measurement="environment", **selection))


async def place(store: Store, rows: list[Row]) -> dict[int, str]:
    async def never(seconds: float) -> None:
        pytest.fail(f"store is busy for {seconds} s")

    return await Placer(store, Counters(), classes=list(DataClass), on_wait=never).place(rows)


async def test_rows_come_back_unaltered(store: Store) -> None:
    fields = {
        "whole": 21.0,
        "fraction": 0.1 + 0.2,
        "large": 1.7976931348623157e308,
        "tiny": 5e-324,
        "exponent": 1e16,
        "negative": -273.15,
        "yes": True,
        "no": False,
        "text": 'a "quoted" \\ back, slash=1',
        "umlaut": "温度 é",
    }
    at = T0 + 123_456_789
    assert await place(store, [air(at, **fields)]) == {}
    (row,) = await rows_of(store)
    assert row == {"time_ns": at, "site": "s", "room": "r1", "device": "d1", **fields}
    assert {name: type(row[name]) for name in fields} == {name: type(value) for name, value in fields.items()}


async def test_the_same_series_and_time_is_the_same_point(store: Store) -> None:
    rows = [air(T0 + n, co2=float(n)) for n in range(50)]
    for _ in range(3):
        await place(store, rows)
    await place(store, [air(T0, temperature=1.0)])
    found = await rows_of(store)
    assert len(found) == 50
    assert found[0] == {"time_ns": T0, "site": "s", "room": "r1", "device": "d1", "co2": 0.0, "temperature": 1.0}


async def test_selection_by_time_tag_and_field(store: Store) -> None:
    await place(store, [air(T0 + n, device, co2=float(n), noise=1.0) for n in range(4) for device in ("d1", "d2")])
    found = await rows_of(store, since_ns=T0 + 1, until_ns=T0 + 3, where=(("device", "d2"),), fields=("co2",))
    assert [(row["time_ns"], row["device"], row["co2"]) for row in found] == [(T0 + 1, "d2", 1.0), (T0 + 2, "d2", 2.0)]
    assert "noise" not in found[0]
    assert await rows_of(store, where=(("device", 'it\'s \\ "nobody"'),)) == []
    assert await store.query(Selection(measurement="energy")) == []


async def test_means_by_time_bucket(store: Store) -> None:
    rows = [air(T0 + n * MINUTE // 4, co2=float(n), quality="suspect", state=True) for n in range(8)]
    await place(store, rows)
    for fields in ((), ("co2",)):
        found = await rows_of(store, every_ns=MINUTE, since_ns=T0, fields=fields)
        tags = {"site": "s", "room": "r1", "device": "d1"}
        assert found == [{"time_ns": T0, **tags, "co2": 1.5}, {"time_ns": T0 + MINUTE, **tags, "co2": 5.5}]


async def test_latest_goes_by_acquisition_time(store: Store) -> None:
    await place(store, [air(T0 + 5, co2=5.0), air(T0 + 5, "d2", noise=2.0)])
    await place(store, [air(T0 + 1, co2=1.0)])
    found = {row["device"]: row for row in await store.latest("environment")}
    assert found["d1"]["co2"] == 5.0
    assert found["d2"]["noise"] == 2.0
    assert await store.latest("energy") == []


async def test_latest_leaves_out_series_that_fell_silent(store: Store) -> None:
    await place(store, [air(T0 + n, co2=float(n)) for n in range(3)] + [air(T0, "d2")])
    found = await store.latest("environment", since_ns=T0 + 1)
    assert [(row["device"], row["co2"]) for row in found] == [("d1", 2.0)]
    assert len(await store.latest("environment", since_ns=T0)) == 2
    assert await store.latest("environment", since_ns=T0 + 3) == []


async def test_a_type_conflict_refuses_just_those_rows(store: Store) -> None:
    await place(store, [air(T0, co2=1.0, state="on")])
    rows = [air(T0 + n, co2=float(n)) for n in range(1, 200)]
    rows[17] = air(T0 + 18, co2="text")
    rows[18] = air(T0 + 19, state=True)
    refused = await place(store, rows)
    assert sorted(refused) == [17, 18]
    assert all(refused.values())
    assert len(await rows_of(store)) == 198


async def test_pain_20_a_subject_is_erased(store: Store) -> None:
    def visit(n: int, subject: str) -> Row:
        tags = {"site": "s", "room": "r1", "device": f"door{n % 2}", "subject": subject}
        return Row(series=make_series("attendance", tags), time_ns=T0 + n, fields={"presence": True})

    other = "ab" * 16
    await place(store, [visit(n, HANDLE) for n in range(6)] + [visit(n, other) for n in range(6)])
    assert await store.delete_subject(HANDLE) == 2
    assert {row["subject"] for row in await store.query(Selection(measurement="attendance"))} == {other}
    assert await store.delete_subject(HANDLE) == 0


async def test_retention_can_be_set_and_lifted(store: Store) -> None:
    await place(store, [air(T0)])
    await store.set_retention(3600 * 24)
    await store.set_retention(None)
    await place(store, [air(T0 + 1)])
    assert (await rows_of(store))[-1]["time_ns"] == T0 + 1


async def test_it_says_what_it_is_without_secrets(store: Store) -> None:
    assert await store.health()
    assert "s3cret" not in store.name
    assert store.capabilities == Capabilities(
        durable=True, idempotent=True, strings=True, precision="ns", can_erase=True
    )


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(values=st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=20))
async def test_any_number_survives(store: Store, values: list[float]) -> None:
    rows = [air(T0 + n, f=value) for n, value in enumerate(values)]
    assert await place(store, rows) == {}
    found = await rows_of(store, since_ns=T0, until_ns=T0 + len(values))
    assert [row["f"] for row in found] == values


# What a class may be kept in


@pytest.mark.parametrize(
    ("lack", "refused"),
    [
        ({"durable": False}, set(DataClass)),
        ({"idempotent": False}, set(DataClass)),
        ({"strings": False}, set(DataClass)),
        ({"precision": "ms"}, set(DataClass)),
        ({"can_erase": False}, {DataClass.PERSONAL, DataClass.SENSITIVE}),
        ({}, set()),
    ],
)
def test_a_store_is_refused_for_promises_it_cannot_keep(lack, refused) -> None:
    best = {"durable": True, "idempotent": True, "strings": True, "precision": "ns", "can_erase": True}
    capabilities = Capabilities(**{**best, **lack})
    assert {c for c in DataClass if capabilities.why_not(c) is not None} == refused


# SQLite alone


def everything_in(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.iterdir())


async def test_sqlite_commits_are_fsynced_and_erased_bytes_are_gone(tmp_path: Path) -> None:
    store = open_store(f"sqlite://{tmp_path}/s.sqlite")
    await store.prepare()
    assert store._db.execute("PRAGMA synchronous").fetchone() == (2,)
    assert store._db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    tags = {"site": "s", "room": "r", "device": "d", "subject": HANDLE}
    await store.write([Row(series=make_series("attendance", tags), time_ns=T0, fields={"presence": True})])
    await store.delete_subject(HANDLE)
    assert HANDLE.encode() not in everything_in(tmp_path)
    await store.close()


async def test_sqlite_retention_sweeps_old_rows(tmp_path: Path) -> None:
    store = open_store(f"sqlite://{tmp_path}/s.sqlite")
    now = time.time_ns()
    await store.write([air(now - 7200 * 10**9), air(now)])
    await store.set_retention(3600)
    assert [row["time_ns"] for row in await rows_of(store)] == [now]
    await store.close()


async def test_sqlite_survives_a_lock_and_a_lost_transaction(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cloud_ingest.stores.sqlite._BUSY_S", 0.05)
    store = open_store(f"sqlite://{tmp_path}/s.sqlite")
    await store.prepare()
    other = sqlite3.connect(tmp_path / "s.sqlite", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreBusy, match="locked"):
        await store.write([air(T0)])
    assert await rows_of(store) == []  # readers are not kept out
    other.execute("ROLLBACK")
    other.close()
    await store.write([air(T0)])
    assert len(await rows_of(store)) == 1
    await store.close()


async def test_sqlite_in_a_place_that_cannot_be_written_is_a_config_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    store = open_store(f"sqlite://{tmp_path}/file/s.sqlite")
    with pytest.raises(ConfigError, match="cannot be opened"):
        await store.prepare()
    await store.close()
    (tmp_path / "not.sqlite").write_bytes(os.urandom(4096))
    store = open_store(f"sqlite://{tmp_path}/not.sqlite")
    with pytest.raises(ConfigError, match="not usable"):
        await store.prepare()
    await store.close()


async def test_refused_rows_leave_no_half_row(tmp_path: Path) -> None:
    store = open_store(f"sqlite://{tmp_path}/s.sqlite")
    await store.write([air(T0, b=1.0)])
    outcome = await store.write([air(T0 + 1, a=1.0, b=True), air(T0 + 2, a=math.pi)])
    assert list(outcome.refused) == [0]
    assert [row["time_ns"] for row in await rows_of(store)] == [T0, T0 + 2]
    await store.close()
