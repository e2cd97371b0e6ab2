"""What an InfluxDB may answer, and what the ingest makes of it."""

from __future__ import annotations

import logging
import urllib.parse
import urllib.request
from typing import TYPE_CHECKING

import pytest
from aiohttp import web

from cloud_ingest.placing import Placer
from cloud_ingest.series import Row, make_series
from cloud_ingest.stores.base import Selection, Store
from cloud_ingest.stores.influx_http import _is_near
from cloud_ingest.stores.influxql import identifier, literal
from cloud_ingest.stores.opening import open_store
from telemetry.counters import Counters
from telemetry.errors import AuthError, ConfigError, StoreBusy, StoreRejected
from telemetry.sample import DataClass
from tests.cloud_ingest.gateway import HANDLE
from tests.cloud_ingest.influx2_imitation import TOKEN, Influx2, fail
from tests.servers import MakeServer, Server, free_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

T0 = 1_760_000_040 * 10**9


def air(n: int, **fields) -> Row:
    series = make_series("environment", {"site": "s", "room": "r1", "device": "d1"})
    return Row(series=series, time_ns=T0 + n, fields=fields or {"co2": 600.0})


@pytest.fixture
async def store2(influx2: Influx2) -> AsyncIterator[Store]:
    store = open_store(influx2.url)
    yield store
    await store.close()


async def place(store: Store, rows: list[Row], waits: list[float] | None = None) -> dict[int, str]:
    async def on_wait(seconds: float) -> None:
        if waits is None:
            pytest.fail(f"store is busy for {seconds} s")
        waits.append(seconds)

    return await Placer(store, Counters(), classes=[DataClass.OPEN], on_wait=on_wait).place(rows)


@pytest.mark.parametrize(
    ("answer", "error", "words"),
    [
        (fail(400, "invalid", "unable to parse"), StoreRejected, "unable to parse"),
        (fail(401, "unauthorized", "unauthorized access"), AuthError, "401"),
        (fail(403, "forbidden", "no write access"), AuthError, "403"),
        (fail(404, "not found", "bucket not found"), StoreBusy, "bucket not found"),
        (fail(413, "too large", "points batch is too large"), StoreRejected, "413"),
        (fail(201, "created", "partial write: 1 of 2 lines"), StoreRejected, "partial write"),
        (fail(422, "unprocessable", "beyond retention"), StoreRejected, "beyond retention"),
        (fail(429, "too many requests", "slow down"), StoreBusy, "slow down"),
        (fail(500, "internal error", "panic"), StoreBusy, "panic"),
        (fail(503, "unavailable", "not ready"), StoreBusy, "not ready"),
        (web.Response(status=200, text="<html>a proxy</html>"), StoreBusy, "HTTP 200"),
        (web.Response(status=302, headers={"Location": "http://example.invalid/"}), StoreBusy, "302"),
        (web.Response(status=503, body=b"\xff" * 2000), StoreBusy, "503"),
    ],
)
async def test_each_status_is_translated_once(influx2, store2, answer, error, words) -> None:
    influx2.answers.append(answer)
    with pytest.raises(error, match=words) as caught:
        await store2.write([air(1)])
    assert TOKEN not in str(caught.value)
    assert not influx2.points


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "7"}, 7.0),
        ({"Retry-After": "0.5"}, 0.5),
        ({"Retry-After": "Wed, 21 Oct 2026 07:28:10 GMT", "Date": "Wed, 21 Oct 2026 07:28:00 GMT"}, 10.0),
        ({"Retry-After": "soon"}, 2.0),
        ({"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT", "Date": "Wed, 21 Oct 2026 07:28:10 GMT"}, 0.0),
        ({"Retry-After": "-5"}, 2.0),
        ({"Retry-After": "nan"}, 2.0),
        ({}, 2.0),
    ],
)
async def test_retry_after_is_read(influx2, store2, headers, seconds) -> None:
    influx2.answers.append(fail(429, "too many requests", "slow down", **headers))
    with pytest.raises(StoreBusy) as caught:
        await store2.write([air(1)])
    assert caught.value.retry_after_s == seconds


async def test_a_busy_store_is_waited_for_and_nothing_is_lost(influx2, store2) -> None:
    influx2.answers += [fail(503, "unavailable", "x", **{"Retry-After": "0.02"}), fail(429, "x", "x")]
    waits: list[float] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cloud_ingest.placing.FIRST_WAIT_S", 0.05)
        patch.setattr("cloud_ingest.stores.influx_http._RETRY_S", 0.05)
        assert await place(store2, [air(1)], waits) == {}
    assert len(waits) == 2
    assert len(influx2.points) == 1


async def test_pain_08_too_large_bodies_are_halved(influx2, store2) -> None:
    influx2.largest_body = 1000
    rows = [air(n, co2=float(n)) for n in range(100)]
    rows[50] = air(50, state="x" * 1024)
    refused = await place(store2, rows)
    assert list(refused) == [50]
    assert "413" in refused[50]
    assert len(influx2.points) == 99
    assert influx2.encodings == {"identity"}, "on this machine gzip costs more than it saves"


async def test_bodies_for_a_distant_server_are_compressed(influx2, store2) -> None:
    store2._http._zip_above = 200
    assert await place(store2, [air(n, co2=float(n)) for n in range(100)]) == {}
    assert await place(store2, [air(200)]) == {}
    assert influx2.encodings == {"gzip", "identity"}
    assert len(influx2.points) == 101


@pytest.mark.parametrize("base", ["http://[::1]:8086", "http://127.0.0.1:8086", "http://localhost:8086"])
def test_a_server_on_this_machine_is_near(base) -> None:
    assert _is_near(base)


@pytest.mark.parametrize("base", ["https://influx.example:8086", "http://192.0.2.7:8086"])
def test_a_server_elsewhere_is_not_near(base) -> None:
    assert not _is_near(base)


async def test_version_3_may_have_written_the_good_lines(influx2, store2) -> None:
    influx2.version = "3.0.1"
    await place(store2, [air(0, co2=1.0)])
    refused = await place(store2, [air(1), air(2, co2=True), air(3)])
    assert list(refused) == [1]
    assert sorted(at - T0 for _, at in influx2.points) == [0, 1, 3]


@pytest.mark.parametrize("version", ["3.0.1", "v3.1.0", None])
async def test_a_server_without_deletion_gets_no_person_data(influx2, store2, version) -> None:
    influx2.version = version
    await store2.prepare()
    assert not store2.capabilities.can_erase
    assert store2.capabilities.why_not(DataClass.OPEN) is None
    assert "delete" in store2.capabilities.why_not(DataClass.PERSONAL)
    with pytest.raises(ConfigError, match="cannot delete"):
        await store2.delete_subject(HANDLE)

    async def on_wait(seconds: float) -> None:
        pytest.fail(f"waits {seconds} s")

    placer = Placer(store2, Counters(), classes=[DataClass.PERSONAL], on_wait=on_wait)
    with pytest.raises(ConfigError, match=r"store\.routes\.personal"):
        await placer.place([air(1)])


async def test_a_deletion_that_did_nothing_is_no_success(influx2, store2) -> None:
    tags = {"site": "s", "room": "r1", "device": "d1", "subject": HANDLE}
    await store2.write([Row(series=make_series("attendance", tags), time_ns=T0, fields={"presence": True})])
    influx2.delete_works = False
    with pytest.raises(StoreBusy, match="still has 1 series"):
        await store2.delete_subject(HANDLE)


async def test_the_mapping_for_influxql_is_made_once(influx2, store2) -> None:
    influx2.old_lists = True
    for _ in range(3):
        await store2.query(Selection(measurement="environment"))
    assert [(m["database"], m["retention_policy"], m["default"]) for m in influx2.mappings] == [
        ("campus", "autogen", True)
    ]
    again = open_store(influx2.url)
    await again.query(Selection(measurement="environment"))
    await again.close()
    assert len(influx2.mappings) == 1


async def test_retention_is_set_through_the_library(influx2, store2) -> None:
    await store2.set_retention(86_400)
    assert influx2.retention_s == 86_400
    await store2.set_retention(None)
    assert influx2.retention_s == 0
    with pytest.raises(ConfigError, match="1 h"):
        await store2.set_retention(60)


async def test_a_wrong_token_is_told_and_never_shown(influx2, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    store = open_store(influx2.url.replace(TOKEN, "wrong-secret"))
    for work in (store.write([air(1)]), store.set_retention(None), store.delete_subject(HANDLE)):
        with pytest.raises(AuthError) as caught:
            await work
        assert "wrong-secret" not in str(caught.value)
    await store.close()
    assert "wrong-secret" not in caplog.text
    assert "wrong-secret" not in repr(store._address)


async def test_a_missing_bucket_is_named(influx2) -> None:
    influx2.rights = frozenset({"write", "read"})
    store = open_store(influx2.url.replace("/campus", "/elsewhere"))
    with pytest.raises(StoreBusy, match="elsewhere"):
        await store.write([air(1)])
    with pytest.raises(ConfigError, match="elsewhere"):
        await store.set_retention(None)
    with pytest.raises(StoreBusy, match="elsewhere"):
        await store.health()
    await store.close()
    influx2.violations.clear()  # asking for another bucket was the point


@pytest.mark.parametrize("scheme", ["influx1", "influx2"])
async def test_a_server_that_is_away_is_busy(scheme: str) -> None:
    path = "campus" if scheme == "influx1" else "school/campus"
    user = "" if scheme == "influx1" else "token@"
    store = open_store(f"{scheme}://{user}[::1]:{free_port()}/{path}")
    for work in (store.prepare(), store.health(), store.write([air(1)]), store.set_retention(None)):
        with pytest.raises(StoreBusy):
            await work
    await store.close()


# A real InfluxDB 1


async def test_pain_08_influx1_partial_writes_lose_nothing(influxd: Server) -> None:
    store = open_store(f"influx1://{influxd.authority}/campus")
    await store.prepare()
    await store.write([air(0, co2=1.0)])
    with pytest.raises(StoreRejected, match="dropped=1"):
        await store.write([air(1), air(2, co2=True), air(3)])
    assert list(await place(store, [air(1), air(2, co2=True), air(3)])) == [1]
    rows = await store.query(Selection(measurement="environment"))
    assert [row["time_ns"] - T0 for row in rows] == [0, 1, 3]
    await store.close()


async def test_pain_08_the_servers_own_report_finds_bad_rows_in_a_few_writes(influxd: Server) -> None:
    """Two devices with a type of their own among hundreds, one of them in two shards: each row is judged alone."""
    week = 7 * 86_400 * 10**9
    store = open_store(f"influx1://{influxd.authority}/campus")
    await store.prepare()
    await store.write([air(0, co2=1.0, noise=1.0), air(week, co2=1.0, noise=1.0)])
    rows = [air(n, co2=float(n)) for n in range(1, 400)]
    bad = set()
    for index in (*range(100, 180), 300):
        rows[index] = air(index + 1 + (week if index % 2 else 0), co2=True)
        bad.add(index)
    rows[7] = air(8, noise="loud", co2=7.0)
    counters = Counters()

    async def on_wait(seconds: float) -> None:
        pytest.fail(f"waits {seconds} s")

    placer = Placer(store, counters, classes=[DataClass.OPEN], on_wait=on_wait)
    refused = await placer.place(rows)
    assert set(refused) == bad | {7}
    assert 'input field "noise"' in refused[7]
    assert counters.get("writer.bisections") <= 20, "halving alone needs over a hundred"
    found = await store.query(Selection(measurement="environment"))
    assert len(found) == 2 + len(rows) - len(refused)
    assert all(type(row.get("co2", 1.0)) is float for row in found)
    await store.close()


async def test_influx1_body_over_the_servers_limit_is_halved(influxd: Server) -> None:
    store = open_store(f"influx1://{influxd.authority}/campus")
    rows = [air(n, state="x" * 1000) for n in range(30_000)]  # over 25 MB of line protocol
    assert await place(store, rows) == {}
    result = await store._http.influxql('SELECT count("state") FROM "environment"', {"db": "campus"})
    assert result["series"][0]["values"][0][1] == 30_000
    await store.close()


async def test_influx1_that_lost_its_database_gets_it_again(influxd: Server) -> None:
    store = open_store(f"influx1://{influxd.authority}/campus")
    await store.prepare()
    await store._http.influxql('DROP DATABASE "campus"', {}, method="POST")
    waits: list[float] = []
    assert await place(store, [air(1)], waits) == {}
    await store._http.influxql('DROP DATABASE "campus"', {}, method="POST")
    with pytest.raises(StoreBusy, match="lost its database"):
        await store.write([air(1)])
    await store.write([air(1)])
    assert len(await store.query(Selection(measurement="environment"))) == 1
    await store.close()


def ask(server: Server, statement: str, **more: str) -> bytes:
    url = f"http://{server.authority}/query?" + urllib.parse.urlencode({"q": statement, **more})
    with urllib.request.urlopen(urllib.request.Request(url, method="POST"), timeout=10) as response:
        return response.read()


async def test_influx1_with_users(make_influxd: MakeServer) -> None:
    server = make_influxd(auth=True)
    ask(server, "CREATE USER admin WITH PASSWORD 'p@ss/w:rd' WITH ALL PRIVILEGES")
    as_admin = {"u": "admin", "p": "p@ss/w:rd"}
    ask(server, "CREATE USER writer WITH PASSWORD 'w'", **as_admin)
    ask(server, 'CREATE DATABASE "campus"', **as_admin)
    ask(server, 'GRANT ALL ON "campus" TO writer', **as_admin)

    for user in ("admin:p%40ss%2Fw%3Ard", "writer:w"):
        store = open_store(f"influx1://{user}@{server.authority}/campus")
        await store.prepare()
        await store.write([air(1)])
        await store.close()
    for user in ("", "writer:wrong@"):
        store = open_store(f"influx1://{user}{server.authority}/campus")
        with pytest.raises(AuthError):
            await store.write([air(1)])
        assert "wrong" not in store.name
        await store.close()


async def test_influx1_keeps_what_it_acknowledged_through_kill(influxd: Server) -> None:
    store = open_store(f"influx1://{influxd.authority}/campus")
    await store.prepare()
    await store.write([air(n) for n in range(1000)])
    influxd.kill()
    with pytest.raises(StoreBusy):
        await store.write([air(1)])
    influxd.start()
    assert len(await store.query(Selection(measurement="environment"))) == 1000
    await store.close()


async def test_influx1_retention_has_a_floor(influxd: Server) -> None:
    store = open_store(f"influx1://{influxd.authority}/campus")
    await store.prepare()
    with pytest.raises(ConfigError, match="1 h"):
        await store.set_retention(60)
    await store.set_retention(7200)
    await store.prepare()
    with pytest.raises(StoreRejected, match="dropped"):
        await store.write([air(1)])  # beyond the retention: refused, not silently dropped
    await store.close()


def test_quoting_for_influxql() -> None:
    assert identifier('a"b\\c\nd') == r'"a\"b\\c\nd"'
    assert literal("it's \\ \n") == r"'it\'s \\ \n'"
