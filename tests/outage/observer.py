"""Listens at the broker beside everybody: how old is a live sample when its gateway hears that it is stored?"""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from typing import TYPE_CHECKING, Any

import aiomqtt
import msgspec

from telemetry.ack import decode_ack
from telemetry.batch import decode_batch, unpack
from telemetry.ranges import covers
from telemetry.topics import Channel, Flow, parse_topic

if TYPE_CHECKING:
    from tests.servers import Server


class Observer:
    """Knows of each gateway what it said last, and how long each live sample took from acquisition to `stored`."""

    def __init__(self, broker: Server) -> None:
        self.health: dict[str, dict[str, Any]] = {}
        self.connected_at_ns = 0
        self.first_stored_at_ns: dict[str, int] = {}
        """When the gateway heard of the first stored batch after `forget`."""
        self.took_s: dict[tuple[str, int], float] = {}
        """(Device, time acquired) → seconds until it was told to be stored."""
        self._broker = broker
        self._waiting: dict[str, dict[tuple[str, int], list[tuple[str, int]]]] = {}

    def forget(self) -> None:
        """Begin anew: an outage is over, or about to be."""
        self.first_stored_at_ns.clear()
        self.took_s.clear()

    async def run(self) -> None:
        """Listen until cancelled; connects again and again."""
        while True:
            with contextlib.suppress(aiomqtt.MqttError, TimeoutError):
                async with aiomqtt.Client(
                    self._broker.host, self._broker.port, identifier="observer", clean_session=True
                ) as client:
                    try:
                        for topic in ("telemetry/open/live", "stored", "health"):
                            async with asyncio.timeout(5):
                                await client.subscribe(f"campus/v1/+/+/{topic}", timeout=math.inf)
                        self.connected_at_ns = time.time_ns()
                        async for message in client.messages:
                            self._take(str(message.topic), bytes(message.payload))  # type: ignore[arg-type]
                    finally:
                        if client._disconnected.done():
                            client._disconnected.exception()
            await asyncio.sleep(0.05)

    def _take(self, topic: str, payload: bytes) -> None:
        where = parse_topic(topic)
        assert where is not None
        waiting = self._waiting.setdefault(where.gateway, {})
        if where.channel is Channel.HEALTH:
            self.health[where.gateway] = msgspec.json.decode(payload)
        elif where.channel is Channel.STORED:
            ack = decode_ack(payload)
            now_ns = time.time_ns()
            if ack.stored:
                self.first_stored_at_ns.setdefault(where.gateway, now_ns)
            for identity in [one for one in waiting if one[0] == ack.epoch and covers(ack.stored, one[1])]:
                for device, at_ns in waiting.pop(identity):
                    self.took_s.setdefault((device, at_ns), (now_ns - at_ns) / 1e9)
        elif where.flow is Flow.LIVE:
            batch = decode_batch(unpack(payload))
            waiting[batch.epoch, batch.number] = [
                (block.device, one.acquired_at_ns) for block in batch.devices for one in block.samples
            ]
