"""The whole path into InfluxDB 1.x: 16 gateways' batches to acknowledgements, against ready lines in the same run.

The database has one core to itself in both; everything else (broker, ingest, the gateways' stand-in) shares the other.
The limit is the better of two runs, before and after, of ready bodies posted to `/write`, as large as the ingest's.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import aiohttp
import aiomqtt
import msgspec

from benchmarks import _stage
from benchmarks.ingest_codec import make_batches
from cloud_ingest.decode import Accepted, decode
from cloud_ingest.line_protocol import LineEncoder
from cloud_ingest.rows import RowMaker
from telemetry.ack import decode_ack
from telemetry.batch import decode_batch, encode_batch, pack
from telemetry.sample import DataClass
from telemetry.topics import Channel, Flow, gateway_topic, telemetry_topic

if TYPE_CHECKING:
    from collections.abc import Sequence

GATEWAYS: Final = 16
BATCHES: Final = 2400
IN_FLIGHT: Final = 4
BATCHES_A_BODY: Final = 20
SITE: Final = "demo-school"


def _payloads(start_ns: int) -> tuple[list[list[bytes]], int]:
    """Return each gateway's payloads, packed as an agent packs them, and the values in all."""
    plain, values = make_batches(BATCHES, start_ns=start_ns)
    gateways: list[list[bytes]] = [[] for _ in range(GATEWAYS)]
    for number, payload in enumerate(plain):
        mine = gateways[number % GATEWAYS]
        batch = msgspec.structs.replace(decode_batch(payload), gateway=f"gw-{number % GATEWAYS}", number=len(mine))
        mine.append(pack(encode_batch(batch)))
    return gateways, values


def _bodies(gateways: Sequence[Sequence[bytes]]) -> list[bytes]:
    """Return the same rows as ready bodies for `/write`."""
    maker, encoder = RowMaker(), LineEncoder()
    lines: list[bytes] = []
    for gateway, payloads in enumerate(gateways):
        topic = telemetry_topic(SITE, f"gw-{gateway}", DataClass.OPEN, Flow.LIVE)
        for payload in payloads:
            decoded = decode(topic, payload, maker)
            if not isinstance(decoded, Accepted) or decoded.refused:
                raise RuntimeError("the benchmark's own batch is refused")
            lines.append(encoder.encode(decoded.rows))
    return [b"\n".join(lines[at : at + BATCHES_A_BODY]) for at in range(0, len(lines), BATCHES_A_BODY)]


async def _post(influx: str, database: str, bodies: Sequence[bytes]) -> float:
    """Return the seconds that the database takes for ready bodies, two at a time."""
    async with aiohttp.ClientSession() as session:
        await session.post(f"http://{influx}/query", params={"q": f'CREATE DATABASE "{database}"'})
        queue = iter(bodies)

        async def worker() -> None:
            for body in queue:
                url = f"http://{influx}/write?db={database}&precision=ns"
                async with session.post(url, data=body) as answer:
                    if answer.status != 204:
                        raise RuntimeError(await answer.text())

        started = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for _ in range(2):
                group.create_task(worker())
        return time.monotonic() - started


class _Gateway:
    """Sends its batches, at most four unacknowledged, until all are stored."""

    def __init__(self, name: str, payloads: Sequence[bytes]) -> None:
        self.name = name
        self._payloads = payloads
        self._waiting: set[int] = set()
        self._free = asyncio.Semaphore(IN_FLIGHT)
        self.done = asyncio.Event()
        self._left = len(payloads)

    async def send(self, client: aiomqtt.Client) -> None:
        topic = telemetry_topic(SITE, self.name, DataClass.OPEN, Flow.LIVE)
        for number, payload in enumerate(self._payloads):
            await self._free.acquire()
            self._waiting.add(number)
            await client.publish(topic, payload, qos=1)

    def take(self, payload: bytes) -> None:
        ack = decode_ack(payload)
        if ack.refused:
            raise RuntimeError(f"refused: {ack.refused[0].reason}")
        for first, last in ack.stored:
            for number in range(first, last + 1):
                if number in self._waiting:
                    self._waiting.remove(number)
                    self._left -= 1
                    self._free.release()
        if not self._left:
            self.done.set()


async def _publish(mqtt: str, gateways: Sequence[Sequence[bytes]]) -> float:
    """Return the seconds from the first publish to the last acknowledgement."""
    port = int(mqtt.rpartition(":")[2])
    senders = {f"gw-{number}": _Gateway(f"gw-{number}", payloads) for number, payloads in enumerate(gateways)}
    async with aiomqtt.Client("::1", port, max_inflight_messages=GATEWAYS * IN_FLIGHT) as client:
        client.pending_calls_threshold = GATEWAYS * IN_FLIGHT
        await client.subscribe(gateway_topic(SITE, "+", Channel.STORED), qos=1)

        async def listen() -> None:
            async for message in client.messages:
                senders[str(message.topic).split("/")[3]].take(bytes(message.payload))

        listening = asyncio.create_task(listen())
        started = time.monotonic()
        async with asyncio.timeout(120), asyncio.TaskGroup() as group:
            for sender in senders.values():
                group.create_task(sender.send(client))
                group.create_task(sender.done.wait())
        span_s = time.monotonic() - started
        listening.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await listening
        return span_s


def run() -> list[dict[str, Any]]:
    """Return the figure."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        raise RuntimeError("needs two cores: one for the database, one for the rest")
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="campus-bench-")))
        influx = stack.enter_context(_stage.influxd(folder, core=cores[-1]))
        mqtt = stack.enter_context(_stage.mosquitto(folder, core=cores[0]))
        os.sched_setaffinity(0, {cores[0]})
        gateways, values = _payloads(time.time_ns() - 86_400 * 1_000_000_000)
        bodies = _bodies(gateways)
        before_s = asyncio.run(_post(influx, "before", bodies))
        store = f"influx1://{influx}/path"
        ingest = [str(_stage.PROGRAMS / "cloud-ingest"), "run", "--mqtt", mqtt, "--store", store]
        log = folder / "ingest.log"
        stack.enter_context(_stage.process([*ingest, "--data", str(folder / "ingest")], log, core=cores[0]))
        time.sleep(3)
        path_s = asyncio.run(_publish(mqtt, gateways))
        after_s = asyncio.run(_post(influx, "after", bodies))
    limit = values / min(before_s, after_s)
    return [_stage.at_least("whole path to InfluxDB 1.6, of its own rate", values / path_s, "values/s", limit, 0.6)]


if __name__ == "__main__":
    for row in run():
        print(row)
