"""Fills a real small disk under a buffer, and gives the space back: run by test_full_disk.py. Prints JSON."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

from edge_agent.buffer import read_status
from simulators.torture.disk import Unavailable, full, own_mounts, small_disk
from tests.edge_agent.buffer.helpers import ack, drain, event, opened, sample, until

CAP = 8_000_000


async def main(folder: Path) -> dict[str, object]:
    said: dict[str, object] = {}
    came = 0
    async with opened(folder / "buffer", max_bytes=CAP, window_s=0.2, max_memory_bytes=60_000) as (buffer, counters):
        for value in range(50):
            await buffer.append(event(handle=f"{value:032x}"))
            await buffer.append(sample(value=float(value)))
            came += 2
        await until(lambda: buffer.status().memory_batches == 0)
        before = buffer.status().values
        with full(folder):
            # What is preallocated still takes some; then the disk is full.
            while buffer.status().disk_error is None or counters.get("buffer.dropped_values.samples") == 0:
                for value in range(400):
                    await buffer.append(sample(value=value * 1.2345678901234567))
                    came += 1
                await buffer.append(event(handle=f"{came:032x}"))
                came += 1
                await asyncio.sleep(0.02)
            said["error"] = buffer.status().disk_error
            said["memory_bytes"] = buffer._intake.memory_bytes
            said["hours_left"] = buffer.status().hours_left
            live = buffer.take_live() or await buffer.take_backfill()
            said["goes_on"] = live is not None
        await until(lambda: buffer.status().disk_error is None and buffer.status().memory_batches == 0, 40.0)
        said["disk_bytes"] = buffer.status().disk_bytes
        said["stored_before"] = before
        dropped = {name: n for name, n in counters.snapshot().items() if name.startswith("buffer.dropped_values")}
        said["dropped"] = dropped
        said["lost_track_of"] = came - sum(dropped.values()) - buffer.status().values
        said["on_disk"] = read_status(folder / "buffer", max_bytes=CAP).values
    async with opened(folder / "buffer", max_bytes=CAP) as (buffer, counters):
        batches = await drain(buffer)
        said["drained"] = sum(batch.values for batch in batches)
        said["expected"] = came - sum(dropped.values())
        said["lost"] = counters.get("buffer.lost_values")
        buffer.acknowledge(ack(*batches))
        await until(lambda: buffer.status().batches == 0)
    return said


if __name__ == "__main__":
    try:
        own_mounts()
        with small_disk(Path(sys.argv[1])):
            print(json.dumps(asyncio.run(main(Path(sys.argv[1])))))  # noqa: T201
    except Unavailable as error:
        print(json.dumps({"unavailable": str(error)}))  # noqa: T201
