"""What the publisher's tests share: an outbox, an ingest that acknowledges, a proxy that can go silent."""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import aiomqtt

from edge_agent.publisher import Broker, Publisher
from telemetry.ack import Ack, decode_ack, encode_ack
from telemetry.counters import Counters
from telemetry.ranges import numbers_in, to_ranges
from telemetry.sample import DataClass
from telemetry.topics import Channel, Flow, all_telemetry, gateway_topic, parse_topic

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from tests.servers import Server

EPOCH = "00112233445566ff"
SITE, GATEWAY = "school", "gw-1"
STORED = gateway_topic(SITE, GATEWAY, Channel.STORED)
STATUS = gateway_topic(SITE, GATEWAY, Channel.STATUS)
DEVICES = gateway_topic(SITE, GATEWAY, Channel.DEVICES)


@dataclass(frozen=True, slots=True, kw_only=True)
class FakeBatch:
    number: int
    epoch: str = EPOCH
    data_class: DataClass = DataClass.OPEN

    @property
    def payload(self) -> bytes:
        return f'{{"epoch":"{self.epoch}","batch":{self.number}}}'.encode()


class FakeOutbox:
    """Lists of batches; remembers what was acknowledged."""

    def __init__(self) -> None:
        self.epoch = EPOCH
        self.live: list[FakeBatch] = []
        self.backfill: list[FakeBatch] = []
        self.taken: dict[int, FakeBatch] = {}
        self.stored: list[int] = []
        self.acks: list[Ack] = []
        self._notify: Callable[[], None] = lambda: None

    def put(self, *numbers: int, backfill: bool = False) -> None:
        (self.backfill if backfill else self.live).extend(FakeBatch(number=number) for number in numbers)
        self._notify()

    def on_ready(self, notify: Callable[[], None]) -> None:
        self._notify = notify

    def _take(self, batches: list[FakeBatch]) -> FakeBatch | None:
        if not batches:
            return None
        batch = batches.pop(0)
        self.taken[batch.number] = batch
        return batch

    def take_live(self) -> FakeBatch | None:
        return self._take(self.live)

    async def take_backfill(self) -> FakeBatch | None:
        await asyncio.sleep(0)
        return self._take(self.backfill)

    def acknowledge(self, ack: Ack) -> None:
        self.acks.append(ack)
        if ack.epoch != self.epoch:
            return
        for number in list(numbers_in(ack.stored, among=list(self.taken))):
            del self.taken[number]
            self.stored.append(number)


class FakeIngest:
    """Subscribes to telemetry, keeps what it hears, acknowledges unless it is told to be mute."""

    def __init__(self, client: aiomqtt.Client) -> None:
        self._client = client
        self.heard: list[tuple[Flow, int, bytes]] = []
        self.mute = False
        self.statuses: list[dict[str, Any]] = []

    async def listen(self) -> None:
        async for message in self._client.messages:
            topic = parse_topic(str(message.topic))
            assert topic is not None
            assert isinstance(message.payload, bytes)
            if topic.channel is Channel.TELEMETRY:
                assert topic.flow is not None
                number = int(message.payload.rpartition(b":")[2][:-1])
                self.heard.append((topic.flow, number, message.payload))
                if not self.mute:
                    await self.say(number)

    async def say(self, *numbers: int, epoch: str = EPOCH, retry_after_s: float = 0.0) -> None:
        ack = Ack(epoch=epoch, time_ns=time.time_ns(), stored=to_ranges(numbers), retry_after_s=retry_after_s)
        assert decode_ack(encode_ack(ack)) == ack
        # Without a time-out of aiomqtt's own: asyncio.wait_for of Python 3.11 may swallow a cancellation.
        await self._client.publish(STORED, encode_ack(ack), qos=1, timeout=math.inf)

    @property
    def numbers(self) -> list[int]:
        return [number for _, number, _ in self.heard]


@contextlib.asynccontextmanager
async def ingest(server: Server) -> AsyncIterator[FakeIngest]:
    async with aiomqtt.Client(server.host, server.port, identifier="ingest") as client, asyncio.TaskGroup() as group:
        await client.subscribe(all_telemetry(), qos=1)
        fake = FakeIngest(client)
        listening = group.create_task(fake.listen(), name="ingest")
        try:
            yield fake
        finally:
            listening.cancel()


@contextlib.asynccontextmanager
async def published(
    broker: Broker, outbox: FakeOutbox | None = None, **options: Any
) -> AsyncIterator[tuple[Publisher, FakeOutbox, Counters]]:
    """Run a publisher; stopped gracefully at the end."""
    outbox = outbox or FakeOutbox()
    counters = Counters()
    settings: dict[str, Any] = {
        "broker": broker,
        "site": SITE,
        "gateway": GATEWAY,
        "boot_id": "boot",
        "simulated": True,
        "window_s": 2.0,
        "counters": counters,
    }
    on_command = options.pop("on_command", None)
    publisher = Publisher(outbox, **(settings | options))
    publisher.on_command = on_command
    async with asyncio.TaskGroup() as group:
        group.create_task(publisher.run(), name="publisher")
        try:
            yield publisher, outbox, counters
        finally:
            await publisher.stop()


def broker_of(server: Server, **options: Any) -> Broker:
    return Broker(host=server.host, port=server.port, **options)


async def until(condition: Callable[[], bool], timeout_s: float = 10.0) -> None:
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.005)


class Proxy:
    """Forwards TCP until it is told to swallow everything: a half-open connection, or a cable that is cut."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self.silent = False
        self.port = 0
        self.connections = 0
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    @property
    def broker(self) -> Broker:
        return Broker(host="127.0.0.1", port=self.port)

    async def cut(self) -> None:
        """Break all connections; new ones may come."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        far_reader, far_writer = await asyncio.open_connection(*self._target)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._copy(reader, far_writer))
                group.create_task(self._copy(far_reader, writer))
        finally:
            writer.close()
            far_writer.close()
            self._tasks.discard(task)

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            if not self.silent:
                writer.write(data)
        if not self.silent:
            writer.close()
