"""The real agent with a clock that can run through days in minutes, and devices that speak at each tick.

Run as `python -m tests.outage.agent run --config FILE` in the gateway's folder. It starts `lag_s` in the past, at
normal speed; once the file `fast` appears its clock jumps from tick to tick, `step_s` each, until it has caught up
with the real one; from then on it is the real one, until the file `quiet` appears. `phase-N.json` tells what was said
up to the end of phase N.
"""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Self

import edge_agent.agent as wiring
from edge_agent.cli import main
from edge_agent.clock import GRAIN_NS, Clock
from telemetry.sample import Sample
from tests.outage.truth import Phase, save, values

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from telemetry.driver import DeviceContext

FOLDER = Path.cwd()
PLAN = json.loads((FOLDER / "plan.json").read_bytes())
REAL_STEP_NS = int(PLAN["real_step_s"] * 1e9)
FAST_STEP_NS = int(PLAN["step_s"] * 1e9)
_SPEAKING = 3


class OutageClock(Clock):
    """Behind by the outage's length, then stepped, then right: CLOCK_BOOTTIME with it, so UTC is known all the time."""

    def __init__(self, _settings: object) -> None:
        super().__init__(assume_synced=True)
        self.lag_ns = int(PLAN["lag_s"] * 1e9)
        self.stepped_ns = 0
        self._fixed_ns = self._guess_ns // GRAIN_NS * GRAIN_NS

    def now_ns(self) -> int:
        return self.stepped_ns or time.time_ns() - self.lag_ns

    def even_ns(self) -> int:
        return self.now_ns()

    def boot_ns(self) -> int:
        return self.now_ns() - self._fixed_ns

    def boottime_of(self, even_ns: int) -> int:
        return even_ns - self._fixed_ns

    def even_of(self, utc_ns: int) -> int:
        return utc_ns

    @property
    def offset_ns(self) -> int:
        return self._fixed_ns

    def synced(self) -> bool:
        return True


class Quiet:
    """A device that never says anything by itself: the first one speaks for all."""

    def __init__(self, context: DeviceContext) -> None:
        self.context = context

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        return

    async def samples(self) -> AsyncIterator[Sample]:
        await asyncio.Event().wait()
        yield Sample(device=self.context.device, acquired_at_ns=0)


class Speaking(Quiet):
    async def samples(self) -> AsyncIterator[Sample]:
        clock = self.context.now_ns.__self__  # type: ignore[attr-defined]
        if (FOLDER / "phase-3.json").exists():
            clock.lag_ns = 0
            await asyncio.Event().wait()  # started again after it was killed: all is said
        phases: list[Phase] = []
        tick = 0
        for times, step_ns in (
            (_as_it_passes(clock, until="fast"), REAL_STEP_NS),
            (_stepped(clock), FAST_STEP_NS),
            (_as_it_passes(clock, until="quiet"), REAL_STEP_NS),
        ):
            first_tick, first_at_ns = tick, 0
            async for at_ns in times:
                first_at_ns = first_at_ns or at_ns
                for device in PLAN["devices"]:
                    yield Sample(device=device, acquired_at_ns=at_ns, values=dict(values(device, tick)))
                tick += 1
                if tick == _SPEAKING:
                    (FOLDER / "speaking").touch()
            phases.append(
                Phase(first_tick=first_tick, ticks=tick - first_tick, first_at_ns=first_at_ns, step_ns=step_ns)
            )
            save(FOLDER / f"phase-{len(phases)}.json", phases)
        await asyncio.Event().wait()


async def _as_it_passes(clock: OutageClock, *, until: str) -> AsyncIterator[int]:
    at_ns = clock.now_ns() // GRAIN_NS * GRAIN_NS + REAL_STEP_NS  # stored times are whole microseconds
    while not (FOLDER / until).exists():
        await asyncio.sleep(max(0.0, (at_ns - clock.now_ns()) / 1e9))
        yield at_ns
        at_ns += REAL_STEP_NS


async def _stepped(clock: OutageClock) -> AsyncIterator[int]:
    began, ticks = time.monotonic(), 0
    clock.stepped_ns = clock.now_ns() // GRAIN_NS * GRAIN_NS
    while clock.stepped_ns + FAST_STEP_NS < time.time_ns():
        clock.stepped_ns += FAST_STEP_NS
        yield clock.stepped_ns
        ticks += 1
        due = began + ticks * PLAN["fast_s"] * PLAN["step_s"] / PLAN["lag_s"]
        await asyncio.sleep(max(0.0, due - time.monotonic()))
    clock.stepped_ns = clock.lag_ns = 0


class NoLink:
    is_open = True

    async def close(self) -> None:
        return


def create(context: DeviceContext, _link: object) -> Quiet:
    return (Speaking if context.device == PLAN["devices"][0] else Quiet)(context)


if __name__ == "__main__":
    wiring.make_clock = OutageClock
    wiring.create_driver = create  # type: ignore[assignment]
    wiring.create_link = lambda *_: NoLink()  # type: ignore[assignment]
    main()
