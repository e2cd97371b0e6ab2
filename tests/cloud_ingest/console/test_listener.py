"""The console's connection to a real broker: both versions of MQTT, retained messages, a restart, many gateways."""

from __future__ import annotations

import asyncio
import contextlib
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import aiomqtt
import pytest

from cloud_ingest.console.fleet import Fleet
from cloud_ingest.console.listener import Listener
from cloud_ingest.settings import MqttSettings
from telemetry.counters import Counters
from tests.cloud_ingest.console.stored import now_ns
from tests.cloud_ingest.console.told import device, devices, health, status, topic
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.servers import MakeServer, Server

pytestmark = pytest.mark.server("mosquitto")


@asynccontextmanager
async def listening(broker: Server, **settings: object) -> AsyncIterator[tuple[Fleet, Listener, Counters]]:
    counters = Counters()
    fleet = Fleet(counters)
    listener = Listener(MqttSettings(url=f"mqtt://{broker.authority}", **settings), fleet, counters)
    task = asyncio.create_task(listener.run(), name="listener")
    try:
        yield fleet, listener, counters
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


@pytest.mark.parametrize("protocol", ["5", "3.1.1", "auto"])
async def test_it_hears_retained_and_live_messages(mosquitto: Server, protocol: str) -> None:
    async with aiomqtt.Client(mosquitto.host, mosquitto.port) as client:
        await client.publish(topic("status"), status(at_ns=now_ns()), qos=1, retain=True)
        await client.publish(topic("devices"), devices(device()), qos=1, retain=True)
        async with listening(mosquitto, protocol=protocol) as (fleet, listener, counters):
            await until(lambda: fleet.views() and fleet.views()[0].devices)
            assert listener.problem is None
            assert fleet.views()[0].online
            await client.publish(topic("health"), b"{]", qos=0)
            await client.publish(topic("health"), health(), qos=0)
            await until(lambda: fleet.views()[0].uptime_s == 12.5)
            assert counters.get("console.bad_documents") == 1
            assert fleet.views()[0].last_contact_age_s < 5
            await client.publish(topic("status"), status("offline"), qos=1, retain=True)
            await until(lambda: fleet.views()[0].online is False)


async def test_it_comes_back_after_the_broker_was_away(make_mosquitto: MakeServer) -> None:
    broker = make_mosquitto()
    async with listening(broker) as (fleet, listener, counters):
        await until(lambda: listener.problem is None)
        broker.kill()
        await until(lambda: listener.problem is not None)
        assert broker.authority in listener.problem
        broker.start()
        await until(lambda: listener.problem is None, within_s=20)
        async with aiomqtt.Client(broker.host, broker.port) as client:
            await client.publish(topic("health"), health(), qos=1)
        await until(fleet.views)
        assert counters.get("mqtt.connects") == 2


async def test_it_does_not_throw_the_ingest_out(mosquitto: Server) -> None:
    settings = MqttSettings(url=f"mqtt://{mosquitto.authority}")
    async with (
        aiomqtt.Client(mosquitto.host, mosquitto.port, identifier=settings.client_id) as ingest,
        listening(mosquitto) as (fleet, listener, _),
        listening(mosquitto) as (_, other, _),
    ):
        await until(lambda: listener.problem is None and other.problem is None)
        await ingest.publish(topic("health"), health(), qos=1)
        await until(fleet.views)


async def test_the_retained_messages_of_a_large_fleet_all_arrive(mosquitto: Server) -> None:
    async with aiomqtt.Client(mosquitto.host, mosquitto.port) as client:
        for n in range(3000):
            await client.publish(topic("status", f"gw-{n}"), status(), qos=0, retain=True)
        await client.publish(topic("status", "last"), status(), qos=1, retain=True)
    async with listening(mosquitto) as (fleet, _, counters):
        await until(lambda: len(fleet.views()) == 3001, within_s=20)
        assert counters.get("mqtt.dropped_messages") == 0


async def test_a_refused_login_is_told(make_mosquitto: MakeServer) -> None:
    broker = make_mosquitto(extra="allow_anonymous false")
    async with listening(broker) as (_, listener, _):
        await until(lambda: listener.problem is not None and "refuses our login" in listener.problem)
        assert "correct mqtt.username" in listener.problem
