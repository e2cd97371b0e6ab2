"""Thousands of gateways are born, or die, at once: messages of QoS 0, which Receive Maximum does not hold back."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from unittest.mock import Mock

from benchmarks._mqtt import connect_packet, publish_packet
from cloud_ingest.settings import MqttSettings
from cloud_ingest.subscriber import Subscriber
from telemetry.counters import Counters
from telemetry.topics import Channel, gateway_topic
from tests.waiting import until

if TYPE_CHECKING:
    from tests.servers import Server

BIRTHS = 6000


async def give_birth(server: Server) -> None:
    reader, writer = await asyncio.open_connection(server.host, server.port)
    writer.write(connect_packet("births"))
    status = b'{"schema":"campus.status/1","state":"online","epoch":"0123456789abcdef"}'
    for number in range(BIRTHS):
        writer.write(publish_packet(gateway_topic("s", f"gw-{number}", Channel.STATUS), number, status, retain=True))
    # Each is acknowledged with four bytes, after the four of CONNACK.
    async with asyncio.timeout(30):
        await reader.readexactly(4 * BIRTHS + 4)
    writer.close()
    await writer.wait_closed()


async def test_pain_19_a_flood_of_births_does_not_throw_the_ingest_off(mosquitto: Server) -> None:
    await give_birth(mosquitto)
    counters, stop = Counters(), asyncio.Event()
    subscriber = Subscriber(MqttSettings(url=f"mqtt://{mosquitto.authority}", client_id="flooded"), counters)

    async def drain() -> None:
        """Have nothing in hand."""

    running = asyncio.create_task(subscriber.run(Mock(), stop=stop, drain=drain), name="subscriber")
    try:
        await until(lambda: len(subscriber._greetings) == BIRTHS, within_s=30)
        assert counters.snapshot() == {"mqtt.connects": 1}
    finally:
        stop.set()
        await running
