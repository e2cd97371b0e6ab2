"""Several ingests behind one broker and before one store: nothing lost, nothing double, one folder each."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from typing import TYPE_CHECKING

import pytest

from cloud_ingest.lock import hold
from telemetry.errors import ConfigError
from telemetry.ranges import covers
from telemetry.topics import Channel, gateway_topic
from tests.cloud_ingest.conftest import IngestProcess, MakeIngest, connected_gateway
from tests.cloud_ingest.gateway import EPOCH, GATEWAY, NOW, SITE, Gateway, batch, block, sample
from tests.cloud_ingest.test_service import counters_of, letters_of, numbers_of, rows_of
from tests.waiting import until

if TYPE_CHECKING:
    from pathlib import Path

    from telemetry.batch import Batch
    from tests.servers import Server

GROUP = {"CAMPUS_INGEST_MQTT__SHARE_GROUP": "workers"}


async def make_workers(make_ingest: MakeIngest, broker: Server, url: str, count: int) -> list[IngestProcess]:
    return list(
        await asyncio.gather(
            *(make_ingest(broker, url, **GROUP, CAMPUS_INGEST_MQTT__CLIENT_ID=f"worker-{n}") for n in range(count))
        )
    )


async def send_until_settled(gateway: Gateway, batches: list[Batch], every_s: float = 0.5) -> int:
    """Send as a gateway does: what is not acknowledged in time goes again. Return how many were sent more than once."""
    waiting = {one.number: one for one in batches}
    again = 0
    async with asyncio.timeout(40):
        await gateway.send(*waiting.values())
        while waiting:
            await asyncio.sleep(every_s)
            acks, gateway.acks = gateway.acks, []
            spans = [span for ack in acks for span in ack.stored]
            waiting = {number: one for number, one in waiting.items() if not covers(spans, number)}
            again += len(waiting)
            await gateway.send(*waiting.values())
    return again


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite://{tmp_path}/store.sqlite"


async def test_workers_share_what_comes(mosquitto: Server, make_ingest: MakeIngest, url: str) -> None:
    workers = await make_workers(make_ingest, mosquitto, url, 3)
    async with connected_gateway(mosquitto) as gateway:
        await gateway.send(*(batch(number) for number in range(1, 31)))
        for number in range(1, 31):
            await gateway.stored(number)
        told = [number for ack in gateway.acks for first, last in ack.stored for number in range(first, last + 1)]
        assert sorted(told) == list(range(1, 31))  # each once
    assert [await worker.stop() for worker in workers] == [0, 0, 0]
    assert await numbers_of(url) == list(range(1, 31))
    shares = [counters_of(worker)["intake.messages"] for worker in workers]
    assert sum(shares) == 30
    assert min(shares) >= 8


async def test_a_killed_worker_loses_nothing(mosquitto: Server, make_ingest: MakeIngest, url: str) -> None:
    """Mosquitto hands what it had given to the dead one to nobody: the gateway's time-out does."""
    workers = await make_workers(make_ingest, mosquitto, url, 2)
    batches = [batch(number) for number in range(1, 201)]
    async with connected_gateway(mosquitto) as gateway:
        sending = asyncio.create_task(send_until_settled(gateway, batches))
        await gateway.until(lambda ack: bool(ack.stored))
        workers[0].kill()
        await asyncio.sleep(0.3)
        await workers[0].start()
        workers[1].kill()
        await sending
    assert await workers[0].stop() == 0
    assert await numbers_of(url) == list(range(1, 201))
    assert len(await rows_of(url)) == 200


async def test_what_a_frozen_worker_holds_is_sent_again(mosquitto: Server, make_ingest: MakeIngest, url: str) -> None:
    """Its keep-alive has not run out: the broker goes on giving it every other batch."""
    workers = await make_workers(make_ingest, mosquitto, url, 2)
    frozen = workers[0].process
    assert frozen is not None
    async with connected_gateway(mosquitto) as gateway:
        frozen.send_signal(signal.SIGSTOP)
        try:
            assert await send_until_settled(gateway, [batch(number) for number in range(1, 21)], 0.3) > 0
        finally:
            frozen.send_signal(signal.SIGCONT)
        # What it still holds is stored again, as equal rows.
        await send_until_settled(gateway, [batch(number) for number in range(21, 31)])
    assert [await worker.stop() for worker in workers] == [0, 0]
    assert await numbers_of(url) == list(range(1, 31))
    assert sum(counters_of(worker).get("intake.conflicts", 0) for worker in workers) == 0


async def test_what_workers_know_of_each_other(mosquitto: Server, make_ingest: MakeIngest, url: str) -> None:
    """Each remembers what itself has seen: a resend to the other is equal rows; a conflict is noticed by its own."""
    workers = await make_workers(make_ingest, mosquitto, url, 2)
    changed = batch(1, [block([sample(NOW + 1_000_000, {"co2": 9.0})])])
    async with connected_gateway(mosquitto) as gateway:
        for _ in range(4):  # in turn: each worker has two of them
            gateway.acks.clear()
            await gateway.send(batch(1))
            await gateway.stored(1)
        assert len(await rows_of(url)) == 1
        for _ in range(2):
            gateway.acks.clear()
            await gateway.send(changed)
            await gateway.refused(1)
        mixed = batch(2, [block([sample(NOW), sample(NOW + 1, {"co2": True})])])
        answers = []
        for _ in range(2):
            gateway.acks.clear()
            await gateway.send(mixed)
            answers.append((await gateway.refused(2)).refused)
        assert answers[0] == answers[1]
    assert [await worker.stop() for worker in workers] == [0, 0]
    assert [counters_of(worker)["intake.conflicts"] for worker in workers] == [1, 1]
    assert [counters_of(worker)["intake.known_batches"] for worker in workers] == [1, 1]
    assert [len(letters_of(worker)) for worker in workers] == [2, 2]
    assert [row["co2"] for row in await rows_of(url)] == [612.0, 612.0]


async def test_each_worker_greets_once(mosquitto: Server, make_ingest: MakeIngest, url: str) -> None:
    async with connected_gateway(mosquitto) as gateway:
        birth = f'{{"schema":"campus.status/1","state":"online","epoch":"{EPOCH}"}}'.encode()
        await gateway.client.publish(gateway_topic(SITE, GATEWAY, Channel.STATUS), birth, qos=1, retain=True)
        workers = await make_workers(make_ingest, mosquitto, url, 3)
        await until(lambda: len(gateway.acks) == 3, within_s=15)
        await gateway.send(batch(1))
        await gateway.stored(1)
        assert [await worker.stop() for worker in workers] == [0, 0, 0]
        assert len(gateway.acks) == 4  # a greeting for each, and one answer
    assert sum(counters_of(worker).get("intake.messages", 0) for worker in workers) == 1


async def test_two_ingests_on_one_data_folder_are_refused(
    mosquitto: Server, make_ingest: MakeIngest, url: str, tmp_path: Path
) -> None:
    first = await make_ingest(mosquitto, url)
    assert first.process is not None
    second = await asyncio.create_subprocess_exec(
        *first.process.args, cwd=tmp_path, stderr=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.DEVNULL
    )
    assert second.stderr is not None
    async with asyncio.timeout(20):
        told = (await second.stderr.read()).decode()
        assert await second.wait() == 78
    assert f"in use by another cloud-ingest (process {first.process.pid})" in told
    assert "mqtt.share_group" in told
    async with connected_gateway(mosquitto) as gateway:
        await gateway.send(batch(1))
        await gateway.stored(1)
    first.kill()
    await first.start()  # the kernel has let go of it
    assert await first.stop() == 0


async def test_one_that_is_about_to_stop_is_waited_for(tmp_path: Path) -> None:
    held = await hold(tmp_path)
    started = time.monotonic()
    with pytest.raises(ConfigError, match="in use"):
        await hold(tmp_path, patience_s=0.1)
    waiting = asyncio.create_task(hold(tmp_path))
    await asyncio.sleep(0.05)
    held.close()
    with contextlib.closing(await waiting):
        assert time.monotonic() - started < 5
