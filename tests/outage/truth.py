"""What the simulated gateways say, by arithmetic alone: the agent's process says it, the test reckons it again."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

HOUR_NS: Final = 3600 * 10**9
Key = tuple[str, str, int]
"""Device, point, hour since 1970."""
FORMULAS: Final = {
    "humidity": (32, 0.25, 40.0),
    "temperature": (64, 0.125, 20.0),
    "co2": (1000, 1.0, 400.0),
    "pm2_5": (100, 1.0, 0.0),
    "noise": (160, 0.25, 30.0),
    "illuminance": (50_000, 1.0, 0.0),
}
"""Point → modulus, step, offset: steps of a power of two, so that sums are exact in whatever order they are made; the
rest is noise, since real rooms do not compress like a pattern."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """A stretch of evenly spaced ticks."""

    first_tick: int
    ticks: int
    first_at_ns: int
    step_ns: int

    def at_ns(self, tick: int) -> int:
        """The time of a tick."""
        return self.first_at_ns + (tick - self.first_tick) * self.step_ns


def devices_of(gateway: int, count: int) -> list[str]:
    """The names of a gateway's devices."""
    return [f"g{gateway:02d}-d{device:02d}" for device in range(count)]


def values(device: str, tick: int) -> dict[str, float]:
    """What a device says at a tick."""
    mixed = tick * 2_654_435_761 + int(device[1:3]) * 97_531 + int(device[5:7]) * 7_919
    said = {"sequence": float(tick)}
    for point, (modulus, step, offset) in FORMULAS.items():
        mixed = mixed * 69_069 + 1 & 0xFFFF_FFFF
        said[point] = offset + (mixed >> 12) % modulus * step
    return said


def save(path: Path, phases: list[Phase]) -> None:
    """Write what was said, for the test to reckon with."""
    told = [[one.first_tick, one.ticks, one.first_at_ns, one.step_ns] for one in phases]
    path.with_suffix(".new").write_text(json.dumps(told), encoding="utf-8")
    path.with_suffix(".new").replace(path)


def load(path: Path) -> list[Phase]:
    """Read it again."""
    return [
        Phase(first_tick=first, ticks=ticks, first_at_ns=at_ns, step_ns=step_ns)
        for first, ticks, at_ns, step_ns in json.loads(path.read_bytes())
    ]


def expected(devices: list[str], phases: list[Phase]) -> tuple[Counter[Key], dict[Key, float]]:
    """How many values of each device and point there are in each hour, and their sums."""
    count: Counter[Key] = Counter()
    total: dict[Key, float] = {}
    for phase in phases:
        for tick in range(phase.first_tick, phase.first_tick + phase.ticks):
            hour = phase.at_ns(tick) // HOUR_NS
            for device in devices:
                for point, value in values(device, tick).items():
                    key = (device, point, hour)
                    count[key] += 1
                    total[key] = total.get(key, 0.0) + value
    return count, total
