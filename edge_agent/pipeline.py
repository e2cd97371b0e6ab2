"""The pipeline: one Sample on its way from the collector through judge, report rules and gate into the buffer."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Final, Protocol

import msgspec

from edge_agent.clock import boottime_ns
from edge_agent.derive import Judge, Reporter
from telemetry.sample import PERSON_CLASSES, Admitted, Quality, WithheldReason

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from edge_agent.clock import Clock
    from edge_agent.privacy import Gate
    from telemetry.counters import Counters
    from telemetry.profile import DeviceProfile
    from telemetry.sample import Sample

MAX_WAITING: Final = 20_000
"""Samples that wait for the clock; beyond it the oldest go on as they are, marked uncertain."""
PERSON_WAIT_NS: Final = 15 * 60 * 1_000_000_000
"""How long a sample about a person may wait for the clock; then it is withheld."""


class Sink(Protocol):
    """What takes admitted samples; `edge_agent.buffer.Buffer` is one."""

    async def append(self, admitted: Admitted) -> None:
        """Take one sample, before it waits for anything; returns when its durability is given."""
        ...


class Pipeline:
    """Feeds the buffer. Samples taken before the clock is synchronised wait and are stamped right after it."""

    def __init__(
        self,
        profiles: Mapping[str, DeviceProfile],
        *,
        gate: Gate,
        sink: Sink,
        clock: Clock,
        counters: Counters,
        overhear: Callable[[Sample], None] | None = None,
    ) -> None:
        self._judges = {device: Judge(profile) for device, profile in profiles.items()}
        self._reporters = {device: Reporter(profile, counters) for device, profile in profiles.items()}
        self._gate = gate
        self._sink = sink
        self._clock = clock
        self._counters = counters
        self._overhear = overhear
        """Hears every judged sample, before the gate; never raises."""
        self._waiting: deque[tuple[int, Admitted]] = deque()
        self._persons: deque[tuple[int, Admitted]] = deque()
        """Apart, since these wait for a limited time only: the others must not hide one that is too old."""
        self._passing: set[asyncio.Task[None]] = set()
        self._was_synced = clock.synced()
        self.passed = 0
        """Samples that went through; the watchdog watches it grow."""

    @property
    def waiting(self) -> int:
        """How many samples wait for the clock."""
        return len(self._waiting) + len(self._persons)

    def adopt(self, device: str, profile: DeviceProfile) -> None:
        """Take samples of a device that was not known at the start."""
        self._judges[device] = Judge(profile)
        self._reporters[device] = Reporter(profile, self._counters)

    def forget(self, who: Callable[[str], bool]) -> None:
        """Let go of what waits for the clock about these people; counted."""
        kept = [item for item in self._persons if item[1].handle is None or not who(item[1].handle)]
        self._counters.add("clock.purged_samples", len(self._persons) - len(kept))
        self._persons.clear()
        self._persons.extend(kept)

    def gone(self, device: str) -> None:
        """Note that a device was lost: it warms up again when it is back."""
        self._judges[device].gone()

    async def emit(self, sample: Sample) -> None:
        """Take one sample from a driver; returns when what may leave is in the buffer.

        A caller that is cancelled meanwhile, at the agent's stop, takes nothing of the sample with it.
        """
        synced = self._is_synced()
        sample = msgspec.structs.replace(sample, acquired_at_ns=self._clock.right_ns(sample.acquired_at_ns))
        judged = self._judges[sample.device].judge(sample)
        if self._overhear is not None:
            self._overhear(judged)
        reported = self._reporters[sample.device].report(judged)
        self.passed += 1
        if reported is None:
            return
        admitted = [answer for answer in self._gate.split(reported) if isinstance(answer, Admitted)]
        if synced and not self.waiting and len(admitted) == 1:
            await self._sink.append(admitted[0])
            return
        task = asyncio.get_running_loop().create_task(self._pass_on(admitted, synced=synced), name="passing on")
        self._passing.add(task)
        task.add_done_callback(self._passing.discard)
        await asyncio.shield(task)

    async def _pass_on(self, parts: Sequence[Admitted], *, synced: bool) -> None:
        if synced and self.waiting:
            await self.stamp_waiting()
        for number, admitted in enumerate(parts):
            if number and admitted.data_class in PERSON_CLASSES and not self._gate.still(admitted):
                continue  # somebody withdrew while the part before it was taken in
            if synced:
                await self._sink.append(admitted)
            else:
                await self._wait(admitted)

    async def stamp_waiting(self) -> None:
        """Give the waiting samples their time, now that the clock is right, and pass them on."""
        self._withhold_old_persons()
        now_boot_ns, now_ns = boottime_ns(), self._clock.now_ns()
        for queue in (self._persons, self._waiting):
            while queue:
                taken_ns, admitted = queue.popleft()
                # Hours and lessons go by the right time, so the gate is asked again with it.
                stamped = msgspec.structs.replace(admitted, acquired_at_ns=now_ns - (now_boot_ns - taken_ns))
                if self._gate.still(stamped):
                    await self._sink.append(stamped)

    async def give_up_waiting(self) -> None:
        """Pass on what still waits; marked uncertain if the boot ends without a synchronised clock."""
        while self._passing:
            await asyncio.gather(*self._passing)
        if self._is_synced():
            await self.stamp_waiting()
        while self.waiting:
            await self._pass_uncertain()

    def _is_synced(self) -> bool:
        synced = self._clock.synced()
        if synced and not self._was_synced:
            self._was_synced = True
            for judge in self._judges.values():
                judge.clock_set(self._clock.step_ns)
        return synced

    async def _wait(self, admitted: Admitted) -> None:
        self._counters.add("clock.waited_samples")
        taken_ns = self._clock.boottime_of(admitted.acquired_at_ns)
        queue = self._persons if admitted.data_class in PERSON_CLASSES else self._waiting
        queue.append((taken_ns, admitted))
        self._withhold_old_persons()
        if self.waiting > MAX_WAITING:
            await self._pass_uncertain()

    async def _pass_uncertain(self) -> None:
        """Pass on the oldest, or withhold it if it is about a person: when it was is all that such a sample says."""
        queues = [queue for queue in (self._persons, self._waiting) if queue]
        _, admitted = min(queues, key=lambda queue: queue[0][0]).popleft()
        if admitted.data_class in PERSON_CLASSES:
            self._withhold(admitted)
            return
        if not self._gate.still(admitted):
            return
        self._counters.add("clock.uncertain_samples")
        await self._sink.append(msgspec.structs.replace(admitted, quality=Quality.CLOCK_UNCERTAIN))

    def _withhold_old_persons(self) -> None:
        limit = boottime_ns() - PERSON_WAIT_NS
        while self._persons and self._persons[0][0] < limit:
            self._withhold(self._persons.popleft()[1])

    def _withhold(self, admitted: Admitted) -> None:
        self._counters.add(f"gate.withheld.{admitted.data_class}.{WithheldReason.CLOCK_UNSYNCED}")
