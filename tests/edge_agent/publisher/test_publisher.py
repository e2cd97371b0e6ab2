"""The publisher against a real broker."""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING, Literal

import aiomqtt
import pytest

from edge_agent.publisher import Broker, session
from edge_agent.publisher.connection import GREETING_S
from telemetry.topics import Flow
from tests.edge_agent.publisher.helpers import (
    DEVICES,
    STATUS,
    FakeOutbox,
    Proxy,
    broker_of,
    ingest,
    published,
    until,
)

if TYPE_CHECKING:
    from pathlib import Path

    from tests.servers import MakeServer, Server

pytestmark = pytest.mark.server("mosquitto")


@pytest.mark.parametrize("protocol", ["auto", "5", "3.1.1"])
@pytest.mark.parametrize("host", ["::1", "127.0.0.1"])
async def test_batches_are_sent_and_acknowledged(
    make_mosquitto: MakeServer, protocol: Literal["auto", "5", "3.1.1"], host: str
) -> None:
    server = make_mosquitto(host=host)
    async with ingest(server) as fake, published(broker_of(server, protocol=protocol)) as (publisher, outbox, counters):
        outbox.put(*range(30))
        outbox.put(*range(100, 110), backfill=True)
        await until(lambda: len(outbox.stored) == 40)
        assert sorted(fake.numbers) == sorted(outbox.stored)
        assert {number for flow, number, _ in fake.heard if flow is Flow.LIVE} == set(range(30))
        assert [number for flow, number, _ in fake.heard if flow is Flow.BACKFILL] == list(range(100, 110))
        assert publisher.connected
        assert publisher.in_flight == 0
        assert publisher.ack_p95_s is not None
        assert publisher.ack_p95_s < 1.0
        assert counters.get("publisher.acks") == 40


async def test_birth_goodbye_and_last_will(mosquitto: Server) -> None:
    async with aiomqtt.Client(mosquitto.host, mosquitto.port) as client:
        await client.subscribe(STATUS, qos=1)

        async def status() -> dict[str, object]:
            message = await asyncio.wait_for(anext(client.messages), 5)
            assert isinstance(message.payload, bytes)
            return dict(json.loads(message.payload))

        async with published(broker_of(mosquitto)):
            birth = await status()
            assert (birth["schema"], birth["state"], birth["boot_id"]) == ("campus.status/1", "online", "boot")
            assert (birth["epoch"], birth["simulated"]) == (FakeOutbox().epoch, True)
        assert (await status())["state"] == "offline"
        async with Proxy(mosquitto.host, mosquitto.port) as proxy, published(proxy.broker) as (publisher, _, _):
            assert (await status())["state"] == "online"
            await proxy.__aexit__()
            assert (await status())["state"] == "offline"
            await until(lambda: not publisher.connected)


async def test_pain_11_broker_down_at_the_start_and_killed_later(make_mosquitto: MakeServer) -> None:
    server = make_mosquitto()
    server.kill()
    async with published(broker_of(server), random=lambda: 0.1) as (publisher, outbox, counters):
        outbox.put(1, 2, 3)
        await until(lambda: counters.get("publisher.connection_errors") >= 2)
        assert not publisher.connected
        assert publisher.problem is not None
        server.start()
        async with ingest(server):
            await until(lambda: outbox.stored == [1, 2, 3])
        server.kill()
        await until(lambda: not publisher.connected)
        outbox.put(4)
        server.start()
        started = time.monotonic()
        await until(lambda: publisher.connected)
        assert time.monotonic() - started < 2.5
        async with ingest(server) as fake:
            await until(lambda: outbox.taken != {})
            await fake.say()
            await until(lambda: outbox.stored == [1, 2, 3, 4])


async def test_pain_12_after_a_reconnect_the_oldest_goes_first_alone_with_the_same_bytes(mosquitto: Server) -> None:
    async with (
        ingest(mosquitto) as fake,
        Proxy(mosquitto.host, mosquitto.port) as proxy,
        published(proxy.broker) as (_, outbox, _),
    ):
        outbox.put(0)
        await until(lambda: outbox.stored == [0])
        fake.mute = True
        outbox.put(*range(1, 10))
        await until(lambda: len(fake.heard) == 5)
        assert fake.numbers == [0, 1, 2, 3, 4]
        before = {number: payload for _, number, payload in fake.heard}
        fake.heard.clear()
        await proxy.cut()
        await until(lambda: fake.numbers == [1])
        await asyncio.sleep(0.2)
        assert fake.numbers == [1]
        fake.mute = False
        await fake.say(1)
        await until(lambda: outbox.stored == list(range(10)))
        assert fake.numbers[:4] == [1, 2, 3, 4]
        assert all(before[number] == payload for _, number, payload in fake.heard if number in before)


async def test_the_ingests_greeting_brings_a_probe_within_a_second(mosquitto: Server) -> None:
    async with ingest(mosquitto) as fake, published(broker_of(mosquitto)) as (_, outbox, counters):
        outbox.put(0)
        await until(lambda: outbox.stored == [0])
        fake.mute = True
        outbox.put(1, 2)
        await until(lambda: len(fake.heard) == 3)
        fake.mute = False
        await fake.say(epoch="f" * 16)
        await until(lambda: counters.get("publisher.acks_unknown_epoch") == 1)
        assert outbox.stored == [0]
        await fake.say()
        await until(lambda: outbox.stored == [0, 1, 2], 3)
        assert fake.numbers == [0, 1, 2, 1, 2]


async def test_a_busy_store_pauses_what_is_new(mosquitto: Server) -> None:
    async with ingest(mosquitto) as fake, published(broker_of(mosquitto)) as (_, outbox, counters):
        outbox.put(0)
        await until(lambda: outbox.stored == [0])
        started = time.monotonic()
        await fake.say(retry_after_s=0.5)
        await until(lambda: counters.get("publisher.pauses") == 1)
        outbox.put(1)
        await until(lambda: outbox.stored == [0, 1])
        assert time.monotonic() - started >= 0.5


async def test_a_half_open_connection_is_noticed(mosquitto: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "DEADLINE_S", 0.3)
    async with (
        ingest(mosquitto),
        Proxy(mosquitto.host, mosquitto.port) as proxy,
        published(proxy.broker) as (_, outbox, counters),
    ):
        outbox.put(0)
        await until(lambda: outbox.stored == [0])
        proxy.silent = True
        outbox.put(1)
        await until(lambda: counters.get("publisher.puback_timeouts") == 1)
        proxy.silent = False
        await until(lambda: outbox.stored == [0, 1])


async def test_stop_waits_for_live_acknowledgements_but_not_long(mosquitto: Server) -> None:
    outbox = FakeOutbox()
    async with ingest(mosquitto) as fake:
        async with published(broker_of(mosquitto), outbox) as (_, _, _):
            outbox.put(0)
            await until(lambda: outbox.stored == [0])
            outbox.put(*range(1, 8))
        assert sorted(outbox.stored) == list(range(8))
        async with published(broker_of(mosquitto), outbox) as (_, _, _):
            outbox.put(8)
            await until(lambda: 8 in outbox.stored)
            fake.mute = True
            outbox.put(9)
            await until(lambda: 9 in fake.numbers)
            started = time.monotonic()
        assert time.monotonic() - started < 3.5


async def test_stop_while_connecting_to_nowhere(mosquitto: Server) -> None:
    async with Proxy(mosquitto.host, mosquitto.port) as proxy:
        proxy.silent = True
        async with published(proxy.broker) as (publisher, _, _):
            await until(lambda: proxy.connections > 0)
            started = time.monotonic()
            await publisher.stop()
            assert time.monotonic() - started < GREETING_S


@pytest.mark.parametrize("host", ["a..b", "x" * 64])
async def test_a_host_that_is_none_is_no_crash(host: str) -> None:
    async with published(Broker(host=host, port=1883)) as (publisher, _, counters):
        await until(lambda: counters.get("publisher.connection_errors") >= 2)
        assert "cannot be a host name → mend mqtt.url" in (publisher.problem or "")


async def test_a_refused_login_waits_the_longest(make_mosquitto: MakeServer, tmp_path: Path) -> None:
    server = make_mosquitto(extra="allow_anonymous false")
    password = tmp_path / "password"
    password.write_text("wrong\n")
    for protocol in ("5", "3.1.1"):
        broker = broker_of(server, protocol=protocol, username="gw-1", password_file=password)
        async with published(broker) as (publisher, _, counters):
            await until(lambda: counters.get("publisher.login_refused") == 1)
            await asyncio.sleep(0.6)
            assert counters.get("publisher.login_refused") == 1
            assert publisher.problem is not None
            assert "wrong" not in publisher.problem
    async with published(broker_of(server, username="gw-1", password_file=tmp_path / "none")) as (publisher, _, _):
        await until(lambda: publisher.problem is not None)
        assert "none" in str(publisher.problem)


async def test_a_broker_that_forbids_the_topic_is_counted(make_mosquitto: MakeServer, tmp_path: Path) -> None:
    acl = tmp_path / "acl"
    acl.write_text("topic read campus/v1/#\ntopic write campus/v1/+/+/status\n")
    acl.chmod(0o600)
    server = make_mosquitto(extra=f"allow_anonymous true\nacl_file {acl}")
    async with published(broker_of(server)) as (publisher, outbox, counters):
        outbox.put(1, 2)
        await until(lambda: counters.get("publisher.refused_by_broker.0x87") == 1)
        assert publisher.connected
        assert publisher.in_flight == 1


async def test_a_batch_over_the_brokers_limit_stays(make_mosquitto: MakeServer) -> None:
    server = make_mosquitto(extra="allow_anonymous true\nmax_packet_size 285")
    async with published(broker_of(server)) as (publisher, outbox, counters):
        outbox.put(1)
        await until(lambda: counters.get("publisher.refused_by_broker.0x95") >= 1)
        assert publisher.in_flight == 1
        assert publisher.connected


async def test_health_over_the_brokers_limit_costs_no_connection(make_mosquitto: MakeServer) -> None:
    server = make_mosquitto(extra="allow_anonymous true\nmax_packet_size 2000")
    async with published(broker_of(server)) as (publisher, outbox, counters):
        await until(lambda: publisher.connected)
        unsent = counters.get("publisher.health_unsent")
        await publisher.publish_health({"counters": "x" * 3000})
        outbox.put(1)
        await until(lambda: counters.get("publisher.sent_batches.live") == 1)
        await asyncio.sleep(0.3)
        assert counters.get("publisher.connections") == 1
        assert counters.get("publisher.connection_errors") == 0
        assert counters.get("publisher.health_unsent") == unsent + 1


async def test_health_goes_out_when_it_can(mosquitto: Server) -> None:
    async with aiomqtt.Client(mosquitto.host, mosquitto.port) as client:
        await client.subscribe("campus/v1/school/gw-1/health")
        async with published(broker_of(mosquitto)) as (publisher, _, counters):
            if not publisher.connected:
                await publisher.publish_health({"a": 1})
                assert counters.get("publisher.health_unsent") == 1
            await until(lambda: publisher.connected)
            await publisher.publish_health({"a": 2})
            message = await asyncio.wait_for(anext(client.messages), 5)
            assert isinstance(message.payload, bytes)
            assert json.loads(message.payload) == {"a": 2}


async def test_devices_are_retained_and_said_again_to_a_broker_that_forgot(make_mosquitto: MakeServer) -> None:
    server = make_mosquitto()

    async def retained() -> dict[str, object]:
        async with aiomqtt.Client(server.host, server.port) as client:
            await client.subscribe(DEVICES)
            message = await asyncio.wait_for(anext(client.messages), 5)
            assert message.retain
            assert isinstance(message.payload, bytes)
            return dict(json.loads(message.payload))

    async with published(broker_of(server)) as (publisher, outbox, _):
        async with ingest(server):
            publisher.show_devices({"a": 1})
            outbox.put(1)
            await until(lambda: outbox.stored == [1])
            assert await retained() == {"a": 1}
            publisher.show_devices({"a": 2})
            outbox.put(2)
            await until(lambda: outbox.stored == [1, 2])
            assert await retained() == {"a": 2}
        server.kill()
        await until(lambda: not publisher.connected)
        server.start()
        await until(lambda: publisher.connected)
        async with ingest(server):
            outbox.put(3)
            await until(lambda: outbox.stored == [1, 2, 3])
        assert await retained() == {"a": 2}


async def test_devices_refused_or_too_large_hold_nothing_back(make_mosquitto: MakeServer, tmp_path: Path) -> None:
    acl = tmp_path / "acl"
    acl.write_text("topic read campus/v1/#\ntopic write campus/v1/+/+/status\ntopic write campus/v1/+/+/telemetry/#\n")
    acl.write_text(acl.read_text() + "topic write campus/v1/+/+/stored\n")
    acl.chmod(0o600)
    server = make_mosquitto(extra=f"allow_anonymous true\nacl_file {acl}\nmax_packet_size 1000")
    async with ingest(server), published(broker_of(server)) as (publisher, outbox, counters):
        for document in ({"refused": True}, {"too large": "x" * 1000}):
            before = counters.get("publisher.devices_unsent")
            publisher.show_devices(document)
            await until(lambda before=before: counters.get("publisher.devices_unsent") == before + 1)
        outbox.put(1)
        await until(lambda: outbox.stored == [1], 2)
        assert not counters.get("publisher.refused_by_broker.0x87")


async def test_garbage_on_stored_is_counted(mosquitto: Server) -> None:
    async with ingest(mosquitto) as fake, published(broker_of(mosquitto)) as (publisher, outbox, counters):
        outbox.put(0)
        await until(lambda: outbox.stored == [0])
        await fake._client.publish("campus/v1/school/gw-1/stored", b"\xff{", qos=1)
        await until(lambda: counters.get("publisher.bad_acks") == 1)
        assert publisher.connected


COMMAND, REPLY = "campus/v1/school/gw-1/command", "campus/v1/school/gw-1/reply"


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
async def test_commands_are_heard_and_answered(mosquitto: Server, protocol: Literal["5", "3.1.1"]) -> None:
    heard: list[bytes] = []
    async with aiomqtt.Client(mosquitto.host, mosquitto.port) as client:
        await client.subscribe(REPLY, qos=1)
        async with published(broker_of(mosquitto, protocol=protocol), on_command=heard.append) as (
            publisher,
            _,
            counters,
        ):
            publisher.reply({"said": "before there was a connection"})
            await until(lambda: publisher.connected and counters.get("publisher.connections") == 1)
            messages = aiter(client.messages)
            message = await asyncio.wait_for(anext(messages), 5)
            assert json.loads(bytes(message.payload)) == {"said": "before there was a connection"}  # type: ignore[arg-type]
            await client.publish(COMMAND, b"\xff not an acknowledgement", qos=1)
            await client.publish("campus/v1/school/gw-2/command", b"another's", qos=1)
            await until(lambda: bool(heard))
            publisher.reply({"n": 2})
            assert json.loads(bytes((await asyncio.wait_for(anext(messages), 5)).payload)) == {"n": 2}  # type: ignore[arg-type]
            assert heard == [b"\xff not an acknowledgement"]
            assert counters.get("publisher.bad_acks") == 0


async def test_a_broker_that_allows_no_commands_takes_our_data(make_mosquitto: MakeServer, tmp_path: Path) -> None:
    acl = tmp_path / "acl"
    rules = ["read campus/v1/+/+/stored", "write campus/v1/+/+/status", "write campus/v1/+/+/telemetry/#"]
    rules += ["read campus/v1/+/+/telemetry/#", "write campus/v1/+/+/stored"]
    acl.write_text("".join(f"topic {rule}\n" for rule in rules))
    acl.chmod(0o600)
    server = make_mosquitto(extra=f"allow_anonymous true\nacl_file {acl}")
    heard: list[bytes] = []
    async with ingest(server), published(broker_of(server), on_command=heard.append) as (publisher, outbox, counters):
        outbox.put(1)
        await until(lambda: outbox.stored == [1])
        publisher.reply({"refused": True})
        await until(lambda: counters.get("publisher.replies_refused") == 1)
        outbox.put(2)
        await until(lambda: outbox.stored == [1, 2])
        assert counters.get("publisher.connections") == 1


async def test_replies_are_bounded_and_one_that_is_too_large_holds_nothing_back(make_mosquitto: MakeServer) -> None:
    server = make_mosquitto(extra="allow_anonymous true\nmax_packet_size 1000")
    async with aiomqtt.Client(server.host, server.port) as client:
        await client.subscribe(REPLY, qos=1)
        outbox = FakeOutbox()
        nowhere = Broker(host="::1", port=1)
        async with published(nowhere, outbox) as (publisher, _, counters):
            for number in range(20):
                publisher.reply({"n": number})
            assert counters.get("publisher.replies_dropped") == 4
        async with published(broker_of(server), on_command=lambda _: None) as (publisher, _, counters):
            publisher.reply({"large": "x" * 2000})
            publisher.reply({"n": 1})
            message = await asyncio.wait_for(anext(aiter(client.messages)), 5)
            assert json.loads(bytes(message.payload)) == {"n": 1}  # type: ignore[arg-type]
            assert counters.get("publisher.replies_refused") == 1
