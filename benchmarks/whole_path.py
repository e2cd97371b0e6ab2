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

from benchmarks import _batches, _stage
from cloud_ingest.decode import Accepted, decode
from cloud_ingest.line_protocol import LineEncoder
from cloud_ingest.rows import RowMaker

if TYPE_CHECKING:
    from collections.abc import Sequence

BATCHES: Final = 4800
BATCHES_A_BODY: Final = 50
ASKED: Final = 0.7


def _bodies(gateways: Sequence[Sequence[bytes]]) -> list[bytes]:
    """Return the same rows as ready bodies for `/write`."""
    maker, encoder = RowMaker(), LineEncoder()
    lines: list[bytes] = []
    for gateway, payloads in enumerate(gateways):
        topic = _batches.topic(gateway)
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


def run() -> list[dict[str, Any]]:
    """Return the figure."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        raise RuntimeError("needs two cores: one for the database, one for more than that")
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="campus-bench-")))
        influx = stack.enter_context(_stage.influxd(folder, core=cores[-1]))
        mqtt = stack.enter_context(_stage.mosquitto(folder))
        gateways, values = _batches.make_gateways(BATCHES)
        bodies = _bodies(gateways)
        before_s = asyncio.run(_post(influx, "before", bodies))
        stack.enter_context(_stage.ingest(folder, mqtt=mqtt, store=f"influx1://{influx}/path"))
        path_s = min(_batches.publish(mqtt, payloads) for payloads in (gateways, _batches.again(gateways)))
        after_s = asyncio.run(_post(influx, "after", bodies))
    limit = values / min(before_s, after_s)
    return [
        _stage.at_least(
            "whole path to InfluxDB 1.6, of its own rate", values / path_s, "values/s", limit, ASKED, compare="ratio"
        )
    ]


if __name__ == "__main__":
    for row in run():
        print(row)
