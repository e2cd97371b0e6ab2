"""The pipeline: one Sample on its way from the collector through judge, report rules and gate into the buffer."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, Protocol

import msgspec

from edge_agent.clock import GRAIN_NS, utc_of
from edge_agent.derive import Judge, Reporter
from telemetry.errors import ConfigError
from telemetry.sample import PERSON_CLASSES, Admitted, Quality, WithheldReason

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from edge_agent.buffer import Stamp, WaitingRoom
    from edge_agent.clock import Clock
    from edge_agent.privacy import Gate
    from telemetry.counters import Counters
    from telemetry.profile import DeviceProfile
    from telemetry.sample import Sample

PERSON_WAIT_NS: Final = 15 * 60 * 1_000_000_000
"""How long a sample about a person may wait for the clock; then it is withheld."""
UNCERTAIN_AFTER_NS: Final = 60 * 60 * 1_000_000_000
"""What other boots left is told as uncertain then, though this one does not know the time either."""
_SERIES_KEPT: Final = 4096
_TOGETHER_NS: Final = 1_000_000

_Series = tuple[str, str, str, str | None]


class Sink(Protocol):
    """What takes admitted samples; `edge_agent.buffer.Buffer` is one."""

    async def append(self, admitted: Admitted) -> None:
        """Take one sample, before it waits for anything; returns when its durability is given."""
        ...

    async def settled(self) -> None:
        """Return when what was taken so far is safe."""
        ...


class Pipeline:
    """Feeds the buffer. Samples come by the even clock and get their UTC here, once; before it is known they wait.

    Judge and report rules go by the even clock: a step of the system's clock is no step of a value.
    """

    def __init__(
        self,
        profiles: Mapping[str, DeviceProfile],
        *,
        gate: Gate,
        sink: Sink,
        room: WaitingRoom,
        clock: Clock,
        counters: Counters,
        overhear: Callable[[Sample], None] | None = None,
    ) -> None:
        self._profiles = profiles
        self._judges = {device: Judge(profile) for device, profile in profiles.items()}
        self._reporters = {device: Reporter(profile, counters) for device, profile in profiles.items()}
        self._gate = gate
        self._sink = sink
        self._room = room
        self._clock = clock
        self._counters = counters
        self._overhear = overhear
        """Hears every judged sample, before the gate; never raises."""
        self._last_ns: dict[_Series, int] = {}
        self._passing: set[asyncio.Task[None]] = set()

    @property
    def waiting(self) -> int:
        """How many samples wait for the clock, or to be told now that it is known."""
        return self._room.waiting

    def adopt(self, device: str, profile: DeviceProfile) -> None:
        """Take samples of a device that was not known at the start."""
        self._judges[device] = Judge(profile)
        self._reporters[device] = Reporter(profile, self._counters)

    def gone(self, device: str) -> None:
        """Note that a device was lost: it warms up again when it is back."""
        self._judges[device].gone()

    async def emit_utc(self, sample: Sample) -> None:
        """Take one sample whose time is UTC already."""
        await self.emit(msgspec.structs.replace(sample, acquired_at_ns=self._clock.even_of(sample.acquired_at_ns)))

    async def emit(self, sample: Sample) -> None:
        """Take one sample from a driver, by `Clock.even_ns`; returns when what may leave is in the buffer.

        A caller that is cancelled meanwhile, at the agent's stop, takes nothing of the sample with it.
        """
        self._clock.synced()
        offset_ns = self._clock.offset_ns
        taken_ns = self._clock.boottime_of(sample.acquired_at_ns)
        judged = self._judges[sample.device].judge(sample)
        reported = self._reporters[sample.device].report(judged)
        at_ns = sample.acquired_at_ns if offset_ns is None else utc_of(taken_ns, offset_ns)
        if self._overhear is not None:
            self._overhear(msgspec.structs.replace(judged, acquired_at_ns=at_ns))
        if reported is None:
            return
        answers = self._gate.split(msgspec.structs.replace(reported, acquired_at_ns=at_ns))
        admitted = [answer for answer in answers if isinstance(answer, Admitted)]
        if offset_ns is not None and len(admitted) == 1:
            await self._sink.append(self._timed(admitted[0], taken_ns, offset_ns))
            return
        passing = self._pass_on(admitted, taken_ns, offset_ns)
        task = asyncio.get_running_loop().create_task(passing, name="passing on")
        self._passing.add(task)
        task.add_done_callback(self._passing.discard)
        await asyncio.shield(task)

    async def _pass_on(self, parts: Sequence[Admitted], taken_ns: int, offset_ns: int | None) -> None:
        for number, admitted in enumerate(parts):
            if number and admitted.data_class in PERSON_CLASSES and not self._gate.still(admitted):
                continue  # somebody withdrew while the part before it was taken in
            if offset_ns is not None:
                await self._sink.append(self._timed(admitted, taken_ns, offset_ns))
            else:
                self._counters.add("clock.waited_samples")
                await self._room.put(self._apart(admitted, taken_ns), admitted)

    def _timed(self, admitted: Admitted, taken_ns: int, offset_ns: int) -> Admitted:
        return msgspec.structs.replace(admitted, acquired_at_ns=utc_of(self._apart(admitted, taken_ns), offset_ns))

    def _apart(self, admitted: Admitted, taken_ns: int) -> int:
        """Return `taken_ns`, microseconds later if the series has samples of that time already: all are to be kept."""
        key = (admitted.device, admitted.data_class, admitted.purpose, admitted.handle)
        taken_ns = taken_ns // GRAIN_NS * GRAIN_NS
        last_ns = self._last_ns.get(key, 0)
        if 0 <= last_ns - taken_ns < _TOGETHER_NS:
            taken_ns = last_ns + GRAIN_NS
        if key not in self._last_ns and len(self._last_ns) >= _SERIES_KEPT:
            self._last_ns.clear()
        self._last_ns[key] = taken_ns
        return taken_ns

    # ---- what waited for the clock

    async def forget(self, who: Callable[[str], bool]) -> tuple[int, int]:
        """Let go of what waits for the clock about these people; return samples and values. Raises OSError."""
        self._last_ns = {key: at for key, at in self._last_ns.items() if key[3] is None or not who(key[3])}
        return await self._room.forget(who)

    async def tend(self) -> None:
        """Tell what waits, as far as its time is known or never will be; call it now and then."""
        offset_ns = self._clock.offset_ns
        if offset_ns is not None:
            await self._room.learned(offset_ns)
        for admitted in await self._room.expire(self._clock.boot_ns() - PERSON_WAIT_NS):
            self._withhold(admitted)
        if offset_ns is not None or self._clock.boot_ns() > UNCERTAIN_AFTER_NS:
            await self._room.reckon_others(offset_ns, self._clock.new_reckoning)
        await self._room.overflow(self._clock.new_reckoning)
        await self._room.drain(self._tell, self._sink.settled)

    async def finish(self) -> None:
        """Leave on disk what waits; what the disk does not take goes into the buffer, marked uncertain."""
        while self._passing:
            await asyncio.gather(*self._passing)
        offset_ns = self._clock.offset_ns
        for taken_ns, admitted in await self._room.close():
            if offset_ns is not None:
                await self._pass(admitted, utc_of(taken_ns, offset_ns), Quality.GOOD)
            else:
                await self._pass(admitted, admitted.acquired_at_ns, Quality.CLOCK_UNCERTAIN)

    async def _tell(self, taken_ns: int, admitted: Admitted, stamp: Stamp) -> None:
        if admitted.data_class in PERSON_CLASSES and taken_ns < stamp.at_boot_ns - PERSON_WAIT_NS:
            self._withhold(admitted)
            return
        quality = Quality.CLOCK_UNCERTAIN if stamp.uncertain else Quality.GOOD
        await self._pass(admitted, utc_of(taken_ns, stamp.offset_ns), quality)

    async def _pass(self, admitted: Admitted, at_ns: int, quality: Quality) -> None:
        person = admitted.data_class in PERSON_CLASSES
        if person and (quality is not Quality.GOOD or admitted.device not in self._profiles):
            # When it was is all that such a sample says; and who may not be asked must not pass.
            self._withhold(admitted)
            return
        # Hours and lessons go by the right time, so the gate is asked again with it.
        stamped = msgspec.structs.replace(admitted, acquired_at_ns=at_ns)
        if not self._gate.still(stamped):
            return
        if quality is not Quality.GOOD:
            self._counters.add("clock.uncertain_samples")
            stamped = msgspec.structs.replace(stamped, quality=quality)
        else:
            self._counters.add("clock.stamped_samples")
        try:
            await self._sink.append(stamped)
        except ConfigError:
            # The settings name the device no more, and the file that could tell of it is damaged.
            self._counters.add("clock.unknown_device_samples")

    def _withhold(self, admitted: Admitted) -> None:
        self._counters.add(f"gate.withheld.{admitted.data_class}.{WithheldReason.CLOCK_UNSYNCED}")
