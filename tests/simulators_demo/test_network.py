"""Broker, tap and proxy together, on real sockets."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from simulators.demo.frames import LEVEL_311, PUBLISH, Frame, Publish, Splitter, connect, parse_publish, subscribe
from simulators.demo.processes import Process
from simulators.demo.proxy import Direction, Proxy
from simulators.demo.tap import Tap
from telemetry.ack import Ack, encode_ack
from telemetry.batch import SCHEMA, Batch, BatchSample, DeviceBlock, encode_batch, pack
from telemetry.sample import DataClass

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

TOPIC = "campus/v1/demo/gw"


@pytest.fixture
async def broker(tmp_path: Path) -> AsyncIterator[Process]:
    process = Process(
        name="broker",
        command=[sys.executable, "-m", "simulators.demo.broker", "--port", "0"],
        env=dict(os.environ),
        log=tmp_path / "broker.log",
        notify=tmp_path.parent / "b",
        says_ready=True,
    )
    await process.start(ready_s=20)
    yield process
    await process.kill()


class Client:
    """A bare MQTT 3.1.1 client."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self._splitter = Splitter()
        self._frames: list[Frame] = []

    async def frame(self) -> Frame:
        async with asyncio.timeout(5):
            while not self._frames:
                data = await self.reader.read(4096)
                if not data:
                    raise EOFError
                self._frames += self._splitter.feed(data)
        return self._frames.pop(0)

    async def publish(self, topic: str, payload: bytes) -> None:
        self.writer.write(Publish(head=0x32, topic=topic, middle=b"\x00\x05", payload=payload).frame().encode())
        assert (await self.frame()).head == 0x40


@asynccontextmanager
async def client(host: str, port: int, name: str = "me") -> AsyncIterator[Client]:
    reader, writer = await asyncio.open_connection(host, port)
    try:
        writer.write(connect(name, keepalive_s=30).encode())
        me = Client(reader, writer)
        assert (await me.frame()).body == b"\x00\x00"
        yield me
    finally:
        writer.transport.abort()


async def until(condition, within_s: float = 5.0) -> None:
    async with asyncio.timeout(within_s):
        while not condition():  # noqa: ASYNC110 - the tap has no event for it
            await asyncio.sleep(0.01)


def batch(number: int) -> bytes:
    block = DeviceBlock(
        device="r101-air",
        room="r101",
        profile="modbus/multisensor_6in1@1.0.0",
        measurement="environment",
        quantities={"co2": "co2"},
        samples=[BatchSample(acquired_at_ns=number, values={"co2": 400.0 + number})],
    )
    return pack(
        encode_batch(
            Batch(
                schema=SCHEMA,
                site="demo",
                gateway="gw",
                epoch="0123456789abcdef",
                number=number,
                data_class=DataClass.OPEN,
                devices=[block],
            )
        )
    )


async def test_the_broker_passes_messages_and_stops_on_sigterm(broker: Process) -> None:
    host, port = broker.answer["host"], broker.answer["port"]
    async with client(host, port, "a") as one, client(host, port, "b") as two:
        two.writer.write(subscribe("x/#").encode())
        assert (await two.frame()).head == 0x90
        await one.publish("x/y", b"hello")
        frame = await two.frame()
        assert frame.kind == PUBLISH
        assert parse_publish(frame, LEVEL_311).payload == b"hello"
        assert await broker.stop(within_s=5) < 5
    assert broker.exit_code == 0
    assert broker.log_tail().count("\n") == 0, broker.log_tail()


async def test_the_broker_refuses_mqtt_5_so_that_auto_falls_back(broker: Process) -> None:
    reader, writer = await asyncio.open_connection(broker.answer["host"], broker.answer["port"])
    writer.write(Frame(head=0x10, body=b"\x00\x04MQTT\x05\x02\x00\x0a\x00\x00\x01a").encode())
    async with asyncio.timeout(5):
        answer = await reader.read(100)
    writer.close()
    assert answer[:1] in {b"", b"\x20"}
    assert answer[3:4] in {b"", b"\x01"}


async def test_the_tap_keeps_everything_and_comes_back_after_the_broker(broker: Process, tmp_path: Path) -> None:
    host, port = broker.answer["host"], broker.answer["port"]
    tap = Tap(host, port, site="demo", file=tmp_path / "tap")
    task = asyncio.create_task(tap.run(), name="tap")
    try:
        await asyncio.wait_for(tap.connected.wait(), 5)
        async with client(host, port) as me:
            await me.publish(f"{TOPIC}/telemetry/open/live", batch(1))
            await me.publish(f"{TOPIC}/telemetry/open/live", batch(1))
            await me.publish(f"{TOPIC}/health", b'{"at_ns": 5, "counters": {"a": 1}}')
            await me.publish(f"{TOPIC}/health", b"not json")
            await me.publish("campus/v1/other/gw/health", b'{"at_ns": 6}')
            await me.publish(f"{TOPIC}/stored", encode_ack(Ack(epoch="0123456789abcdef", time_ns=1, stored=[(1, 9)])))
            await until(lambda: tap.first_stored)
        assert tap.published == tap.acknowledged == {"environment": 1}
        assert list(tap.first_stored) == ["environment"]
        assert tap.latest["r101-air"] == (1, {"co2": 401.0})
        assert tap.health == {"at_ns": 5, "counters": {"a": 1}}
        await broker.kill()
        await until(lambda: not tap.connected.is_set())
        broker.command = [*broker.command[:-1], str(port)]
        await broker.start(ready_s=20)
        await asyncio.wait_for(tap.connected.wait(), 10)
        async with client(host, port) as me:
            await me.publish("campus/odd", b"\x00raw")
            await until(lambda: (tap.flush(), b"campus/odd \x00raw" in (tmp_path / "tap").read_bytes())[1])
        assert b"not json" in (tmp_path / "tap").read_bytes()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def shout(publish: Publish) -> Publish:
    return publish.with_payload(publish.payload.upper() * 100) if publish.topic == "x/y" else publish


async def test_the_proxy_rewrites_what_is_published_and_nothing_else(broker: Process) -> None:
    host, port = broker.answer["host"], broker.answer["port"]
    async with Proxy(host, port, rewrite=shout) as proxy, client(host, port, "s") as listener:
        listener.writer.write(subscribe("x/#").encode())
        await listener.frame()
        async with client(proxy.host, proxy.port, "p") as me:
            await me.publish("x/y", b"quiet")
            await me.publish("x/z", b"quiet")
        heard = [parse_publish(await listener.frame(), LEVEL_311).payload for _ in range(2)]
    assert heard == [b"QUIET" * 100, b"quiet"]


async def test_a_paused_proxy_is_silent_and_loses_nothing(broker: Process) -> None:
    async with (
        Proxy(broker.answer["host"], broker.answer["port"]) as proxy,
        client(proxy.host, proxy.port, "p") as me,
    ):
        proxy.pause()
        publishing = asyncio.create_task(me.publish("x/y", b"1"), name="publish")
        done, _ = await asyncio.wait([publishing], timeout=0.3)
        assert not done
        proxy.resume()
        await asyncio.wait_for(publishing, 5)


async def test_a_cut_proxy_resets_and_refuses_until_it_is_resumed(broker: Process) -> None:
    async with Proxy(broker.answer["host"], broker.answer["port"]) as proxy:
        async with client(proxy.host, proxy.port, "p") as me:
            proxy.cut(refuse=True)
            with pytest.raises((OSError, EOFError)):
                await me.frame()
        with pytest.raises((OSError, EOFError)):
            async with client(proxy.host, proxy.port, "p"):
                pass
        proxy.resume()
        async with client(proxy.host, proxy.port, "p") as me:
            await me.publish("x/y", b"1")


async def test_a_proxy_to_nowhere_and_a_client_that_speaks_no_mqtt_do_no_harm(broker: Process) -> None:
    host, port = broker.answer["host"], broker.answer["port"]
    async with Proxy(host, port, rewrite=shout) as proxy:
        reader, writer = await asyncio.open_connection(proxy.host, proxy.port)
        writer.write(b"\x30\xff\xff\xff\xff\xff")
        async with asyncio.timeout(5):
            assert await reader.read() == b""
        writer.close()
        os.kill(broker.popen.pid, signal.SIGKILL)
        await broker.gone()
        with pytest.raises((OSError, EOFError)):
            async with client(proxy.host, proxy.port, "p"):
                pass


@pytest.mark.parametrize("still", list(Direction))
async def test_a_half_open_proxy_passes_one_way_only(broker: Process, still: Direction) -> None:
    host, port = broker.answer["host"], broker.answer["port"]
    async with Proxy(host, port) as proxy, client(host, port, "s") as listener:
        listener.writer.write(subscribe("x/#").encode())
        await listener.frame()
        async with client(proxy.host, proxy.port, "p") as me:
            proxy.pause(still)
            publishing = asyncio.create_task(me.publish("x/y", b"1"), name="publish")
            heard = asyncio.create_task(listener.frame(), name="hear")
            if still is Direction.DOWN:
                await asyncio.wait_for(asyncio.shield(heard), 5)
            done, _ = await asyncio.wait([publishing, heard], timeout=0.3)
            assert done == (set() if still is Direction.UP else {heard})
            proxy.resume()
            await asyncio.wait_for(asyncio.gather(publishing, heard), 5)


async def test_a_slow_proxy_takes_its_time_and_loses_nothing(broker: Process) -> None:
    loop = asyncio.get_running_loop()
    async with (
        Proxy(broker.answer["host"], broker.answer["port"]) as proxy,
        client(proxy.host, proxy.port, "p") as me,
    ):
        proxy.slow(8000)
        began = loop.time()
        await me.publish("x/y", b"1" * 4000)
        assert loop.time() - began >= 0.5
        proxy.slow(1000)
        publishing = asyncio.create_task(me.publish("x/y", b"1" * 40_000), name="publish")
        done, _ = await asyncio.wait([publishing], timeout=0.3)
        assert not done
        proxy.resume()
        await asyncio.wait_for(publishing, 5)
