"""Pain 1: a change of the configuration never touches what is stored."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

from telemetry.sample import DataClass
from tests.edge_agent.buffer.helpers import ack, device, drain, event, opened, plain, sample, until

if TYPE_CHECKING:
    from pathlib import Path

ROUNDS = 100
SEED = 1


def _options(chance: random.Random, number: int) -> dict[str, Any]:
    """Devices come and go, are renamed and get newer profiles; every setting moves."""
    names = [f"air-{chance.randrange(20)}" for _ in range(3)] + ([f"new-{number}"] if chance.random() < 0.3 else [])
    measurement = chance.choice(["environment", "occupancy"])
    return {
        "devices": {name: device(name, measurement) for name in names} | {"door": device("door")},
        "window_s": chance.choice([0.1, 0.3, 2.0, 60.0]),
        "max_bytes": chance.choice([4 * 1024 * 1024, 64_000_000, 2_000_000_000]),
        "max_batch_values": chance.choice([1, 10, 1000]),
        "max_memory_bytes": chance.choice([20_000, 4 * 1024 * 1024]),
        "max_age_days": chance.choice([{}, {DataClass.PERSONAL: 1.0}]),
        "simulated": chance.random() < 0.5,
    }


async def test_pain_01_a_hundred_restarts_with_other_settings_lose_nothing(tmp_path: Path) -> None:
    print(f"seed {SEED}")  # noqa: T201
    chance = random.Random(SEED)  # noqa: S311
    stored: dict[tuple[str, int], bytes] = {}
    came = taken = 0
    for number in range(ROUNDS):
        options = _options(chance, number)
        async with opened(tmp_path, **options) as (buffer, counters):
            batches = await drain(buffer)
            found = {(one.epoch, one.number): one.payload for one in batches}
            assert stored.items() <= found.items(), "what was stored comes out as it was, whatever is configured now"
            assert sum(one.samples for one in batches) == came - taken
            if batches and chance.random() < 0.2:
                some = chance.sample(batches, len(batches) // 2)
                taken += sum(one.samples for one in some)
                buffer.acknowledge(ack(*some)) if some else None
                for one in some:
                    del found[one.epoch, one.number]
                await until(lambda found=found, buffer=buffer: buffer.status().batches == len(found))  # type: ignore[misc]
            stored = found
            await buffer.append(event(handle=f"{number:032x}"))
            came += 1
            for name in options["devices"]:
                for data_class in (DataClass.OPEN, DataClass.OPS):
                    await buffer.append(sample(name=name, data_class=data_class))
                    came += 1
        bad = ("lost", "dropped", "expired", "corrupt", "torn", "unreadable", "errors")
        assert not [name for name in counters.snapshot() if any(word in name for word in bad)]
    async with opened(tmp_path) as (buffer, _):
        batches = await drain(buffer)
        assert sum(one.samples for one in batches) == came - taken
        assert all(plain(one).number == one.number for one in batches)
        assert len({one.epoch for one in batches}) == 1
