"""Tokens with few rights, buckets that are missing, mappings that others made: what an InfluxDB 2 may look like."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from cloud_ingest.placing import Placer
from cloud_ingest.series import Row, make_series
from cloud_ingest.stores.base import Selection, Store
from cloud_ingest.stores.influx2_admin import mapped_by_name
from cloud_ingest.stores.influxql import to_records
from cloud_ingest.stores.opening import open_store
from telemetry.counters import Counters
from telemetry.errors import AuthError, StoreBusy, StoreRejected
from telemetry.sample import DataClass
from tests.cloud_ingest.gateway import HANDLE
from tests.cloud_ingest.influx2_imitation import BUCKET, ORG, Influx2, fail

if TYPE_CHECKING:
    from tests.servers import Server

T0 = 1_760_000_040 * 10**9
AIR = Selection(measurement="environment")


def air(n: int, **fields) -> Row:
    series = make_series("environment", {"site": "s", "room": "r1", "device": "d1"})
    return Row(series=series, time_ns=T0 + n, fields=fields or {"co2": 600.0})


async def place(store: Store, rows: list[Row], waits: list[float] | None = None) -> dict[int, str]:
    async def on_wait(seconds: float) -> None:
        if waits is None:
            pytest.fail(f"store is busy for {seconds} s")
        waits.append(seconds)

    return await Placer(store, Counters(), classes=[DataClass.OPEN], on_wait=on_wait).place(rows)


@pytest.mark.parametrize("old_lists", [False, True])
async def test_a_token_for_the_bucket_alone_is_enough(influx2: Influx2, old_lists: bool) -> None:
    influx2.rights = frozenset({"write", "read"})
    influx2.old_lists = old_lists
    store = open_store(influx2.url)
    assert await place(store, [air(1)]) == {}
    assert len(await store.query(AIR)) == 1
    assert "v2" in await store.health()
    assert len(influx2.mappings) == (1 if old_lists else 0), "a mapping by name is as good as one of ours"
    await store.close()


async def test_a_token_that_may_only_write_writes(influx2: Influx2) -> None:
    influx2.rights = frozenset({"write"})
    store = open_store(influx2.url)
    assert await place(store, [air(1)]) == {}
    assert "v2" in await store.health()
    with pytest.raises(StoreBusy, match="must be allowed to read the bucket"):
        await store.query(AIR)
    await store.close()


async def test_a_token_that_may_not_write_is_told_by_check(influx2: Influx2) -> None:
    influx2.rights = frozenset({"read"})
    store = open_store(influx2.url)
    with pytest.raises(AuthError, match="allowed to write"):
        await store.health()
    assert await store.query(AIR) == []
    await store.close()


@pytest.mark.parametrize("old_lists", [False, True])
async def test_a_missing_bucket_is_created_where_the_token_may(influx2: Influx2, old_lists: bool) -> None:
    influx2.exists = False
    influx2.old_lists = old_lists
    store = open_store(influx2.url)
    assert await place(store, [air(1)]) == {}
    influx2.exists = False  # deleted by somebody while we run
    with pytest.raises(StoreBusy, match="had no bucket"):
        await store.write([air(2)])
    await store.write([air(2)])
    assert len(influx2.points) == 2
    await store.close()


async def test_a_missing_bucket_that_we_may_not_create_is_waited_for_with_a_mend(influx2: Influx2) -> None:
    influx2.exists = False
    influx2.rights = frozenset({"write", "read"})
    store = open_store(influx2.url)
    await store.prepare()
    for work in (store.write([air(1)]), store.health()):
        with pytest.raises(StoreBusy, match=f"influx bucket create -o {ORG} -n {BUCKET}"):
            await work
    await store.close()


async def test_the_organisation_may_be_given_by_id(influx2: Influx2) -> None:
    influx2.exists = False
    influx2.org_by_id = True
    store = open_store(influx2.url.replace(f"/{ORG}/", f"/{'0' * 16}/"))
    assert await place(store, [air(1)]) == {}
    assert len(await store.query(AIR)) == 1
    await store.set_retention(7200)
    await store.close()


async def test_a_mapping_under_another_name_is_used(influx2: Influx2) -> None:
    ours = {"orgID": "0" * 16, "bucketID": "b" * 16, "database": "school", "retention_policy": "year"}
    influx2.mappings.append({**ours, "id": "d" * 16, "default": True, "virtual": False})
    influx2.shadowed = True
    store = open_store(influx2.url)
    await store.write([air(1)])
    assert len(await store.query(AIR)) == 1
    assert len(influx2.mappings) == 1
    await store.close()


def test_a_bucket_named_like_database_and_policy_is_mapped_so() -> None:
    assert mapped_by_name("telegraf/weekly") == ("telegraf", "weekly")
    assert mapped_by_name("campus") == ("campus", "autogen")


async def test_a_store_that_cannot_be_prepared_costs_no_row(influx2: Influx2, monkeypatch: pytest.MonkeyPatch) -> None:
    """As when HTTP is spoken to an HTTPS port: the answer is 400, yet no row was looked at."""
    monkeypatch.setattr("cloud_ingest.placing.FIRST_WAIT_S", 0.01)
    monkeypatch.setattr("cloud_ingest.placing.LONGEST_WAIT_S", 0.02)
    store = open_store(influx2.url)
    real, refusals = store.prepare, iter([StoreRejected("HTTP 400: HTTP request to an HTTPS server")] * 2)

    async def prepare() -> None:
        for refusal in refusals:
            raise refusal
        await real()

    store.prepare = prepare
    waits: list[float] = []
    assert await place(store, [air(n) for n in range(4)], waits) == {}
    assert len(waits) == 2
    assert len(influx2.points) == 4
    await store.close()


async def test_a_refusal_that_quotes_a_row_quotes_no_pseudonym(influx2: Influx2) -> None:
    store = open_store(influx2.url)
    for status in (422, 500):
        message = f"partial write: dropped 1 points - oldest point attendance,device=d,subject={HANDLE} at 2025"
        influx2.answers.append(fail(status, "x", message))
        with pytest.raises((StoreRejected, StoreBusy)) as caught:
            await store.write([air(1)])
        assert HANDLE not in str(caught.value)
        assert "oldest point" in str(caught.value)
    await store.close()


async def test_halving_is_progress(influx2: Influx2) -> None:
    """A thousand bad rows at a distant server outlast the watchdog, if nothing tells it that they are worked at."""
    store = open_store(influx2.url)
    await place(store, [air(0, co2=1.0)])
    told: list[int] = []

    async def never(seconds: float) -> None:
        pytest.fail(f"store is busy for {seconds} s")

    counters = Counters()
    placer = Placer(store, counters, classes=[], on_wait=never, on_progress=lambda: told.append(influx2.writes))
    assert len(await placer.place([air(n, co2=True) for n in range(1, 9)])) == 8
    assert len(set(told)) == len(told) == 15
    await store.close()


def test_a_field_named_mean_keeps_its_name() -> None:
    result = {"series": [{"name": "m", "columns": ["time", "mean_flow"], "values": [[1, 2]]}]}
    assert to_records(result) == [{"time_ns": 1, "mean_flow": 2.0}]
    assert to_records(result, means=True) == [{"time_ns": 1, "flow": 2.0}]


# A real InfluxDB 1


async def test_influx1_database_without_our_policy_gets_it(influxd: Server) -> None:
    store = open_store(f"influx1://{influxd.authority}/campus")
    create = 'CREATE DATABASE "campus" WITH DURATION 30d NAME "month"'
    await store._http.influxql(create, {}, method="POST")
    assert await place(store, [air(1)]) == {}
    await store._http.influxql('DROP RETENTION POLICY "autogen" ON "campus"', {}, method="POST")
    with pytest.raises(StoreBusy, match="lost its database"):
        await store.write([air(1)])
    await store.write([air(1)])
    assert len(await store.query(AIR)) == 1
    await store.close()


async def test_means_of_what_has_no_numbers_are_none(influxd: Server) -> None:
    store = open_store(f"influx1://{influxd.authority}/campus")
    assert await place(store, [air(1, presence=True, quality="suspect")]) == {}
    assert await store.query(Selection(measurement="environment", every_ns=60 * 10**9)) == []
    await store.close()


async def test_a_cut_answer_is_not_taken_for_a_whole_one(influx2: Influx2) -> None:
    store = open_store(influx2.url)
    await store.write([air(1)])
    influx2.cut = True
    with pytest.raises(StoreRejected, match="max-row-limit"):
        await store.query(AIR)
    await store.close()
