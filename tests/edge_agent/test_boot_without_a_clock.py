"""A boot in 1970, readings for an hour, then synchronisation: each stored time is right, and nothing is missing."""

from __future__ import annotations

import resource
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from edge_agent import clock as clock_module
from edge_agent.clock import Clock
from edge_agent.pipeline import Pipeline
from edge_agent.privacy import Gate
from telemetry.counters import Counters
from telemetry.profile import Point
from telemetry.sample import Quality, Sample
from tests.edge_agent.buffer.helpers import device, drain, opened, plain
from tests.edge_agent.pipeline_kit import opened_room, profile
from tests.edge_agent.privacy.test_gate import policy

if TYPE_CHECKING:
    from pathlib import Path

SECOND = 1_000_000_000
STARTED = 1_800_000_000 * SECOND
DEVICES = [f"air-{number}" for number in range(20)]
AIR = profile(
    Point(name="co2", quantity="co2", max_step_per_s=50.0),
    *(Point(name=name, quantity=name) for name in ("temperature", "humidity", "noise")),
    warmup_s=0,
)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> SimpleNamespace:
    """A machine whose battery is flat: its calendar begins in 1970 with each boot."""
    it = SimpleNamespace(boot_ns=30 * SECOND, wrong_by_ns=-STARTED, synced=False)
    system = SimpleNamespace(time_ns=lambda: STARTED + it.boot_ns + it.wrong_by_ns)
    monkeypatch.setattr(clock_module, "_TIMESYNCD", tmp_path / "no")
    monkeypatch.setattr(clock_module, "_kernel_synced", lambda: it.synced)
    monkeypatch.setattr(clock_module, "boottime_ns", lambda: it.boot_ns)
    monkeypatch.setattr(clock_module, "time", system)
    return it


@pytest.mark.parametrize("seconds", [300, pytest.param(3600, marks=pytest.mark.long)])
async def test_pain_15_a_boot_in_1970_and_an_hour_later_an_ntp_jump(
    tmp_path: Path, world: SimpleNamespace, seconds: int
) -> None:
    clock, counters = Clock(), Counters()
    assert clock.now_ns() < 86_400 * SECOND
    infos = {name: device(name) for name in DEVICES}
    profiles = dict.fromkeys(DEVICES, AIR)
    rules = policy(first="2000-01-01T00:00:00Z", last="2100-01-01T00:00:00Z")
    gate = Gate(profiles, rooms={}, keys=None, in_force=lambda: rules, now_ns=clock.now_ns, counters=counters)
    truth: dict[tuple[str, float], int] = {}
    async with (
        opened(tmp_path, devices=infos, counters=counters, now_ns=clock.now_ns) as (buffer, _),
        opened_room(tmp_path, clock, devices=infos, counters=counters) as room,
    ):
        clock.begin(await room.reserve())
        pipeline = Pipeline(profiles, gate=gate, sink=buffer, room=room, clock=clock, counters=counters)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

        async def read(second: int) -> None:
            for number, name in enumerate(DEVICES):
                at_ns = clock.even_ns() + number * 1_234_567
                value = 400.0 + second * 0.5
                truth[name, value] = STARTED + world.boot_ns + number * 1_234_567
                values = {"co2": value, "temperature": 21.5, "humidity": 40.0 + second % 7, "noise": 41.25}
                await pipeline.emit(Sample(device=name, acquired_at_ns=at_ns, values=values))

        for second in range(seconds):
            await read(second)
            world.boot_ns += SECOND
            if second % 2:
                await room._write()  # what `run` does each 1.5 s
            if second % 60 == 0:
                await pipeline.tend()
        assert room.waiting == 20 * seconds
        state = room.state()
        assert buffer.status().values == 0

        world.wrong_by_ns, world.synced = 0, True  # NTP, at last
        await read(seconds)  # a live one, before anything that waited
        status = buffer.status()
        assert status.values == 20 * 4
        await pipeline.tend()
        assert (room.waiting, room.state().bytes) == (0, 0)
        assert clock.steps == 0
        grown_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        found: dict[tuple[str, float], list[int]] = {}
        for batch in await drain(buffer):
            for block in plain(batch).devices:
                for sample in block.samples:
                    assert sample.quality is Quality.GOOD
                    found.setdefault((block.device, float(sample.values["co2"])), []).append(sample.acquired_at_ns)
        await pipeline.finish()
    assert found.keys() == truth.keys()
    assert all(len(times) == 1 for times in found.values())
    worst_ns = max(abs(times[0] - truth[key]) for key, times in found.items())
    assert worst_ns < 50_000_000
    assert worst_ns < 10_000  # in fact
    print(f"{20 * seconds} samples: {state.bytes} bytes waited on disk, memory grew by {grown_kb} KiB")  # noqa: T201
    assert state.bytes < 150 * 20 * seconds + 200_000
