"""Paths that break in particular ways while old batches are sent: each goes on, and nothing is sent as another's."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from edge_agent.publisher import session
from telemetry.topics import Flow
from tests.edge_agent.publisher.helpers import FakeBatch, FakeOutbox, Proxy, broker_of, ingest, published, until

if TYPE_CHECKING:
    from tests.servers import MakeServer, Server

pytestmark = pytest.mark.server("mosquitto")
PUBLISH = 3


class HangsUp(Proxy):
    """A broker that closes the connection once it has taken so many messages, or at a certain one."""

    after: int = 10
    at: bytes = b"\0never"

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_us = writer.get_extra_info("peername")[1] == self._target[1]
        waiting, taken = b"", 0
        while data := await reader.read(65536):
            waiting += data
            while from_us and (size := _packet_bytes(waiting)) and len(waiting) >= size:
                packet, waiting = waiting[:size], waiting[size:]
                taken += packet[0] >> 4 == PUBLISH
                if taken > self.after or self.at in packet:
                    raise ConnectionAbortedError
                writer.write(packet)
            if not from_us:
                writer.write(data)
        writer.close()


def _packet_bytes(data: bytes) -> int:
    """The size of the first packet; 0 if its header is not all there."""
    size = 0
    for index, byte in enumerate(data[1:5]):
        size |= (byte & 0x7F) << 7 * index
        if not byte & 0x80:
            return 2 + index + size
    return 0


class Hanging(FakeOutbox):
    """A buffer whose disk does not answer."""

    async def take_backfill(self) -> FakeBatch | None:
        await asyncio.Event().wait()
        return None


def quick() -> float:
    return 0.05


async def test_a_connection_half_open_in_the_midst_of_a_drain(
    mosquitto: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "DEADLINE_S", 0.3)
    async with (
        ingest(mosquitto) as fake,
        Proxy(mosquitto.host, mosquitto.port) as proxy,
        published(proxy.broker, random=quick) as (_, outbox, counters),
    ):
        outbox.put(*range(100), backfill=True)
        await until(lambda: len(outbox.stored) >= 10)
        proxy.silent = True
        outbox.put(*range(100, 105))
        await until(lambda: counters.get("publisher.puback_timeouts") == 1)
        proxy.silent = False
        await until(lambda: len(outbox.stored) == 105)
        assert len(set(fake.heard)) == 105, "what came twice is the same, byte for byte"


async def test_a_broker_that_takes_one_message_at_a_time(make_mosquitto: MakeServer) -> None:
    server = make_mosquitto(extra="allow_anonymous true\nmax_inflight_messages 1")
    async with ingest(server) as fake, published(broker_of(server, protocol="5")) as (publisher, outbox, counters):
        await until(lambda: publisher.connected)
        assert publisher._connection is not None
        assert publisher._connection.receive_maximum == 1
        publisher.show_devices({"a": 1})
        outbox.put(*range(20))
        outbox.put(*range(100, 120), backfill=True)
        await until(lambda: len(outbox.stored) == 40)
        assert counters.get("publisher.resent_batches") == 0
        assert sorted(fake.numbers) == sorted(outbox.stored)


async def test_a_broker_that_hangs_up_at_each_tenth_message(mosquitto: Server) -> None:
    async with (
        ingest(mosquitto) as fake,
        HangsUp(mosquitto.host, mosquitto.port) as proxy,
        published(proxy.broker, random=quick) as (_, outbox, counters),
    ):
        outbox.put(*range(60), backfill=True)
        outbox.put(*range(100, 130))
        await until(lambda: len(outbox.stored) == 90, 20)
        assert counters.get("publisher.connections") >= 9
        assert len(set(fake.heard)) == 90


@pytest.mark.parametrize("poison", [3, 8])
async def test_one_message_at_which_the_broker_hangs_up_does_not_stop_the_others(
    mosquitto: Server, poison: int
) -> None:
    async with (
        ingest(mosquitto),
        HangsUp(mosquitto.host, mosquitto.port) as proxy,
        published(proxy.broker, random=quick) as (_, outbox, _),
    ):
        proxy.after, proxy.at = 1000, FakeBatch(number=poison).payload
        outbox.put(*range(10, 20), backfill=True)
        outbox.put(*range(9))
        await until(lambda: len(outbox.stored) == 18, 20)
        assert set(outbox.taken) == {poison}


async def test_acknowledged_twice_for_nobody_or_for_what_was_never_sent(mosquitto: Server) -> None:
    async with ingest(mosquitto) as fake, published(broker_of(mosquitto)) as (publisher, outbox, counters):
        outbox.put(0)
        await until(lambda: outbox.stored == [0])
        fake.mute = True
        outbox.put(1, 2)
        await until(lambda: len(fake.heard) == 3)
        await fake.say(1, 2, epoch="f" * 16)
        await fake.say(0, 7)
        await until(lambda: len(outbox.acks) == 3)
        assert publisher.in_flight == 2
        await fake.say(1)
        await fake.say(1)
        await until(lambda: len(outbox.acks) == 5)
        assert outbox.stored == [0, 1]
        assert counters.get("publisher.acks") == 2
        await fake.say(2)
        await until(lambda: publisher.in_flight == 0)


async def test_live_goes_on_while_the_disk_does_not_answer(mosquitto: Server) -> None:
    async with ingest(mosquitto) as fake, published(broker_of(mosquitto), Hanging()) as (_, outbox, _):
        outbox.put(0)
        await until(lambda: outbox.stored == [0])
        outbox.put(*range(1, 30))
        await until(lambda: len(outbox.stored) == 30)
        assert {flow for flow, _, _ in fake.heard} == {Flow.LIVE}


async def test_live_is_not_held_up_by_what_is_old(mosquitto: Server) -> None:
    """The uplink is kept free: old data take no more than they are given."""
    async with (
        ingest(mosquitto) as fake,
        published(broker_of(mosquitto), backfill_bytes_per_s=3000) as (_, outbox, _),
    ):
        outbox.put(*range(100, 200), backfill=True)
        await until(lambda: len(fake.heard) >= 3)
        began = asyncio.get_running_loop().time()
        outbox.put(*range(20))
        await until(lambda: set(range(20)) <= set(outbox.stored))
        assert asyncio.get_running_loop().time() - began < 5, "after all that is old it would be ten seconds"
        sent = sum(flow is Flow.BACKFILL for flow, _, _ in fake.heard)
        assert sent <= 3 + 10 * (asyncio.get_running_loop().time() - began + 0.5)
