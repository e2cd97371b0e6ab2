"""What the buffer makes durable: samples spilled without any acknowledgement, and single events.

Beside them stands what the bare disk does: a loop that appends and fdatasyncs the same bytes in as many groups.
Between the two stand the JSON and gzip of the batches. The disk is the one that holds the working directory: where its
fdatasync takes microseconds (a virtual disk that flushes nothing), the figures tell the cost of the program, not of a
flash card. The values are random, since regular ones compress better than a room does.
"""

from __future__ import annotations

import asyncio
import os
import random
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any, Final

import msgspec

from edge_agent.buffer import Buffer, read_status
from telemetry.batch import DeviceInfo
from telemetry.counters import Counters
from telemetry.sample import Admitted, DataClass, Durability, Quality

DEVICES: Final = 20
POINTS: Final = ("temperature", "humidity", "co2", "pm2_5", "noise", "illuminance")
SAMPLES: Final = 120_000
WINDOW_S: Final = 0.5
"""Shorter than in use, so that there are several spills."""
EVENTS: Final = 200
NEEDED_VALUES_S: Final = 50_000
EVENT_BUDGET_MS: Final = 50.0
BLOCK: Final = 4096


def infos() -> dict[str, DeviceInfo]:
    """Return twenty devices of six points."""
    quantities = {point: point for point in POINTS}
    names = [f"r{number}-air" for number in range(DEVICES)]
    return {
        name: DeviceInfo(
            device=name, room=name[:-4], profile="bench/air@1.0.0", measurement="environment", quantities=quantities
        )
        for name in names
    }


def make_sample(number: int, chance: random.Random, *, event: bool = False) -> Admitted:
    return Admitted(
        device=f"r{number % DEVICES}-air",
        acquired_at_ns=time.time_ns(),
        data_class=DataClass.OPEN,
        purpose="environment",
        durability=Durability.EVENT if event else Durability.SAMPLE,
        values={point: round(chance.gauss(500, 150), 2) for point in POINTS},
        bad={},
        quality=Quality.GOOD,
        handle=None,
    )


async def _measure(folder: Path) -> tuple[float, int, int, list[float]]:
    """Return seconds for all samples to be durable, bytes, groups, and the events' latencies in seconds."""
    counters = Counters()
    buffer = await Buffer.open(
        folder,
        site="bench",
        gateway="gw-1",
        simulated=True,
        window_s=WINDOW_S,
        max_bytes=1_000_000_000,
        devices=infos(),
        counters=counters,
    )
    latencies = []
    chance = random.Random(1)  # noqa: S311
    samples = [make_sample(number, chance) for number in range(SAMPLES)]
    async with asyncio.TaskGroup() as group:
        group.create_task(buffer.run(), name="buffer")
        for number in range(EVENTS):
            started = time.perf_counter()
            await buffer.append(make_sample(number, chance, event=True))
            latencies.append(time.perf_counter() - started)
        started = time.perf_counter()
        for number in range(SAMPLES):
            await buffer.append(msgspec.structs.replace(samples[number], acquired_at_ns=time.time_ns()))
            if not number % 100:
                await asyncio.sleep(0)

        await buffer.close()
        took = time.perf_counter() - started
    there = read_status(folder, max_bytes=1).values
    if there != (SAMPLES + EVENTS) * len(POINTS):
        raise RuntimeError(f"{there} values are on disk instead of {(SAMPLES + EVENTS) * len(POINTS)}")
    written = sum(
        len(path.read_bytes().rstrip(b"\0")) for path in (folder / "samples").glob("*.log") if path.stat().st_size
    )
    return took, written, max(1, counters.get("buffer.syncs.samples")), latencies


def _bare(folder: Path, size: int, groups: int) -> float:
    """Return seconds for appending `size` bytes in `groups`, each with an fdatasync, to a preallocated file."""
    part = os.urandom(size // groups)
    descriptor = os.open(folder / "bare", os.O_CREAT | os.O_WRONLY)
    try:
        os.posix_fallocate(descriptor, 0, size)
        os.fsync(descriptor)
        started = time.perf_counter()
        for _ in range(groups):
            os.write(descriptor, part)
            os.fdatasync(descriptor)
        return time.perf_counter() - started
    finally:
        os.close(descriptor)


def run() -> list[dict[str, Any]]:
    """Measure; the folder is removed again."""
    with tempfile.TemporaryDirectory(prefix="buffer-bench-", dir=Path.cwd()) as name:
        folder = Path(name)
        took, size, groups, latencies = asyncio.run(_measure(folder / "buffer"))
        bare = _bare(folder, size, groups)
        bare_event = _bare(folder, EVENTS * BLOCK, EVENTS) / EVENTS
    values = SAMPLES * len(POINTS)
    p95_ms = statistics.quantiles(latencies, n=20)[-1] * 1000
    return [
        {
            "name": "values made durable while spilling",
            "figure": values / took,
            "unit": "values/s",
            "limit": NEEDED_VALUES_S,
            "ratio": values / took / NEEDED_VALUES_S,
        },
        {
            "name": "the same, beside a bare loop that appends and fdatasyncs the same bytes in equal groups",
            "figure": values / took,
            "unit": "values/s",
            "limit": values / bare,
            "ratio": bare / took,
            "at_least": 0.0,
        },
        {
            "name": "event, append to durable, p95",
            "figure": p95_ms,
            "unit": "ms",
            "limit": EVENT_BUDGET_MS,
            "ratio": EVENT_BUDGET_MS / p95_ms,
        },
        {
            "name": "event, append to durable, median, beside a bare 4 KiB append and fdatasync",
            "figure": statistics.median(latencies) * 1000,
            "unit": "ms",
            "limit": bare_event * 1000,
            "ratio": bare_event / statistics.median(latencies),
            "at_least": 0.0,
        },
    ]
