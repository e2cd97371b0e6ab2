"""Looking at the newest rows stays cheap however much is stored: steps are counted where that can be, else time."""

from __future__ import annotations

import sqlite3
import time
from typing import TYPE_CHECKING

import pytest

from cloud_ingest.stores.opening import open_store
from cloud_ingest.stores.sqlite_read import latest
from tests.cloud_ingest.console.stored import AIR, NS, SITE, WEDNESDAY, Clock, air, source_of, store

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

ROOMS = 500


async def fastest_ms(work: Callable[[], Awaitable[object]], times: int = 7) -> float:
    found = []
    for _ in range(times):
        started = time.perf_counter()
        await work()
        found.append(time.perf_counter() - started)
    return 1000 * min(found)


async def steps_of_latest(path: Path, rows: int) -> int:
    """Return how many thousands of SQLite's steps the newest rows take after a thorough look's bound."""
    await store(f"sqlite://{path}", [air(f"r{n % 50}", WEDNESDAY - n * NS) for n in range(rows)])
    db = sqlite3.connect(path)
    steps = 0

    def step() -> int:
        nonlocal steps
        steps += 1
        return 0

    db.set_progress_handler(step, 10)
    assert len(latest(db, "environment", WEDNESDAY - 7 * 86_400 * NS)) == 50
    db.close()
    return steps


async def test_the_newest_rows_take_as_many_steps_in_a_large_store_as_in_a_small_one(tmp_path: Path) -> None:
    small = await steps_of_latest(tmp_path / "small.sqlite", 100)
    large = await steps_of_latest(tmp_path / "large.sqlite", 20_000)
    assert large < 1.5 * small


@pytest.mark.parametrize(("kind", "limit_ms"), [("sqlite", 100), ("influx1", 1000)])
async def test_the_newest_rows_of_five_hundred_series(
    request: pytest.FixtureRequest, tmp_path: Path, kind: str, limit_ms: float
) -> None:
    url = f"sqlite://{tmp_path}/s.sqlite"
    if kind == "influx1":
        url = f"influx1://{request.getfixturevalue('influxd').authority}/campus"
    for n in range(0, 60, 10):
        await store(url, [air(f"r{r}", WEDNESDAY - at * NS) for at in range(n, n + 10) for r in range(ROOMS)])
    opened = open_store(url)
    since_ns = WEDNESDAY - 120 * NS
    try:
        assert len(await opened.latest("environment", since_ns=since_ns)) == ROOMS
        taken_ms = await fastest_ms(lambda: opened.latest("environment", since_ns=since_ns))
    finally:
        await opened.close()
    assert taken_ms < limit_ms
    clock = Clock()
    async with source_of(url, tmp_path, clock) as source:

        async def look() -> None:
            clock.advance(1)
            found = await source.rooms(SITE)
            assert (len(found), len(found[0].values)) == (ROOMS, len(AIR) - 1)

        await look()
        assert await fastest_ms(look) < 2 * limit_ms
