"""The SQLite store's file: private, followed when it is replaced, released in time, bounded."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest

from cloud_ingest.deadletter import DeadLetters, Letter
from cloud_ingest.seen import Seen
from cloud_ingest.series import Row, make_series
from cloud_ingest.stores.base import Selection
from cloud_ingest.stores.opening import open_store
from telemetry.counters import Counters
from telemetry.errors import StoreBusy

if TYPE_CHECKING:
    from pathlib import Path

T0 = 1_760_000_040 * 10**9


def air(n: int) -> Row:
    series = make_series("environment", {"site": "s", "room": "r1", "device": "d1"})
    return Row(series=series, time_ns=T0 + n, fields={"co2": float(n)})


def paths_in(folder: Path) -> list[Path]:
    return list(folder.iterdir())


async def times_of(url: str) -> list[int]:
    store = open_store(url)
    try:
        return [row["time_ns"] - T0 for row in await store.query(Selection(measurement="environment"))]
    finally:
        await store.close()


@pytest.mark.parametrize("replaced", [False, True])
async def test_rows_are_never_called_stored_in_a_deleted_file(tmp_path: Path, replaced: bool) -> None:
    url = f"sqlite://{tmp_path}/s.sqlite"
    store = open_store(url)
    await store.write([air(1)])
    for path in paths_in(tmp_path):
        path.unlink()
    if replaced:
        other = open_store(url)
        await other.write([air(2)])
        await other.close()
    await store.write([air(3)])
    await store.close()
    assert await times_of(url) == ([2, 3] if replaced else [3])


async def test_closing_does_not_wait_for_writes_behind_a_lock(tmp_path: Path) -> None:
    store = open_store(f"sqlite://{tmp_path}/s.sqlite")
    await store.prepare()
    other = sqlite3.connect(tmp_path / "s.sqlite", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    writes = [asyncio.create_task(store.write([air(n)])) for n in range(4)]
    await asyncio.sleep(0.1)
    started = time.monotonic()
    await store.close()
    assert time.monotonic() - started < 2
    assert all(isinstance(e, StoreBusy) for e in await asyncio.gather(*writes, return_exceptions=True))
    other.close()


async def test_what_may_hold_person_data_is_private_from_the_start(tmp_path: Path) -> None:
    store = open_store(f"sqlite://{tmp_path}/store.sqlite")
    await store.write([air(1)])
    dead = DeadLetters(tmp_path / "dead.sqlite", max_bytes=1 << 20, counters=Counters())
    dead.add([Letter(topic="t/live", payload=b"x", reason="bad")])
    seen = Seen(tmp_path / "seen.sqlite", per_gateway=100)
    modes = {path.name: path.stat().st_mode & 0o777 for path in paths_in(tmp_path)}
    assert {"store.sqlite-wal", "dead.sqlite-wal"} <= set(modes)
    assert set(modes.values()) == {0o600}, modes
    seen.close()
    dead.close()
    await store.close()


async def test_the_log_is_cut_back_after_a_long_reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cloud_ingest.stores.sqlite._LOG_BYTES", 100_000)
    store = open_store(f"sqlite://{tmp_path}/s.sqlite")
    await store.write([air(0)])
    reader = sqlite3.connect(tmp_path / "s.sqlite", isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM value").fetchone()
    log = tmp_path / "s.sqlite-wal"
    for n in range(1, 300):
        await store.write([air(n * 1000 + k) for k in range(100)])
        if log.stat().st_size > 6_000_000:
            break
    reader.execute("COMMIT")
    reader.close()
    for n in range(5):
        await store.write([air(1_000_000 + n)])
    assert log.stat().st_size < 5_000_000
    await store.close()


@pytest.mark.parametrize("name", ["a b.sqlite", "what?.sqlite", "50%41.sqlite", "#1.sqlite"])
async def test_any_file_name_can_be_read_back(tmp_path: Path, name: str) -> None:
    url = f"sqlite://{quote(str(tmp_path / name))}"
    store = open_store(url)
    await store.write([air(1)])
    await store.close()
    assert [path.name for path in paths_in(tmp_path)] == [name]
    assert await times_of(url) == [1]


async def test_reading_a_file_that_is_not_there_creates_none(tmp_path: Path) -> None:
    with pytest.raises(StoreBusy, match="does not exist → correct the path"):
        await times_of(f"sqlite://{tmp_path}/none.sqlite")
    assert paths_in(tmp_path) == []


async def test_a_file_of_something_else_is_named(tmp_path: Path) -> None:
    other = sqlite3.connect(tmp_path / "o.sqlite")
    other.execute("CREATE TABLE t (x)")
    other.commit()
    other.close()
    with pytest.raises(StoreBusy, match="no such table"):
        await times_of(f"sqlite://{tmp_path}/o.sqlite")
