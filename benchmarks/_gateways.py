"""Stand-ins for thousands of gateways: one bare MQTT connection each, in one process.

Each does on the wire what an agent does: its own client id, a will and a retained birth, a subscription to its own
`stored`, batches of QoS 1, at most four unacknowledged, the oldest alone after a reconnect or the ingest's "I am here",
again after 30 s of silence, nothing new while it is told to wait.
What an agent does not is encrypt: these connections are plain TCP.
"""

from __future__ import annotations

import asyncio
import random
import resource
import secrets
import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, cast

from benchmarks._mqtt import (
    CONNACK,
    DISCONNECT,
    PUBLISH,
    SUBACK,
    connect_packet,
    next_packet,
    puback_packet,
    publish_packet,
    subscribe_packet,
)
from telemetry.ack import decode_ack
from telemetry.batch import SCHEMA, Batch, BatchSample, DeviceBlock, encode_batch, pack
from telemetry.sample import DataClass
from telemetry.topics import Channel, Flow, gateway_topic, telemetry_topic

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

POINTS: Final = ("temperature", "humidity", "co2", "pm2_5", "noise", "illuminance")
PERIOD_S: Final = 10.0
SAMPLES: Final = 10
"""In a batch: one device at 1 Hz."""
_ROOMS_A_SCHOOL: Final = 60
_WINDOW: Final = 4
_SILENCE_S: Final = 30.0
_HELLO_JITTER_S: Final = 1.0
_SPARE_FILES: Final = 256
_S: Final = 1_000_000_000


def need_files(connections: int) -> None:
    """Allow this process, and the broker that it starts, so many connections. Raises RuntimeError saying how to."""
    needed = connections + _SPARE_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if resource.RLIM_INFINITY not in (soft, hard) and hard < needed:
        raise RuntimeError(
            f"{connections} connections need {needed} open files, and only {hard} are allowed:"
            f" run `ulimit -n {needed}` as root before, or raise LimitNOFILE= of the service that runs this"
        )
    if soft != resource.RLIM_INFINITY and soft < needed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


@dataclass(slots=True)
class Waiting:
    """A batch that is not known to be stored."""

    number: int
    closed_at: float
    """By the monotonic clock."""
    packet: bytes
    sent_at: float = 0.0


@dataclass(slots=True)
class Tally:
    """What all gateways saw together."""

    latencies_s: list[float] = field(default_factory=list)
    """From a batch's close to its acknowledgement at the gateway."""
    closed: int = 0
    refused: int = 0
    hung_up: int = 0


class Gateway(asyncio.Protocol):
    """One gateway; connected again with `Fleet.connect`, it goes on where it was."""

    def __init__(self, number: int, tally: Tally) -> None:
        self.site = f"school-{number // _ROOMS_A_SCHOOL}"
        self.name = f"gw-{number}"
        self.tally = tally
        self.served = asyncio.Event()
        """A batch was acknowledged since the last connection was made."""
        self.next_number = 0
        self.waiting: deque[Waiting] = deque()
        self._epoch = secrets.token_hex(8)
        self._window = 1
        self._transport: asyncio.Transport | None = None
        self._ready = False
        self._paused_until = 0.0
        self._received = bytearray()
        self._topic = telemetry_topic(self.site, self.name, DataClass.OPEN, Flow.LIVE)
        self._device = f"air-{number}"

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._received.clear()
        self._afresh()
        self.served.clear()
        status = gateway_topic(self.site, self.name, Channel.STATUS)
        self._transport.write(
            connect_packet(f"{self.site}.{self.name}", keepalive_s=60, will=(status, b'{"state":"offline"}'))
        )

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the signature is asyncio's
        if self._transport is not None:
            self.tally.hung_up += 1
        self._transport, self._ready = None, False

    def data_received(self, data: bytes) -> None:
        self._received += data
        while True:
            end, start = next_packet(self._received)
            if end == 0:
                return
            packet = bytes(self._received[:end])
            del self._received[:end]
            self._take(packet, start)

    def close_batch(self, *, age_s: float = 0.0) -> None:
        """Make a batch of the last ten seconds before `age_s` ago, and send it as soon as may be."""
        closed_ns = time.time_ns() - int(age_s * _S)
        samples = [
            BatchSample(
                acquired_at_ns=closed_ns - (SAMPLES - index) * _S,
                values={name: round(random.uniform(10, 90), 1) for name in POINTS},  # noqa: S311 - test data
            )
            for index in range(SAMPLES)
        ]
        block = DeviceBlock(
            device=self._device,
            room=self.name.replace("gw", "r"),
            profile="modbus/multisensor_6in1@1.0.0",
            measurement="environment",
            quantities={name: name for name in POINTS},
            samples=samples,
        )
        batch = Batch(
            schema=SCHEMA,
            site=self.site,
            gateway=self.name,
            epoch=self._epoch,
            number=self.next_number,
            data_class=DataClass.OPEN,
            devices=[block],
        )
        packet = publish_packet(self._topic, self.next_number, pack(encode_batch(batch)))
        self.waiting.append(Waiting(number=self.next_number, closed_at=time.monotonic(), packet=packet))
        self.next_number += 1
        self.tally.closed += 1
        self._send()

    def has_before(self, number: int) -> bool:
        """Tell whether a batch older than `number` waits."""
        return bool(self.waiting) and self.waiting[0].number < number

    def cut(self) -> None:
        """Lose the connection without a goodbye, as by a power cut of the school's network."""
        transport, self._transport, self._ready = self._transport, None, False
        if transport is not None:
            transport.abort()

    def leave(self) -> None:
        """Say goodbye and hang up."""
        transport, self._transport, self._ready = self._transport, None, False
        if transport is not None:
            transport.write(DISCONNECT)
            transport.close()

    def send_again(self, now: float) -> None:
        """Send what was not acknowledged for too long."""
        for batch in self.waiting:
            if self._ready and batch.sent_at and now - batch.sent_at > _SILENCE_S and self._transport is not None:
                batch.sent_at = now
                self._transport.write(batch.packet)

    def _send(self) -> None:
        if not self._ready or self._transport is None or asyncio.get_running_loop().time() < self._paused_until:
            return
        for index, batch in enumerate(self.waiting):
            if index >= self._window:
                return
            if not batch.sent_at:
                batch.sent_at = time.monotonic()
                self._transport.write(batch.packet)

    def _take(self, packet: bytes, start: int) -> None:
        kind = packet[0] & 0xF0
        if self._transport is None:
            return
        if kind == CONNACK:
            if packet[start + 1]:
                raise RuntimeError(f"the broker refuses {self.name} with code {packet[start + 1]}")
            self._transport.write(subscribe_packet(gateway_topic(self.site, self.name, Channel.STORED), qos=1))
        elif kind == SUBACK:
            birth = b'{"schema":"campus.status/1","state":"online","epoch":"%s"}' % self._epoch.encode()
            topic = gateway_topic(self.site, self.name, Channel.STATUS)
            self._transport.write(publish_packet(topic, 65534, birth, retain=True))
            self._ready = True
            self._send()
        elif kind == PUBLISH:
            size = int.from_bytes(packet[start : start + 2], "big")
            body = start + 2 + size
            if packet[0] & 0x06:
                self._transport.write(puback_packet(packet[body : body + 2]))
                body += 2
            self._acknowledged(packet[body:])

    def _acknowledged(self, payload: bytes) -> None:
        ack = decode_ack(payload)
        if ack.epoch != self._epoch:
            return
        self.tally.refused += len(ack.refused)
        now = time.monotonic()
        for first, last in ack.stored:
            for batch in [batch for batch in self.waiting if first <= batch.number <= last]:
                self.waiting.remove(batch)
                self.tally.latencies_s.append(now - batch.closed_at)
            self.served.set()
            self._window = _WINDOW
        loop = asyncio.get_running_loop()
        if ack.retry_after_s:
            self._paused_until = loop.time() + ack.retry_after_s - 0.001
            loop.call_later(ack.retry_after_s, self._send)
        elif not ack.stored and not ack.refused:
            # The ingest is there, and may have lost what was on its way.
            self._afresh()
            loop.call_later(random.uniform(0, _HELLO_JITTER_S), self._send)  # noqa: S311 - jitter
            return
        self._send()

    def _afresh(self) -> None:
        """Have everything that waits sent again, the oldest alone first."""
        self._window = 1
        for batch in self.waiting:
            batch.sent_at = 0.0


class Fleet:
    """Many gateways against one broker."""

    def __init__(self, host: str, port: int, count: int) -> None:
        self.tally = Tally()
        self.gateways = [Gateway(number, self.tally) for number in range(count)]
        self._host, self._port = host, port

    async def connect(self, gateways: Iterable[Gateway], *, a_second: float | None = None) -> None:
        """Connect, so many a second or all at once; returns when the kernel has accepted all connections."""
        loop = asyncio.get_running_loop()
        started = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for number, gateway in enumerate(gateways):
                if a_second is not None:
                    await asyncio.sleep(max(0.0, started + number / a_second - time.monotonic()))
                group.create_task(
                    loop.create_connection(lambda one=gateway: one, self._host, self._port),  # type: ignore[misc]
                    name=f"connect {gateway.name}",
                )

    async def run(self, seconds: float, *, period_s: float = PERIOD_S) -> None:
        """Have each gateway close a batch each period, at a moment of its own, for so long."""
        turns = [(random.uniform(0, period_s), gateway) for gateway in self.gateways]  # noqa: S311 - jitter
        turns.sort(key=lambda turn: turn[0])
        started, lap = time.monotonic(), 0.0
        while True:
            for phase, gateway in turns:
                due = lap + phase
                if due >= seconds:
                    return
                late = time.monotonic() - started - due
                if late < 0:
                    await asyncio.sleep(-late)
                gateway.close_batch()
            lap += period_s
            now = time.monotonic()
            for gateway in self.gateways:
                gateway.send_again(now)

    async def settled(self, gateways: Sequence[Gateway], deadline_s: float) -> None:
        """Wait until nothing of these is unacknowledged. Raises TimeoutError."""
        async with asyncio.timeout(deadline_s):
            while any(gateway.waiting for gateway in gateways):
                now = time.monotonic()
                for gateway in gateways:
                    gateway.send_again(now)
                await asyncio.sleep(0.05)

    async def leave(self) -> None:
        """Disconnect all, in good order."""
        for gateway in self.gateways:
            gateway.leave()
        await asyncio.sleep(0)
