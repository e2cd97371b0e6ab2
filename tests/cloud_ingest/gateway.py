"""A small gateway for tests: makes batches, publishes them, collects what the ingest answers."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

from telemetry.ack import Ack, decode_ack
from telemetry.batch import SCHEMA, Batch, BatchSample, DeviceBlock, encode_batch, pack
from telemetry.ranges import covers
from telemetry.sample import DataClass, Value
from telemetry.topics import Channel, Flow, gateway_topic, telemetry_topic

if TYPE_CHECKING:
    import aiomqtt

SITE = "demo-school"
GATEWAY = "gw-101"
EPOCH = "0123456789abcdef"
NOW = time.time_ns()
AIR = {"temperature": "temperature", "humidity": "humidity", "co2": "co2"}
HANDLE = "0f" * 16


def sample(at_ns: int = NOW, values: dict[str, Value] | None = None, **more: Any) -> BatchSample:
    if values is None and "bad" not in more:
        values = {"temperature": 21.5, "humidity": 40.25, "co2": 612.0}
    return BatchSample(acquired_at_ns=at_ns, values=values or {}, **more)


def block(samples: list[BatchSample], **changes: Any) -> DeviceBlock:
    given: dict[str, Any] = {
        "device": "r101-air",
        "room": "r101",
        "profile": "modbus/multisensor_6in1@1.0.0",
        "measurement": "environment",
        "quantities": AIR,
    }
    return DeviceBlock(**{**given, **changes}, samples=samples)


def batch(number: int = 1, blocks: list[DeviceBlock] | None = None, **changes: Any) -> Batch:
    given: dict[str, Any] = {
        "schema": SCHEMA,
        "site": SITE,
        "gateway": GATEWAY,
        "epoch": EPOCH,
        "data_class": DataClass.OPEN,
    }
    blocks = [block([sample(NOW + number * 1_000_000)])] if blocks is None else blocks
    return Batch(**{**given, **changes}, number=number, devices=blocks)


def attendance(number: int = 1, handle: str = HANDLE, at_ns: int = NOW) -> Batch:
    presence = block(
        [sample(at_ns, {"presence": True}, subject=handle)],
        device="r101-door",
        profile="rfid/rdm6300@1.0.0",
        measurement="attendance",
        quantities={"presence": "presence"},
    )
    return batch(number, [presence], data_class=DataClass.PERSONAL)


def topic_of(one: Batch, flow: Flow = Flow.LIVE) -> str:
    return telemetry_topic(one.site, one.gateway, one.data_class, flow)


def payload_of(one: Batch) -> bytes:
    return pack(encode_batch(one))


class Gateway:
    """Publishes as a gateway does and remembers the acknowledgements."""

    def __init__(self, client: aiomqtt.Client, gateway: str = GATEWAY) -> None:
        self.client = client
        self.gateway = gateway
        self.acks: list[Ack] = []
        self._news = asyncio.Condition()

    async def listen(self) -> None:
        async for message in self.client.messages:
            async with self._news:
                self.acks.append(decode_ack(bytes(message.payload)))
                self._news.notify_all()

    async def subscribe(self) -> None:
        await self.client.subscribe(gateway_topic(SITE, self.gateway, Channel.STORED), qos=1)

    async def send(self, *batches: Batch, flow: Flow = Flow.LIVE) -> None:
        for one in batches:
            await self.send_raw(topic_of(one, flow), payload_of(one))

    async def send_raw(self, topic: str, payload: bytes) -> None:
        await self.client.publish(topic, payload, qos=1)

    async def until(self, wanted: Any, within: float = 15.0) -> Ack:
        """Return the first acknowledgement for which `wanted(ack)` holds."""
        seen = 0
        async with asyncio.timeout(within), self._news:
            while True:
                for ack in self.acks[seen:]:
                    if wanted(ack):
                        return ack
                seen = len(self.acks)
                await self._news.wait()

    async def stored(self, number: int, within: float = 15.0) -> Ack:
        return await self.until(lambda ack: covers(ack.stored, number), within)

    async def refused(self, number: int, within: float = 15.0) -> Ack:
        return await self.until(lambda ack: any(r.batch == number for r in ack.refused), within)
