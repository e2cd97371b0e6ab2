"""VictoriaMetrics as it truly is: what it keeps, and each promise that it does not."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cloud_ingest.series import Row, make_series
from cloud_ingest.stores.base import Capabilities, Selection
from cloud_ingest.stores.opening import open_store
from cloud_ingest.stores.victoria_metrics import VictoriaMetricsStore
from telemetry.errors import AuthError, ConfigError, StoreBusy, StoreRejected
from telemetry.sample import DataClass
from tests.cloud_ingest.gateway import HANDLE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from tests.servers import MakeServer, Server

MINUTE = 60 * 10**9
T0 = 1_760_000_040 * 10**9  # a whole minute
MS = 1_000_000


def opened(server: Server, login: str = "") -> VictoriaMetricsStore:
    store = open_store(f"victoriametrics://{login}{server.authority}")
    assert isinstance(store, VictoriaMetricsStore)
    return store


@pytest.fixture
async def store(victoria_metrics: Server) -> AsyncIterator[VictoriaMetricsStore]:
    one = opened(victoria_metrics)
    await one.prepare()
    yield one
    await one.close()


def air(at: int, device: str = "d1", **fields: Any) -> Row:
    return Row(
        series=make_series("environment", {"site": "s", "room": "r1", "device": device}),
        time_ns=at,
        fields=fields or {"co2": 600.0},
    )


async def flushed(store: VictoriaMetricsStore) -> None:
    """Have the server show what it was given."""
    await store._done("/internal/force_flush", {})


async def write(store: VictoriaMetricsStore, rows: list[Row]) -> None:
    assert (await store.write(rows)).refused == {}
    await flushed(store)


async def rows_of(store: VictoriaMetricsStore, measurement: str = "environment", **selection: Any) -> list[dict]:
    return await store.query(Selection(measurement=measurement, **selection))


async def samples_of(store: VictoriaMetricsStore, metric: str) -> list[tuple[int, float | None]]:
    """Return what the server holds, unadorned."""
    found: list[tuple[int, float | None]] = []

    def take(line: bytes) -> None:
        chunk = store._chunks.decode(line)
        found.extend(zip(chunk.timestamps, chunk.values, strict=True))

    params = {"match[]": metric, "start": "0", "end": "9999999999"}
    await store._http.read_lines("/api/v1/export", params, take)
    return found


async def test_numbers_come_back_at_whole_milliseconds(store: VictoriaMetricsStore) -> None:
    fields = {"whole": 21.0, "fraction": 21.37, "negative": -273.15, "large": 4294967295.0, "zero": 0.0}
    await write(store, [air(T0 + 123_999_999, **fields, yes=True, no=False)])
    row = {"time_ns": T0 + 123 * MS, "site": "s", "room": "r1", "device": "d1", **fields, "yes": 1.0, "no": 0.0}
    assert await rows_of(store) == [row]
    assert await store.latest("environment") == [row]


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(numbers=st.lists(st.integers(-(10**9), 10**9), min_size=1, max_size=50))
async def test_any_measured_number_survives(store: VictoriaMetricsStore, numbers: list[int]) -> None:
    values = [number / 1000 for number in numbers]
    start = (await rows_of(store, "energy") or [{"time_ns": T0}])[-1]["time_ns"] + MS
    series = make_series("energy", {"device": "d1"})
    await write(store, [Row(series=series, time_ns=start + n * MS, fields={"f": v}) for n, v in enumerate(values)])
    assert [row["f"] for row in await rows_of(store, "energy", since_ns=start)] == values


async def test_selection_by_time_tag_and_field(store: VictoriaMetricsStore) -> None:
    rows = [air(T0 + n * MS, device, co2=float(n), noise=1.0) for n in range(4) for device in ("d1", "it's \"d\\2")]
    await write(store, rows)
    found = await rows_of(
        store, since_ns=T0 + MS, until_ns=T0 + 3 * MS, where=(("device", "it's \"d\\2"),), fields=("co2",)
    )
    assert [(row["time_ns"] - T0, row["co2"]) for row in found] == [(MS, 1.0), (2 * MS, 2.0)]
    assert "noise" not in found[0]
    assert await rows_of(store, where=(("device", "nobody"),)) == []
    assert await rows_of(store, where=(("no label", "x"),)) == []
    assert await rows_of(store, fields=("c.2", "co(")) == []
    assert await rows_of(store, since_ns=T0 + 9 * MS, until_ns=T0) == []
    assert await rows_of(store, "energy") == []
    assert await rows_of(store, "environ") == []


async def test_means_by_time_bucket_count_a_repeated_sample_once(store: VictoriaMetricsStore) -> None:
    rows = [air(T0 + n * MINUTE // 4, co2=float(n)) for n in range(8)]
    await write(store, rows)
    await write(store, rows[3:4])
    for fields in ((), ("co2",)):
        found = await rows_of(store, every_ns=MINUTE, since_ns=T0, fields=fields)
        tags = {"site": "s", "room": "r1", "device": "d1"}
        assert found == [{"time_ns": T0, **tags, "co2": 1.5}, {"time_ns": T0 + MINUTE, **tags, "co2": 5.5}]


async def test_latest_finds_series_that_are_long_silent(store: VictoriaMetricsStore) -> None:
    now = time.time_ns() // MS * MS
    ages_ns = {"now": 0, "hours": 5 * 3600 * 10**9, "days": 9 * 86_400 * 10**9, "years": now - T0, "ahead": -(10**12)}
    rows = [air(now - age - n * MINUTE, name, co2=float(n)) for name, age in ages_ns.items() for n in range(3)]
    await write(store, [*rows, air(now - MINUTE, "now", noise=1.0)])
    found = {row["device"]: row for row in await store.latest("environment")}
    assert {name: row["time_ns"] for name, row in found.items()} == {n: now - age for n, age in ages_ns.items()}
    assert all(row["co2"] == 0.0 and "noise" not in row for row in found.values())
    recent = await store.latest("environment", since_ns=now - 3600 * 10**9)
    assert {row["device"] for row in recent} == {"now", "ahead"}
    assert await store.latest("energy") == []


# Its promises, one by one


async def test_it_declares_no_promise_that_it_does_not_keep(store: VictoriaMetricsStore) -> None:
    assert store.capabilities == Capabilities(
        durable=False, idempotent=False, strings=False, precision="ms", can_erase=False
    )
    for data_class in DataClass:
        assert "before they are durable" in str(store.capabilities.why_not(data_class))


async def test_it_keeps_rows_when_it_is_told_to_stop(victoria_metrics: Server, store: VictoriaMetricsStore) -> None:
    await store.write([air(T0 + n * MS, co2=float(n)) for n in range(500)])
    victoria_metrics.stop()
    with pytest.raises(StoreBusy, match="cannot be reached"):
        await store.write([air(T0)])
    victoria_metrics.start()
    assert [row["co2"] for row in await rows_of(store)] == [float(n) for n in range(500)]


async def test_it_loses_what_it_confirmed_when_it_is_killed(
    victoria_metrics: Server, store: VictoriaMetricsStore
) -> None:
    for attempt in range(10):  # it writes once a second, and may have done so by chance
        await store.write([air(T0 + attempt * MS)])
        victoria_metrics.kill()
        victoria_metrics.start()
        kept = [row["time_ns"] for row in await rows_of(store)]
        assert set(kept) <= {T0 + n * MS for n in range(attempt + 1)}
        if T0 + attempt * MS not in kept:
            return
    pytest.fail("ten rows survived kill -9 right after the answer: is it durable now?")


@pytest.mark.parametrize(("extra", "copies"), [((), 2), (("-dedup.minScrapeInterval=1ms",), 1)])
async def test_it_keeps_a_row_sent_twice_twice(make_victoria_metrics: MakeServer, extra, copies) -> None:
    store = opened(make_victoria_metrics(extra=extra))
    for _ in range(2):
        await write(store, [air(T0, co2=1.0)])
    assert len(await samples_of(store, "environment_co2")) == copies
    assert [row["co2"] for row in await rows_of(store)] == [1.0]
    await store.close()


async def test_a_text_would_become_a_number_and_is_refused(store: VictoriaMetricsStore) -> None:
    await store._http.write("/api/v2/write", {"precision": "ns"}, [air(T0, co2_bad="timeout")])
    outcome = await store.write([air(T0 + MS), air(T0 + 2 * MS, co2=1.0, quality="suspect"), air(0)])
    assert sorted(outcome.refused) == [1, 2]
    await flushed(store)
    assert await samples_of(store, "environment_co2_bad") == [(T0 // MS, 0.0)]
    assert [row["time_ns"] for row in await rows_of(store, fields=("co2",))] == [T0 + MS]
    assert (await store.write([air(0)])).refused


async def test_numbers_are_cut_to_fifteen_digits(store: VictoriaMetricsStore) -> None:
    await write(store, [air(T0, sum=0.1 + 0.2, tiny=5e-324)])
    (row,) = await rows_of(store)
    assert (row["sum"], row["tiny"]) == (0.3, 0.0)
    with pytest.raises(StoreRejected, match="nan"):
        await store.write([air(T0, f=float("nan"))])


async def test_a_subject_disappears_from_answers_but_only_from_the_index(store: VictoriaMetricsStore) -> None:
    def visit(n: int, subject: str) -> Row:
        tags = {"site": "s", "room": "r1", "device": f"door{n % 2}", "subject": subject}
        return Row(series=make_series("attendance", tags), time_ns=T0 + n * MS, fields={"presence": True})

    other = "ab" * 16
    await store.write([visit(n, subject) for n in range(6) for subject in (HANDLE, other)])
    assert await store.delete_subject(HANDLE) == 2
    assert {row["subject"] for row in await rows_of(store, "attendance")} == {other}
    assert await store.delete_subject(HANDLE) == 0
    # The samples themselves lie on its disk as before: 6 of each subject.
    metrics = (await store._http.request("GET", "/metrics")).body.decode()
    kept = [line.split()[1] for line in metrics.splitlines() if line.startswith('vm_rows{type="storage/')]
    assert sum(map(int, kept)) == 12


async def test_what_it_was_just_given_escapes_a_deletion(store: VictoriaMetricsStore) -> None:
    for attempt in range(10):  # once a second it writes its index, and then a deletion finds it
        subject = f"{attempt:032x}"
        series = make_series("attendance", {"subject": subject, "device": "d"})
        await store.write([Row(series=series, time_ns=T0, fields={"presence": True})])
        await store._done("/api/v1/admin/tsdb/delete_series", {"match[]": f'{{subject="{subject}"}}'})
        await flushed(store)
        if await rows_of(store, "attendance", where=(("subject", subject),)):
            return
    pytest.fail("ten deletions found what had just been written: can it erase now?")


async def test_retention_is_set_by_whoever_starts_it(store: VictoriaMetricsStore) -> None:
    with pytest.raises(ConfigError, match="-retentionPeriod=30d"):
        await store.set_retention(30 * 86_400)
    with pytest.raises(ConfigError, match="-retentionPeriod=100y"):
        await store.set_retention(None)


# What it says about itself


async def test_health_tells_how_long_it_keeps_rows(make_victoria_metrics: MakeServer, store) -> None:
    assert await store.health() == "VictoriaMetrics, keeps 100y"
    month = opened(make_victoria_metrics(extra=("-retentionPeriod=1",)))
    assert await month.health() == "VictoriaMetrics, keeps 1 months"
    await month.close()


async def test_a_server_that_names_metrics_another_way_is_no_mirror(make_victoria_metrics: MakeServer) -> None:
    store = opened(make_victoria_metrics(host="127.0.0.1", extra=("-influxSkipSingleField",)))
    with pytest.raises(ConfigError, match="without -influxSkipSingleField"):
        await store.health()
    await store.close()


async def test_user_and_password(make_victoria_metrics: MakeServer) -> None:
    server = make_victoria_metrics(extra=("-httpAuth.username=campus", "-httpAuth.password=s3cret/x"))
    good, bad = opened(server, "campus:s3cret%2Fx@"), opened(server, "campus:wrong@")
    await write(good, [air(T0)])
    assert len(await rows_of(good)) == 1
    assert "s3cret" not in good.name
    for refused in (bad.write([air(T0)]), rows_of(bad), bad.health(), bad.latest("environment")):
        with pytest.raises(AuthError) as caught:
            await refused
        assert "wrong" not in str(caught.value)
    await good.close()
    await bad.close()


async def test_what_is_no_victoria_metrics_is_told_so() -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(text='{"status":"pass"}')

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "::1", 0).start()
    store = open_store(f"victoriametrics://[::1]:{runner.addresses[0][1]}")
    calls: list[Callable[[], Awaitable[Any]]] = [
        store.health,
        lambda: store.query(Selection(measurement="environment")),
        lambda: store.latest("environment"),
        lambda: store.write([air(T0)]),
    ]
    for call in calls:
        with pytest.raises(StoreBusy):
            await call()
    await store.close()
    await runner.cleanup()


async def test_a_long_answer_comes_in_pieces(store: VictoriaMetricsStore) -> None:
    store._http._zip_above = 0  # as to a server elsewhere
    for start in range(0, 40_000, 10_000):
        await store.write([air(T0 + n * MS, co2=float(n)) for n in range(start, start + 10_000)])
    await flushed(store)
    async with asyncio.timeout(20):
        assert [row["co2"] for row in await rows_of(store)] == [float(n) for n in range(40_000)]
        (mean,) = await rows_of(store, every_ns=MINUTE)
    assert mean["co2"] == 19_999.5
