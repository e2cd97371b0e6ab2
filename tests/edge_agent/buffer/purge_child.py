"""Fills a buffer, says how many rows are not the victim's, and purges until it is killed: run by test_purge.py."""

from __future__ import annotations

import asyncio
import os
import random
import sys
import time
from pathlib import Path

from telemetry.sample import DataClass
from tests.edge_agent.buffer.helpers import event, opened, sample


async def main(path: Path, victim: str, seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311
    others = 0
    together: list[asyncio.Task[None]] = []
    async with opened(path, window_s=0.5, max_batch_values=15) as (buffer, _):
        base = time.time_ns() - 3_600_000_000_000
        for number in range(400):
            if chance.random() < 0.2:
                await buffer.append(sample(base + number, value=float(number), data_class=DataClass.OPEN))
                others += 1
            else:
                handle = victim if chance.random() < 0.3 else f"{number:032x}"
                others += handle != victim
                together.append(asyncio.create_task(buffer.append(event(base + number, handle=handle))))
            if number % 10 == 9:
                await asyncio.gather(*together)
                together.clear()
        await buffer.settled()
        os.write(1, f"rows {others}\n".encode())
        while True:
            await buffer.purge(victim.__eq__, reason="withdrawn")
            await buffer.append(event(handle=victim))


asyncio.run(main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])))
