"""The stores' own files: after an erasure their bytes hold nobody, each by its own way to forget."""

from __future__ import annotations

import shutil
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloud_ingest.erasure.emptying import empty, rows_of, scan, subjects
from cloud_ingest.erasure.state import StoreState
from cloud_ingest.series import Row, make_series
from cloud_ingest.stores.base import Selection
from cloud_ingest.stores.opening import open_store
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.cloud_ingest.influx2_imitation import Influx2
    from tests.servers import MakeServer

T0 = 1_760_000_040 * 10**9
HIM, HER = "ee" * 16, "0f" * 16


def him(handle: str) -> bool:
    return handle == HIM


def tap(n: int, subject: str | None, measurement: str = "attendance") -> Row:
    tags = {"site": "s", "room": f"r{n % 7}", "device": f"door{n % 3}"}
    return Row(
        series=make_series(measurement, tags | ({"subject": subject} if subject else {})),
        time_ns=T0 + n,
        fields={"presence": True, "note": f"{n}" * (n % 40)},
    )


async def write(url: str, rows: Sequence[Row]) -> None:
    store = open_store(url)
    try:
        await store.prepare()
        await store.write(rows)
    finally:
        await store.close()


async def everything(url: str) -> list[dict[str, object]]:
    store = open_store(url)
    try:
        found = [await store.query(Selection(measurement=name)) for name in ("attendance", "vitals")]
        return [row for rows in found for row in rows]
    finally:
        await store.close()


@settings(max_examples=15)
@given(st.lists(st.sampled_from([HIM, *(f"{n:032x}" for n in range(60))]), min_size=1, max_size=400), st.data())
async def test_pain_20_sqlite_forgets_him_and_nobody_else(people: list[str], data: st.DataObject) -> None:
    """Written in any order and any groups, so that pages are split in many ways."""
    with tempfile.TemporaryDirectory() as name:
        url = f"sqlite://{name}/s.sqlite"
        rows = [tap(n, subject, "vitals" if n % 5 else "attendance") for n, subject in enumerate([*people, HIM])]
        at = 0
        while at < len(rows):
            count = data.draw(st.integers(1, 200))
            await write(url, rows[at : at + count])
            at += count
        others = [row for row in await everything(url) if row["subject"] != HIM]
        state = await empty(url, him, [HIM], None)
        assert sum(state.found_rows.values()) == [*people, HIM].count(HIM)
        assert state.verified_at_ns is not None
        assert scan(Path(name), him) == []
        assert await everything(url) == others


async def test_it_is_found_by_its_hash_alone_and_counted_once(tmp_path: Path) -> None:
    url = f"sqlite://{tmp_path}/s.sqlite"
    await write(url, [tap(n, (HIM, HER)[n % 2]) for n in range(20)])
    state = await empty(url, him, (), None)
    assert state.found_rows == {"attendance": 10}
    again = await empty(url, him, (), state)
    assert again.found_rows == {"attendance": 10}
    assert again.series == 10
    store = open_store(url)
    assert await subjects(store) == {HER}
    assert await rows_of(store, HIM) == {}
    await store.close()


async def test_an_ingest_that_goes_on_writing_keeps_its_series(tmp_path: Path) -> None:
    """The running ingest has the file open and remembers the series' numbers: they must stay."""
    url = f"sqlite://{tmp_path}/s.sqlite"
    running = open_store(url)
    await running.prepare()
    await running.write([tap(n, (HIM, HER)[n % 2]) for n in range(40)])
    await empty(url, him, [HIM], None)
    await running.write([tap(n, HER) for n in range(41, 80, 2)])
    await running.close()
    found = await everything(url)
    assert {row["subject"] for row in found} == {HER}
    assert len({row["time_ns"] for row in found}) == len(found) == 40


async def test_a_store_that_is_not_there_and_one_that_never_gets_people(tmp_path: Path, influx2: Influx2) -> None:
    state = await empty(f"sqlite://{tmp_path}/nothing.sqlite", him, [HIM], None)
    assert state.verified == "there is no such file"
    assert not (tmp_path / "nothing.sqlite").exists()
    influx2.version = "v3.1.0"
    state = await empty(influx2.url, him, [HIM], StoreState())
    assert state.verified.startswith("never gets rows about people")
    assert state.verified_at_ns is not None


async def test_pain_20_influxdb_2_forgets_by_its_delete(influx2: Influx2) -> None:
    await write(influx2.url, [tap(n, (HIM, HER)[n % 2]) for n in range(8)])
    state = await empty(influx2.url, him, (), None)
    assert state.found_rows == {"attendance": 4}
    assert state.verified_at_ns is not None
    assert {row["subject"] for row in await everything(influx2.url)} == {HER}


@pytest.mark.server("influxd")
async def test_pain_20_influxdb_1_forgets_after_its_compaction_and_a_new_list_of_series(
    make_influxd: MakeServer,
) -> None:
    server = make_influxd()
    server.stop()
    server.environment = {
        "INFLUXDB_DATA_CACHE_SNAPSHOT_WRITE_COLD_DURATION": "1s",
        "INFLUXDB_DATA_COMPACT_FULL_WRITE_COLD_DURATION": "2s",
    }
    server.start()
    url = f"influx1://{server.authority}/campus"
    await write(url, [tap(n, (HIM, HER)[n % 2]) for n in range(60)])
    data = server.folder / "data"
    await until(lambda: list(data.rglob("*.tsm")), within_s=20)
    assert scan(data, him)
    others = [row for row in await everything(url) if row["subject"] != HIM]

    state = await empty(url, him, (), None)

    assert state.found_rows == {"attendance": 30}
    assert state.verified_at_ns is not None
    assert "_series" in state.remains
    assert await everything(url) == others
    # Its own compaction takes the rows out of the files; the list of series keeps the name.
    await until(lambda: all("/_series/" in path for path in scan(server.folder, him)), within_s=30)
    left = scan(server.folder, him)
    assert left
    server.stop()
    shutil.rmtree(data / "campus" / "_series")
    server.start()
    deadline = time.monotonic() + 20
    while await everything(url) != others:
        assert time.monotonic() < deadline
    assert scan(server.folder, him) == []
