"""The whole path into InfluxDB 1.x: 48 gateways' batches to acknowledgements, against ready lines in the same run.

The database is pinned to one core in both; broker, ingest and the gateways' stand-in run where the kernel puts them.
The limit is the better of two runs, before and after, of ready bodies posted to `/write`, as large as the ingest's;
the figure is the better of two runs too.
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
import msgspec

from benchmarks import _stage
from benchmarks._load import Load, publish_packet
from benchmarks.ingest_codec import make_batches
from cloud_ingest.decode import Accepted, decode
from cloud_ingest.line_protocol import LineEncoder
from cloud_ingest.rows import RowMaker
from telemetry.batch import decode_batch, encode_batch, pack, unpack
from telemetry.sample import DataClass
from telemetry.topics import Channel, Flow, gateway_topic, telemetry_topic

if TYPE_CHECKING:
    from collections.abc import Sequence

GATEWAYS: Final = 48
BATCHES: Final = 4800
IN_FLIGHT: Final = 4
BATCHES_A_BODY: Final = 50
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


def _again(gateways: Sequence[Sequence[bytes]]) -> list[list[bytes]]:
    """Return the same batches under new numbers, since the ingest would know them."""
    again = []
    for payloads in gateways:
        batches = [decode_batch(unpack(payload)) for payload in payloads]
        renumbered = [msgspec.structs.replace(batch, epoch="fedcba9876543210") for batch in batches]
        again.append([pack(encode_batch(batch)) for batch in renumbered])
    return again


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


def _publish(mqtt: str, gateways: Sequence[Sequence[bytes]]) -> float:
    """Return the seconds from the first publish to the last acknowledgement."""
    packets = {
        f"gw-{gateway}": [
            publish_packet(telemetry_topic(SITE, f"gw-{gateway}", DataClass.OPEN, Flow.LIVE), number, payload)
            for number, payload in enumerate(payloads)
        ]
        for gateway, payloads in enumerate(gateways)
    }
    load = Load("::1", int(mqtt.rpartition(":")[2]), gateway_topic(SITE, "+", Channel.STORED))
    started = time.monotonic()
    load.send(packets, in_flight=IN_FLIGHT)
    span_s = time.monotonic() - started
    load.close()
    return span_s


def run() -> list[dict[str, Any]]:
    """Return the figure."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        raise RuntimeError("needs two cores: one for the database, one for more than that")
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="campus-bench-")))
        influx = stack.enter_context(_stage.influxd(folder, core=cores[-1]))
        mqtt = stack.enter_context(_stage.mosquitto(folder))
        gateways, values = _payloads(time.time_ns() - 86_400 * 1_000_000_000)
        bodies = _bodies(gateways)
        before_s = asyncio.run(_post(influx, "before", bodies))
        store = f"influx1://{influx}/path"
        ingest = [str(_stage.PROGRAMS / "cloud-ingest"), "run", "--mqtt", mqtt, "--store", store]
        log = folder / "ingest.log"
        stack.enter_context(_stage.process([*ingest, "--data", str(folder / "ingest")], log))
        _stage.wait_until(lambda: b"service: ready" in log.read_bytes(), "the ingest is ready")
        path_s = min(_publish(mqtt, payloads) for payloads in (gateways, _again(gateways)))
        after_s = asyncio.run(_post(influx, "after", bodies))
    limit = values / min(before_s, after_s)
    return [_stage.at_least("whole path to InfluxDB 1.6, of its own rate", values / path_s, "values/s", limit, 0.6)]


if __name__ == "__main__":
    for row in run():
        print(row)
