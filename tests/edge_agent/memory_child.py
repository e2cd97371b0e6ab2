"""Passes samples through all stages up to the acknowledgement, as fast as it goes: run by test_memory.py.

Arguments: folder, samples. Prints resident bytes after a warm-up, and at the end, and the samples acknowledged.
"""

from __future__ import annotations

import asyncio
import random
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from device_profiles import load_profile
from edge_agent.buffer import Buffer
from edge_agent.catalogue import device_info
from edge_agent.clock import Clock
from edge_agent.health import rss_bytes
from edge_agent.pipeline import Pipeline
from edge_agent.privacy import Gate
from telemetry.counters import Counters
from telemetry.sample import Sample, Subject
from tests.edge_agent.buffer.helpers import ack
from tests.edge_agent.pipeline_kit import ALLOWED, opened_room
from tests.edge_agent.privacy.test_gate import keys_for

if TYPE_CHECKING:
    from collections.abc import Iterator

WARM = 20_000
PUPILS = 60
CARD_EVERY = 500
TURN_EVERY = 100


def samples(count: int, clock: Clock) -> Iterator[Sample]:
    """Yield what twenty air boxes measure, and now and then a pupil's card, nearly all of them without consent."""
    chance = random.Random(1)  # noqa: S311
    for number in range(count):
        at_ns = clock.even_ns()
        if number % CARD_EVERY == 0:
            card = Subject(kind="card", identifier=f"0A0012{chance.randrange(PUPILS):04X}")
            yield Sample(device="cards", acquired_at_ns=at_ns, values={"presence": True}, subject=card)
            continue
        values = {"co2": chance.gauss(600, 5), "temperature": chance.gauss(21, 1), "illuminance": chance.gauss(400, 9)}
        rest = {"humidity": 45.0, "pm2_5": chance.gauss(12, 1), "noise": 40.0, "sequence": float(number)}
        yield Sample(device=f"air-{number % 20}", acquired_at_ns=at_ns, values=values | rest)


async def main(folder: Path, count: int) -> None:
    clock, counters = Clock(assume_synced=True), Counters()
    profiles = dict.fromkeys([f"air-{number}" for number in range(20)], load_profile("modbus/airbox_tcp"))
    profiles["cards"] = load_profile("rfid/rdm6300")
    infos = {name: device_info(name, "r1", profile) for name, profile in profiles.items()}
    buffer = await Buffer.open(
        folder,
        site="s",
        gateway="g",
        simulated=True,
        window_s=2.0,
        max_bytes=16_000_000,
        devices=infos,
        counters=counters,
    )
    gate = Gate(
        profiles,
        rooms=dict.fromkeys(profiles, "r1"),
        keys=keys_for("attendance"),
        in_force=lambda: ALLOWED,
        now_ns=clock.now_ns,
        counters=counters,
    )
    done = 0

    def acknowledge() -> None:
        nonlocal done
        while (batch := buffer.take_live()) is not None:
            done += batch.samples
            buffer.acknowledge(ack(batch))

    buffer.on_ready(acknowledge)
    warm = 0
    async with opened_room(folder, clock, devices=infos, counters=counters) as room, asyncio.TaskGroup() as group:
        clock.begin(await room.reserve())
        pipeline = Pipeline(profiles, gate=gate, sink=buffer, room=room, clock=clock, counters=counters)
        group.create_task(buffer.run(), name="buffer")
        for number, sample in enumerate(samples(WARM + count, clock)):
            if number == WARM:
                warm = rss_bytes()
            await pipeline.emit(sample)
            if number % TURN_EVERY == 0:
                await asyncio.sleep(0)
        print(warm, rss_bytes(), done, flush=True)  # noqa: T201 - the test reads it
        await pipeline.finish()
        await buffer.close()


asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
