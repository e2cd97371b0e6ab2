"""The whole ingest as a process, between a real broker and a real store."""

from __future__ import annotations

import asyncio
import json
import time
import zlib
from typing import TYPE_CHECKING, Any

import aiomqtt
import pytest

from cloud_ingest.deadletter import DeadLetters
from cloud_ingest.stores.base import Selection
from cloud_ingest.stores.opening import open_store
from telemetry.batch import encode_batch
from telemetry.counters import Counters
from telemetry.sample import DataClass
from telemetry.topics import Channel, Flow, gateway_topic
from tests.cloud_ingest.conftest import IngestProcess, MakeIngest, connected_gateway
from tests.cloud_ingest.gateway import (
    EPOCH,
    GATEWAY,
    NOW,
    SITE,
    attendance,
    batch,
    block,
    payload_of,
    sample,
    topic_of,
)
from tests.cloud_ingest.influx2_imitation import Influx2, fail

if TYPE_CHECKING:
    from pathlib import Path

    from tests.servers import MakeServer, Server


async def rows_of(url: str, measurement: str = "environment") -> list[dict[str, Any]]:
    store = open_store(url)
    try:
        return await store.query(Selection(measurement=measurement))
    finally:
        await store.close()


async def numbers_of(url: str) -> list[int]:
    return [(row["time_ns"] - NOW) // 1_000_000 for row in await rows_of(url)]


def letters_of(ingest: IngestProcess) -> list[tuple[str, int]]:
    dead = DeadLetters(ingest.data / "deadletter.sqlite", max_bytes=1 << 40, counters=Counters())
    try:
        return [(filed.reason, filed.times) for filed in dead.entries()]
    finally:
        dead.close()


def counters_of(ingest: IngestProcess) -> dict[str, int]:
    return json.loads((ingest.data / "counters.json").read_text())["counters"]


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite://{tmp_path}/store.sqlite"


@pytest.mark.parametrize("protocol", ["auto", "5", "3.1.1"])
@pytest.mark.parametrize("host", ["::1", "127.0.0.1"])
async def test_batches_are_stored_and_acknowledged(
    make_mosquitto: MakeServer, make_ingest: MakeIngest, url: str, protocol: str, host: str
) -> None:
    broker = make_mosquitto(host=host)
    ingest = await make_ingest(broker, url, CAMPUS_INGEST_MQTT__PROTOCOL=protocol)
    async with connected_gateway(broker) as gateway:
        await gateway.send(*(batch(number) for number in range(1, 21)))
        await gateway.stored(20)
    started = time.monotonic()
    assert await ingest.stop() == 0
    assert time.monotonic() - started < 5
    rows = await rows_of(url)
    assert [row["time_ns"] for row in rows] == [NOW + n * 1_000_000 for n in range(1, 21)]
    assert rows[0]["temperature"] == 21.5
    counters = counters_of(ingest)
    assert counters["writer.stored_rows"] == 20
    assert counters["writer.stored_values"] == 60


async def test_through_influxdb_1(mosquitto: Server, influxd: Server, make_ingest: MakeIngest) -> None:
    url = f"influx1://{influxd.authority}/campus"
    ingest = await make_ingest(mosquitto, url)
    async with connected_gateway(mosquitto) as gateway:
        await gateway.send(batch(1, [block([sample(NOW, {"co2": 1.0})])]))
        await gateway.stored(1)
        influxd.kill()
        await gateway.send(batch(2, [block([sample(NOW + 2, {"co2": 2.0})])]))
        ack = await gateway.until(lambda ack: ack.retry_after_s > 0)
        assert not ack.stored
        influxd.start()
        await gateway.stored(2, within=30)
    assert await ingest.stop() == 0
    assert [row["co2"] for row in await rows_of(url)] == [1.0, 2.0]


async def test_a_resend_is_acknowledged_again_and_a_conflict_refused_also_after_kill(
    mosquitto: Server, make_ingest: MakeIngest, url: str
) -> None:
    ingest = await make_ingest(mosquitto, url)
    conflict = batch(1, [block([sample(NOW + 1_000_000, {"co2": 9.0})])])
    async with connected_gateway(mosquitto) as gateway:
        await gateway.send(batch(1))
        await gateway.stored(1)
        gateway.acks.clear()
        await gateway.send(batch(1), flow=Flow.BACKFILL)
        await gateway.stored(1)
        await gateway.send(conflict)
        assert "conflict" in (await gateway.refused(1)).refused[0].reason
        ingest.kill()
        await ingest.start()
        gateway.acks.clear()
        await gateway.send(conflict, batch(2))
        await gateway.refused(1)
        await gateway.stored(2)
        gateway.acks.clear()
        await gateway.send(batch(1))
        await gateway.stored(1)
    assert await ingest.stop() == 0
    assert [row["co2"] for row in await rows_of(url)] == [612.0, 612.0]
    assert letters_of(ingest) == [("conflict: this batch is known with other bytes", 2)]
    assert counters_of(ingest)["intake.conflicts"] == 1


async def test_a_conflict_never_frees_a_batch_that_is_not_safe_yet(
    mosquitto: Server, make_ingest: MakeIngest, influx2: Influx2
) -> None:
    await make_ingest(mosquitto, influx2.url, CAMPUS_INGEST_WRITER__FLUSH_S="0.05")
    influx2.answers += [fail(503, "unavailable", "x", **{"Retry-After": "1"}) for _ in range(2)]
    async with connected_gateway(mosquitto) as gateway:
        await gateway.send(batch(1), batch(1, [block([sample(NOW, {"co2": 9.0})])]))
        await gateway.refused(1, within=20)
        order = ["stored" if ack.stored else "refused" for ack in gateway.acks if ack.stored or ack.refused]
        both = [ack for ack in gateway.acks if ack.stored and ack.refused]
        assert order[0] == "stored" or both
        assert len(influx2.points) == 1


async def test_pain_08_one_bad_sample_is_refused_and_the_rest_stored(
    mosquitto: Server, make_ingest: MakeIngest, url: str
) -> None:
    ingest = await make_ingest(mosquitto, url)
    samples = [sample(NOW + 1_000_000), sample(NOW + 2_000_000, {"co2": True}), sample(NOW + 3_000_000)]
    async with connected_gateway(mosquitto) as gateway:
        await gateway.send(batch(1, [block(samples)]))
        ack = await gateway.refused(1)
        assert [(r.samples, r.reason) for r in ack.refused] == [([1], "point 'co2' must be float, not bool")]
        assert ack.stored == [(1, 1)]
        gateway.acks.clear()
        await gateway.send(batch(1, [block(samples)]))
        assert (await gateway.refused(1)).refused == ack.refused  # the same answer, from memory
    assert await ingest.stop() == 0
    assert await numbers_of(url) == [1, 3]
    assert letters_of(ingest) == [("point 'co2' must be float, not bool", 1)]


async def test_pain_08_a_row_the_store_refuses_is_found_by_halving(
    mosquitto: Server, make_ingest: MakeIngest, influx2: Influx2
) -> None:
    ingest = await make_ingest(mosquitto, influx2.url)
    influx2.types["co2"] = "str"  # somebody else made it a text before
    clean = {"temperature": 1.0}
    async with connected_gateway(mosquitto) as gateway:
        blocks = [block([sample(NOW + n, {"co2": 1.0} if n == 7 else clean) for n in range(20)])]
        await gateway.send(batch(1, blocks), batch(2, [block([sample(NOW + 100, clean)])]))
        ack = await gateway.refused(1)
        assert ack.refused[0].samples == [7]
        assert "422" in ack.refused[0].reason
        await gateway.stored(2)
    assert await ingest.stop() == 0
    assert len(influx2.points) == 20


def bomb() -> bytes:
    squeezer = zlib.compressobj(9, wbits=31)
    return b"".join(
        [
            squeezer.compress(encode_batch(batch(3))[:-2]),
            *(squeezer.compress(b" " * (1 << 20)) for _ in range(40)),
            squeezer.flush(),
        ]
    )


async def test_pain_07_poison_is_filed_refused_by_name_and_stops_nobody(
    mosquitto: Server, make_ingest: MakeIngest, url: str
) -> None:
    ingest = await make_ingest(mosquitto, url)
    topic = topic_of(batch())
    async with connected_gateway(mosquitto) as gateway:
        for _ in range(3):
            await gateway.send_raw(topic, b"\xff\xfe not json")
        await gateway.send_raw(topic, encode_batch(batch(2))[:-9])
        await gateway.send_raw(topic, bomb())
        await gateway.send_raw(topic, encode_batch(batch(4)) + b" " * (5 << 20))
        await gateway.send_raw(topic, encode_batch(batch(5)).replace(b"gw-101", b"gw-666"))
        await gateway.send_raw("campus/v1/demo-school/gw-101/telemetry/nonsense", b"{}")
        await gateway.send(batch(1))
        for number in (2, 3, 4, 5):
            await gateway.refused(number)
        await gateway.stored(1)
    assert await ingest.stop() == 0
    assert await numbers_of(url) == [1]
    letters = letters_of(ingest)
    assert len(letters) == 6
    assert [times for _, times in letters] == [3, 1, 1, 1, 1, 1]
    assert counters_of(ingest)["intake.poison_messages"] == 8


async def test_killed_before_it_acknowledged_it_loses_nothing(
    mosquitto: Server, make_ingest: MakeIngest, influx2: Influx2
) -> None:
    """The store is busy, so that nothing is acknowledged; then kill -9; the gateway's time-out sends again."""
    influx2.answers += [fail(503, "unavailable", "x", **{"Retry-After": "60"})]
    ingest = await make_ingest(mosquitto, influx2.url)
    batches = [batch(number) for number in range(1, 7)]
    async with connected_gateway(mosquitto) as gateway:
        await gateway.send(*batches)
        await gateway.until(lambda ack: ack.retry_after_s > 0)
        ingest.kill()
        assert not any(ack.stored for ack in gateway.acks)
        await ingest.start()
        await gateway.send(*batches)
        for number in range(1, 7):
            await gateway.stored(number)
    assert await ingest.stop() == 0
    assert len(influx2.points) == 6


async def test_a_killed_broker_is_come_back_to(mosquitto: Server, make_ingest: MakeIngest, url: str) -> None:
    ingest = await make_ingest(mosquitto, url)
    for number in range(1, 4):
        mosquitto.kill()
        mosquitto.start()
        async with connected_gateway(mosquitto) as gateway, asyncio.timeout(20):
            while not gateway.acks:
                # A broker without persistence forgets what nobody was subscribed to: the gateway repeats itself.
                await gateway.send(batch(number))
                await asyncio.sleep(0.2)
    assert await ingest.stop() == 0
    assert await numbers_of(url) == [1, 2, 3]


async def test_gateways_that_are_online_are_greeted(mosquitto: Server, make_ingest: MakeIngest, url: str) -> None:
    async with connected_gateway(mosquitto) as gateway:
        births = {
            GATEWAY: f'{{"schema":"campus.status/1","state":"online","epoch":"{EPOCH}"}}'.encode(),
            "gw-off": b'{"schema":"campus.status/1","state":"offline"}',
            "gw-bad": b"\xff",
        }
        for name, birth in births.items():
            await gateway.client.publish(gateway_topic(SITE, name, Channel.STATUS), birth, qos=1, retain=True)
        ingest = await make_ingest(mosquitto, url)
        ack = await gateway.until(lambda _: True)
        assert (ack.epoch, ack.stored, ack.refused) == (EPOCH, [], [])
        assert abs(ack.time_ns - time.time_ns()) < 60 * 10**9
    assert await ingest.stop() == 0
    counters = counters_of(ingest)
    assert counters["mqtt.greetings"] == 1
    assert counters["mqtt.bad_status"] == 1


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
async def test_pain_09_with_a_dead_store_memory_is_bounded_and_nothing_is_lost(
    mosquitto: Server, make_ingest: MakeIngest, influx2: Influx2, protocol: str
) -> None:
    influx2.answers += [fail(503, "unavailable", "x", **{"Retry-After": "1"})]
    limits = {"CAMPUS_INGEST_WRITER__MAX_BATCHES": "4", "CAMPUS_INGEST_WRITER__FLUSH_S": "0.05"}
    ingest = await make_ingest(mosquitto, influx2.url, CAMPUS_INGEST_MQTT__PROTOCOL=protocol, **limits)
    async with connected_gateway(mosquitto) as gateway:
        waiting = list(range(1, 31))
        await gateway.send(*map(batch, waiting))
        async with asyncio.timeout(40):
            while waiting:
                acks, gateway.acks = gateway.acks, []
                done = {n for ack in acks for first, last in ack.stored for n in range(first, last + 1)}
                waiting = [n for n in waiting if n not in done]
                await asyncio.sleep(0.3)
                await gateway.send(*map(batch, waiting[:4]))
    assert await ingest.stop() == 0
    assert len(influx2.points) == 30
    assert counters_of(ingest)["intake.shed_batches"] > 0


async def test_one_dead_store_does_not_stop_the_other(
    mosquitto: Server, make_ingest: MakeIngest, influx2: Influx2, url: str
) -> None:
    influx2.answers += [fail(503, "unavailable", "x", **{"Retry-After": "2"})]
    routes = json.dumps({"personal": influx2.url})
    ingest = await make_ingest(mosquitto, url, CAMPUS_INGEST_STORE__ROUTES=routes)
    async with connected_gateway(mosquitto) as gateway:
        await gateway.send(attendance(1))
        await gateway.until(lambda ack: ack.retry_after_s > 0)
        await gateway.send(batch(2))
        await gateway.stored(2, within=1.5)
        await gateway.stored(1)
    assert await ingest.stop() == 0
    assert len(influx2.points) == 1
    assert len(await rows_of(url)) == 1
    assert await rows_of(url, "attendance") == []


async def test_person_data_without_a_fitting_store_are_refused(
    mosquitto: Server, make_ingest: MakeIngest, influx2: Influx2
) -> None:
    influx2.version = "3.0.1"
    ingest = await make_ingest(mosquitto, influx2.url)
    async with connected_gateway(mosquitto) as gateway:
        await gateway.send(attendance(1), batch(2))
        assert "store.routes.personal" in (await gateway.refused(1)).refused[0].reason
        await gateway.stored(2)
    assert await ingest.stop() == 0
    assert counters_of(ingest)["intake.unrouted.personal"] == 1
    assert len(influx2.points) == 1


async def test_stop_writes_what_is_in_hand(mosquitto: Server, make_ingest: MakeIngest, url: str) -> None:
    ingest = await make_ingest(mosquitto, url, CAMPUS_INGEST_WRITER__FLUSH_S="10")
    birth = f'{{"schema":"campus.status/1","state":"online","epoch":"{EPOCH}"}}'
    async with connected_gateway(mosquitto) as gateway:
        await gateway.send(*(batch(number) for number in range(1, 6)))
        # What was sent before is in hand when this is answered.
        await gateway.client.publish(gateway_topic(SITE, GATEWAY, Channel.STATUS), birth, qos=1)
        await gateway.until(lambda ack: ack.epoch == EPOCH)
        assert not any(ack.stored for ack in gateway.acks)
        started = time.monotonic()
        assert await ingest.stop() == 0
        assert time.monotonic() - started < 5
        await gateway.stored(5)
    assert await numbers_of(url) == [1, 2, 3, 4, 5]


async def test_stop_with_a_dead_store_takes_less_than_five_seconds(
    mosquitto: Server, make_ingest: MakeIngest, influx2: Influx2
) -> None:
    influx2.answers += [fail(503, "unavailable", "x", **{"Retry-After": "60"})]
    ingest = await make_ingest(mosquitto, influx2.url)
    async with connected_gateway(mosquitto) as gateway:
        await gateway.send(batch(1))
        await gateway.until(lambda ack: ack.retry_after_s > 0)
        started = time.monotonic()
        assert await ingest.stop() == 0
        assert time.monotonic() - started < 5
        assert not any(ack.stored for ack in gateway.acks)


async def test_other_classes_keep_their_names(mosquitto: Server, make_ingest: MakeIngest, url: str) -> None:
    ingest = await make_ingest(mosquitto, url)
    own = block([sample(NOW, {"battery": 1.0})], measurement="gateway", quantities={"battery": "battery"})
    async with connected_gateway(mosquitto) as gateway:
        await gateway.send(attendance(1), batch(2, [own], data_class=DataClass.OPS))
        await gateway.stored(2)
        await gateway.stored(1)
    assert await ingest.stop() == 0
    (row,) = await rows_of(url, "gateway")
    assert row == {"time_ns": NOW, "site": SITE, "gateway": GATEWAY, "device": "r101-air", "battery": 1.0}
    (row,) = await rows_of(url, "attendance")
    assert row["presence"] is True
    log = ingest.log.read_text()
    assert row["subject"] not in log


async def test_an_mqtt_client_without_persistence_of_qos_0_is_served_too(
    mosquitto: Server, make_ingest: MakeIngest, url: str
) -> None:
    ingest = await make_ingest(mosquitto, url)
    async with connected_gateway(mosquitto) as gateway:
        async with aiomqtt.Client(mosquitto.host, mosquitto.port, identifier="qos0") as client:
            for number in range(1, 51):
                await client.publish(topic_of(batch()), payload_of(batch(number)), qos=0)
        for number in range(1, 51):
            await gateway.stored(number)
    assert await ingest.stop() == 0
    assert await numbers_of(url) == list(range(1, 51))
