"""A listener on the broker: keeps every topic and payload for the leak scan, and what people may watch live.

It sees what any client could see; the verdict does not trust it, only the store and the devices' journals.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections import Counter
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from simulators.demo.frames import (
    CONNACK,
    LEVEL_311,
    PINGREQ,
    PUBLISH,
    SUBACK,
    Splitter,
    connect,
    parse_publish,
    puback,
    subscribe,
)
from telemetry.ack import decode_ack
from telemetry.batch import Batch, decode_batch, unpack
from telemetry.errors import ProtocolError
from telemetry.ranges import numbers_in
from telemetry.topics import Channel, parse_topic

if TYPE_CHECKING:
    from pathlib import Path

    from simulators.demo.frames import Frame
    from telemetry.topics import Topic

_AGAIN_S: Final = 0.3
_CONNECT_S: Final = 5.0
_KEEPALIVE_S: Final = 15
_PATIENCE: Final = 2
_READ_BYTES: Final = 65536
_PENDING_BATCHES: Final = 10_000


class Tap:
    """Subscribes to everything below `campus/`, for ever: `await run()` in a task of its own."""

    def __init__(self, host: str, port: int, *, site: str, file: Path) -> None:
        self.connected = asyncio.Event()
        self.health: dict[str, Any] = {}
        """The gateway's last health document."""
        self.latest: dict[str, tuple[int, dict[str, Any]]] = {}
        """Device → time and values of its last sample."""
        self.first_stored: dict[str, float] = {}
        """Measurement → `time.monotonic()` of the first acknowledgement that names a stored batch with it."""
        self.published: Counter[str] = Counter()
        self.acknowledged: Counter[str] = Counter()
        """Samples by measurement, published and acknowledged, each batch once."""
        self._news = asyncio.Event()
        self._address = (host, port)
        self._site = site
        self._path = file
        self._file: BinaryIO | None = None
        self._pending: dict[tuple[str, int], Counter[str]] = {}
        self._known: dict[tuple[str, int], None] = {}

    @property
    def under_way(self) -> bool:
        """Whether batches were heard that are not acknowledged, as far as this listener knows."""
        return bool(self._pending)

    async def health_since(self, at_ns: int) -> None:
        """Return when a health document of that time or later has come; the caller sets the deadline."""
        while self.health.get("at_ns", 0) < at_ns:
            self._news.clear()
            await self._news.wait()

    def flush(self) -> None:
        """Bring what was heard to the file."""
        if self._file is not None:
            self._file.flush()

    async def run(self) -> None:
        """Listen until cancelled; a lost broker is tried again and again."""
        with self._path.open("ab") as self._file:
            while True:
                with contextlib.suppress(OSError, EOFError, TimeoutError, ProtocolError):
                    await self._listen()
                self.connected.clear()
                await asyncio.sleep(_AGAIN_S)

    async def _listen(self) -> None:
        """Listen over one connection; ends by an error only."""
        async with asyncio.timeout(_CONNECT_S):
            reader, writer = await asyncio.open_connection(*self._address)
        try:
            splitter, silent = Splitter(), 0
            writer.write(connect(f"tap-{self._site}", keepalive_s=_KEEPALIVE_S).encode())
            while True:
                try:
                    async with asyncio.timeout(_KEEPALIVE_S / 3):
                        data = await reader.read(_READ_BYTES)
                except TimeoutError:
                    silent += 1
                    if silent > _PATIENCE:
                        raise
                    writer.write(PINGREQ)
                    continue
                if not data:
                    raise EOFError
                silent = 0
                for frame in splitter.feed(data):
                    self._answer(frame, writer)
                await writer.drain()
        finally:
            writer.transport.abort()

    def _answer(self, frame: Frame, writer: asyncio.StreamWriter) -> None:
        if frame.kind == CONNACK:
            if frame.body[1:] != b"\0":
                raise ProtocolError(f"the broker refuses the listener: {frame.body.hex()}")
            writer.write(subscribe("campus/#").encode())
        elif frame.kind == SUBACK:
            self.connected.set()
        elif frame.kind == PUBLISH:
            publish = parse_publish(frame, LEVEL_311)
            self._keep(self._file, publish.topic, publish.payload)
            owed = puback(publish)
            if owed is not None:
                writer.write(owed.encode())

    def _keep(self, file: BinaryIO | None, topic: str, payload: bytes) -> None:
        if file is None:
            return
        file.write(topic.encode() + b" " + payload + b"\n")
        try:
            plain = unpack(payload)
            if plain is not payload:
                file.write(plain + b"\n")
            parsed = parse_topic(topic)
            if parsed is not None and parsed.site == self._site:
                self._look(parsed, plain)
        except (ProtocolError, ValueError):
            return  # kept for the scan; making sense of it is the ingest's business

    def _look(self, topic: Topic, plain: bytes) -> None:
        match topic.channel:
            case Channel.HEALTH:
                self.health = json.loads(plain)
                self._news.set()
            case Channel.TELEMETRY:
                self._batch(decode_batch(plain))
            case Channel.STORED:
                ack = decode_ack(plain)
                mine = [number for epoch, number in self._pending if epoch == ack.epoch]
                for number in numbers_in(ack.stored, among=mine):
                    samples = self._pending.pop((ack.epoch, number))
                    self.acknowledged += samples
                    for measurement in samples:
                        self.first_stored.setdefault(measurement, time.monotonic())
            case _:
                return

    def _batch(self, batch: Batch) -> None:
        for block in batch.devices:
            for sample in block.samples:
                if sample.acquired_at_ns >= self.latest.get(block.device, (0, {}))[0]:
                    self.latest[block.device] = (sample.acquired_at_ns, dict(sample.values) | dict(sample.bad or {}))
        identity = (batch.epoch, batch.number)
        if identity in self._known:
            return
        samples: Counter[str] = Counter()
        for block in batch.devices:
            samples[block.measurement] += len(block.samples)
        self.published += samples
        self._known[identity] = None
        self._pending[identity] = samples
        if len(self._known) > _PENDING_BATCHES:
            oldest = next(iter(self._known))
            del self._known[oldest]
            self._pending.pop(oldest, None)
