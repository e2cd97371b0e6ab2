"""One round: the whole path on a fresh store, troubled as planned, then judged by the ledger as a demo is."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from contextlib import AsyncExitStack, nullcontext, suppress
from typing import TYPE_CHECKING, Final

from simulators.control import Refusal
from simulators.demo.options import DemoOptions
from simulators.demo.orchestra import Demo
from simulators.demo.processes import ProcessFailed
from simulators.torture.actions import Skipped, perform
from simulators.torture.disk import small_disk
from simulators.torture.plan import Kind
from simulators.torture.report import Done, RoundReport

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from simulators.demo.sabotage import Sabotage
    from simulators.torture.plan import Action

_WARM_UP_S: Final = 20.0
_LOOK_S: Final = 0.1
_SETTLE_S: Final = 2.0
"""Devices go on for so long after the last trouble is mended: what they say now is missed by nobody."""
_FAULT_TAIL_S: Final = 2.0
"""After a device's fault it takes so long until it is read as before."""
_SHARE: Final = 0.1
_MOST: Final = 0.9


def unobserved_share(actions: Sequence[Action]) -> float:
    """Return the share of what is said that may reach nobody, beside the agent's absences: for the time of sickness."""
    sick_s = sum(
        action.hold_s + _FAULT_TAIL_S
        for action in actions
        if action.kind is Kind.FAULT or action.target.startswith("device:")
    )
    lasts_s = max((action.at_s + action.hold_s for action in actions), default=0.0) + _SETTLE_S
    return round(min(_MOST, _SHARE + sick_s / lasts_s), 3)


class Round:
    """Plays `actions` once. `told` hears of each action when it begins."""

    def __init__(
        self,
        number: int,
        actions: Sequence[Action],
        *,
        data: Path,
        scenario: str,
        seed: int,
        sabotage: Sabotage | None,
        database: bool,
        lacking: Mapping[Kind, str],
        told: Callable[[Done], None],
    ) -> None:
        self.number = number
        self.done = [Done(action=action) for action in actions]
        self._share = unobserved_share(actions)
        self._lacking = lacking
        self._told = told
        self._locks: dict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        last = actions[-1]
        self._options = DemoOptions(
            data=data,
            seconds=last.at_s + last.hold_s,
            scenario=scenario,
            seed=seed,
            sabotage=sabotage,
            proxy=True,
            ingest_proxy=True,
            database=database,
            # Only where it is wanted: asking a file for the time takes its time.
            clocks=frozenset(
                action.target for action in actions if action.kind is Kind.CLOCK and Kind.CLOCK not in lacking
            ),
            unobserved_share=self._share,
        )

    async def play(self, *, replay: str) -> RoundReport:
        """Return the verdict. Raises ProcessFailed if the path does not start at all, Unavailable."""
        disk = small_disk(self._options.data / "agent" / "buffer") if Kind.FILL not in self._lacking else nullcontext()
        with disk:
            async with Demo(self._options) as demo:
                await _warm(demo)
                began = time.monotonic()
                async with asyncio.TaskGroup() as group:
                    for done in self.done:
                        name = f"cycle-{done.action.cycle}-{done.action.kind}"
                        group.create_task(self._act(demo, done, began), name=name)
                await asyncio.sleep(_SETTLE_S)
                report = await demo.finish()
        failed = [f"cycle {done.action.cycle}: {done.failed}" for done in self.done if done.failed]
        reasons = report.reasons + failed
        return RoundReport(
            round=self.number,
            verdict="red" if reasons else "green",
            reasons=reasons,
            families=report.families,
            leaks=report.leaks,
            outages=report.outages,
            unobserved_share=self._share,
            seconds=report.seconds,
            actions=self.done,
            replay=replay,
        )

    async def _act(self, demo: Demo, done: Done, began: float) -> None:
        action = done.action
        await asyncio.sleep(max(0.0, began + action.at_s - time.monotonic()))
        async with AsyncExitStack() as held:
            for name in sorted(action.needs):  # in one order, so that no two wait for each other
                await held.enter_async_context(self._locks[name])
            done.at_ns, done.began_s = time.time_ns(), round(time.monotonic() - began, 3)
            self._told(done)
            try:
                await perform(demo, action, lacking=self._lacking)
            except Skipped as reason:
                done.skipped = str(reason)
            except (ProcessFailed, Refusal, OSError, TimeoutError) as error:
                done.failed = f"{action.says}: {type(error).__name__} {error}".strip()
            done.ended_s = round(time.monotonic() - began, 3)
            if done.skipped is None:
                await asyncio.sleep(action.recovery_s)


async def _warm(demo: Demo) -> None:
    """Wait until something of each family is stored; if that takes too long, the verdict says so."""
    with suppress(TimeoutError):
        async with asyncio.timeout(_WARM_UP_S):
            while not demo.tap.first_stored.keys() >= set(demo.scene.families):  # noqa: ASYNC110 - the tap has no event
                await asyncio.sleep(_LOOK_S)
