"""Buffer and publisher together against a broker that is killed again and again: all arrives, nothing is altered."""

from __future__ import annotations

import asyncio
import contextlib
import math
import random
import time
from typing import TYPE_CHECKING, Any

import aiomqtt
import pytest

from edge_agent.publisher import Broker, Publisher
from telemetry.ack import Ack, encode_ack
from telemetry.batch import decode_batch, unpack
from telemetry.topics import Channel, all_telemetry, gateway_topic
from tests.edge_agent.buffer.helpers import event, opened, sample, until
from tests.edge_agent.publisher.helpers import Proxy
from tests.servers import make_mosquitto, mosquitto

if TYPE_CHECKING:
    from pathlib import Path

    from telemetry.counters import Counters
    from tests.servers import Server

__all__ = ["make_mosquitto", "mosquitto"]

pytestmark = pytest.mark.server("mosquitto")
STORED = gateway_topic("school", "gw-1", Channel.STORED)


class Ingest:
    """Stores what it hears by identity and acknowledges it; reconnects; greets when it comes."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self.epoch = ""
        self.batches: dict[tuple[str, int], bytes] = {}
        self.altered = 0

    async def run(self) -> None:
        while True:
            with contextlib.suppress(aiomqtt.MqttError, TimeoutError):
                async with aiomqtt.Client(self._server.host, self._server.port) as client:
                    async with asyncio.timeout(2):
                        await client.subscribe(all_telemetry(), qos=1, timeout=math.inf)
                    await self._say(client, Ack(epoch=self.epoch, time_ns=time.time_ns()))
                    try:
                        async for message in client.messages:
                            assert isinstance(message.payload, bytes)
                            await self._store(client, message.payload)
                    finally:
                        # aiomqtt forgets to look, and asyncio then complains.
                        if client._disconnected.done():
                            client._disconnected.exception()
            await asyncio.sleep(0.05)

    async def _store(self, client: aiomqtt.Client, payload: bytes) -> None:
        batch = decode_batch(unpack(payload))
        self.altered += self.batches.setdefault((batch.epoch, batch.number), payload) != payload
        ack = Ack(epoch=batch.epoch, time_ns=time.time_ns(), stored=[(batch.number, batch.number)])
        await self._say(client, ack)

    async def _say(self, client: aiomqtt.Client, ack: Ack) -> None:
        async with asyncio.timeout(2):
            await client.publish(STORED, encode_ack(ack), qos=1, timeout=math.inf)

    def values(self) -> list[float]:
        return sorted(
            value
            for payload in self.batches.values()
            for block in decode_batch(unpack(payload)).devices
            for one in block.samples
            for value in one.values.values()
            if isinstance(value, float) and not isinstance(value, bool)
        )

    def handles(self) -> set[str | None]:
        return {
            one.subject
            for payload in self.batches.values()
            for block in decode_batch(unpack(payload)).devices
            for one in block.samples
            if one.subject is not None
        }


def publisher_of(buffer: object, broker: Broker, counters: Counters, **options: Any) -> Publisher:
    return Publisher(
        buffer,  # type: ignore[arg-type]
        broker=broker,
        site="school",
        gateway="gw-1",
        boot_id="boot",
        simulated=False,
        window_s=0.4,
        counters=counters,
        **options,
    )


async def test_all_arrives_through_kills_of_the_broker_and_restarts_of_the_agent(
    tmp_path: Path, mosquitto: Server
) -> None:
    ingest = Ingest(mosquitto)
    made, handles = [], set()
    async with asyncio.TaskGroup() as outer:
        hearing = outer.create_task(ingest.run(), name="ingest")
        for life in range(3):
            async with opened(tmp_path / "buffer") as (buffer, counters), asyncio.TaskGroup() as group:
                ingest.epoch = buffer.epoch
                publisher = publisher_of(buffer, Broker(host=mosquitto.host, port=mosquitto.port), counters)
                group.create_task(publisher.run(), name="publisher")
                for step in range(150):
                    made.append(float(life * 1000 + step))
                    await buffer.append(sample(value=made[-1]))
                    if step % 20 == 0:
                        handle = f"{life * 1000 + step:032x}"
                        handles.add(handle)
                        await buffer.append(event(handle=handle))
                    if step == 40:
                        mosquitto.kill()
                    if step == 100:
                        mosquitto.start()
                    await asyncio.sleep(0.01)
                if life == 2:
                    buffer.close_open_batches()
                    await until(lambda: buffer.status().batches == 0, 20)
                await publisher.stop()
        hearing.cancel()
    assert ingest.values() == made
    assert ingest.handles() == handles
    assert ingest.altered == 0


async def test_pain_01_a_hundred_reconnects_lose_nothing(tmp_path: Path, mosquitto: Server) -> None:
    """The cable is pulled a hundred times, at any moment: in the midst of a message, an acknowledgement, a login."""
    ingest = Ingest(mosquitto)
    made: list[float] = []
    async with asyncio.TaskGroup() as outer, Proxy(mosquitto.host, mosquitto.port) as proxy:
        hearing = outer.create_task(ingest.run(), name="ingest")
        async with opened(tmp_path / "buffer") as (buffer, counters), asyncio.TaskGroup() as group:
            ingest.epoch = buffer.epoch
            chance = random.Random(1)  # noqa: S311 - the same cuts each time
            publisher = publisher_of(buffer, proxy.broker, counters, random=lambda: 0.02)
            group.create_task(publisher.run(), name="publisher")
            for cut in range(1, 101):
                await until(lambda cut=cut: counters.get("publisher.connections") >= cut)  # type: ignore[misc]
                for _ in range(4):
                    made.append(float(len(made)))
                    await buffer.append(sample(value=made[-1]))
                    await asyncio.sleep(0.02 * chance.random())
                await proxy.cut()
            await until(lambda: buffer.status().values == 0, 20)
            assert counters.get("publisher.connections") >= 101
            await publisher.stop()
        hearing.cancel()
    assert ingest.values() == made
    assert ingest.altered == 0
