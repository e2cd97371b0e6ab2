"""Appends until it is killed, and says what it did: run by test_crash.py.

Lines: `s VALUE TIME_NS` before a sample is appended, `e VALUE` after an event's append returned, `a VALUE…` before the
batches with these values are acknowledged, `late NS TIME_NS` how long a turn of
the loop and an fsync take.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
import time
from pathlib import Path

from tests.edge_agent.buffer.helpers import ack, event, opened, sample, values_of


def say(*words: object) -> None:
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


async def tell_how_late(path: Path) -> None:
    with path.open("wb", buffering=0) as probe:
        while True:
            began = time.monotonic_ns()
            await asyncio.sleep(0)
            probe.write(b".")
            await asyncio.to_thread(os.fdatasync, probe.fileno())
            say("late", time.monotonic_ns() - began, time.time_ns())
            await asyncio.sleep(0.03)


async def main(path: Path, first: int, seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311
    value = first
    async with opened(path, window_s=0.2, max_bytes=4_000_000) as (buffer, _):
        say("ready")
        telling = asyncio.create_task(tell_how_late(path / "probe"))
        while not telling.done():
            value += 1
            if chance.random() < 0.1:
                await buffer.append(event(handle=f"{value:032x}"))
                say("e", value)
            else:
                at = time.time_ns()
                say("s", value, at)
                await buffer.append(sample(at, value=float(value)))
            if chance.random() < 0.05:
                batch = buffer.take_live() if chance.random() < 0.5 else await buffer.take_backfill()
                if batch is not None and chance.random() < 0.7 and not batch.event:
                    say("a", *map(int, values_of([batch])))
                    buffer.acknowledge(ack(batch))
            await asyncio.sleep(0.001)


asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])))
