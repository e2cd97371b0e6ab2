"""What waits for the time, in memory and in files: durable within W, bounded, cleaned of people who go."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Final, TypeVar

from edge_agent.buffer.unbroken import Unbroken
from edge_agent.buffer.unsynced import FILE_BYTES, Lane
from edge_agent.buffer.unsynced_form import WaitingState, values_in
from telemetry.counters import Counters
from telemetry.sample import PERSON_CLASSES, Admitted, Durability

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from edge_agent.buffer.disk import Disk
    from edge_agent.buffer.rest import Who
    from edge_agent.buffer.unsynced import UnsyncedLog, WaitingFile
    from edge_agent.buffer.unsynced_form import Waiting

T = TypeVar("T")
MAX_IN_MEMORY: Final = 20_000
"""Samples that wait for a disk that takes nothing; beyond it the oldest are dropped and counted."""
SLACK_BYTES: Final = 4 * FILE_BYTES
"""Above the cap, while the oldest files are on their way out."""
_SHARE: Final = 0.75
"""Share of the window after which a group is written."""
_RETRY_S: Final = 5.0


class UnsyncedStore:
    """Groups on disk within W, events at once.

    `run()` has to run beside it while samples come; `close()` leaves what waits on disk.
    """

    def __init__(
        self,
        log: UnsyncedLog,
        *,
        window_s: float,
        max_bytes: int,
        counters: Counters,
        now_boot_ns: Callable[[], int],
    ) -> None:
        self._refused: str | None = None
        """Why the last group could not be written; none while the disk takes everything."""
        self._trouble: str | None = None
        """Why something else failed the last time; groups are written all the same."""
        self._log = log
        self._window_s = window_s
        self._max_bytes = max_bytes
        self._counters = counters
        self._now_boot_ns = now_boot_ns
        self._memory: dict[Lane, list[Waiting]] = {lane: [] for lane in Lane}
        self._wake = asyncio.Event()
        self._due: float | None = None
        self._closed = False
        self._loop = asyncio.get_running_loop()
        self._writing = asyncio.Lock()
        self._files = asyncio.Lock()
        """Held while a file is read into the buffer, purged or removed."""
        self._unbroken = Unbroken("waiting-room-disk")
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="waiting-room")

    @property
    def disk(self) -> Disk:
        """What counts its writes."""
        return self._log.disk

    @property
    def error(self) -> str | None:
        """What is wrong with the disk, for people."""
        return self._refused or self._trouble

    @property
    def waiting(self) -> int:
        """How many samples wait."""
        return sum(map(len, self._memory.values())) + sum(file.samples for file in self._log.files)

    def state(self) -> WaitingState:
        """Return what waits."""
        return WaitingState(samples=self.waiting, bytes=self._log.size, error=self.error)

    async def run(self) -> None:
        """Write groups when they are due, until cancelled."""
        while True:
            await self._sleep()
            if self._due is not None and self._loop.time() >= self._due:
                await self._write()

    async def put(self, taken_ns: int, admitted: Admitted) -> None:
        """Let a sample wait, taken at CLOCK_BOOTTIME `taken_ns`; an event is durable when this returns."""
        lane = Lane.PERSONS if admitted.data_class in PERSON_CLASSES else Lane.AIR
        self._memory[lane].append((taken_ns, admitted))
        if admitted.durability is Durability.EVENT and self._refused is None:
            await self._write()
        elif self._due is None:
            age_s = max(0.0, (self._now_boot_ns() - taken_ns) / 1e9)
            self._due = self._loop.time() + max(0.0, _SHARE * self._window_s - age_s)
            self._wake.set()
        self._bound_memory()

    async def close(self) -> list[Waiting]:
        """Write what is in memory and close; return what the disk does not take."""
        if self._closed:
            return []
        self._closed = True
        await self._write()
        await self._unbroken.finish()
        try:
            await self._call(self._log.close)
        except OSError as error:
            self._failed(error)
        self._thread.shutdown(wait=True)
        left = [item for lane in Lane for item in self._memory[lane]]
        self._memory = {lane: [] for lane in Lane}
        return left

    # ---- people who must go, and people who waited too long

    async def forget(self, who: Who) -> tuple[int, int]:
        """Let go of everything about these people, in memory and on disk; return samples and values. Raises OSError."""
        if self._closed:
            raise OSError("the waiting room is closed: the next start does it")
        async with self._files, self._writing:
            theirs = [one for _, one in self._memory[Lane.PERSONS] if one.handle is not None and who(one.handle)]
            self._memory[Lane.PERSONS] = [
                item for item in self._memory[Lane.PERSONS] if item[1].handle is None or not who(item[1].handle)
            ]
            self._counters.add("clock.purged_samples", len(theirs))
            samples, values = await self._call(lambda: self._log.purge(who))
        return samples + len(theirs), values + values_in(theirs)

    async def expire(self, before_ns: int) -> list[Admitted]:
        """Let go of what was taken of people before CLOCK_BOOTTIME `before_ns`, or in another boot; return it.

        What was stamped meanwhile stays. A file goes as a whole, so it lasts a minute longer at most.
        """
        gone: list[Admitted] = []
        async with self._files, self._writing:
            persons = self._memory[Lane.PERSONS]
            gone += [one for at_ns, one in persons if at_ns < before_ns]
            self._memory[Lane.PERSONS] = [item for item in persons if item[0] >= before_ns]
            for file in [one for one in self._log.files if one.lane is Lane.PERSONS]:
                foreign = file.label.boot != self._log.boot
                if self._log.stamp_of(file) is None and (foreign or file.newest_ns < before_ns):
                    try:
                        theirs = [one for _, one in await self._read(file)]
                        await self._call(partial(self._log.remove, file))
                        gone += theirs
                    except OSError as error:
                        self._failed(error)
        return gone

    async def _read(self, file: WaitingFile) -> list[Waiting]:
        return await self._call(lambda: [item for group in self._log.read(file) for item in group])

    async def _write(self) -> None:
        """Write what is in memory, to the end even if the caller is cancelled."""
        await self._unbroken.run(self._write_memory())

    async def _write_memory(self) -> None:
        """Write what is in memory; what the disk does not take stays there and is tried again."""
        async with self._writing:
            self._due = None
            for lane in Lane:
                group = self._memory[lane]
                if not group:
                    continue
                self._memory[lane] = []
                try:
                    await self._call(partial(self._append, lane, group))
                except OSError as error:
                    self._refused = str(error)
                    self._counters.add("clock.waiting_disk_errors")
                    self._memory[lane] = group + self._memory[lane]
                    self._due = self._loop.time() + _RETRY_S
                    self._wake.set()
                else:
                    self._refused = None
                    self._counters.add("clock.waiting_syncs")

    def _append(self, lane: Lane, group: Sequence[Waiting]) -> None:
        while self._log.size + self._log.growth(lane) > self._max_bytes + SLACK_BYTES:
            # Telling them cannot keep up: air goes first.
            victim = min(self._log.files, key=lambda file: (file.lane is Lane.PERSONS, file.sequence), default=None)
            if victim is None:
                break
            self._log.remove(victim)
            self._log.counts.add("clock.dropped_samples", victim.samples)
        self._log.append(lane, group)

    def _bound_memory(self) -> None:
        while sum(map(len, self._memory.values())) > MAX_IN_MEMORY:
            lane = next(lane for lane in (Lane.AIR, Lane.PERSONS) if self._memory[lane])
            del self._memory[lane][0]
            self._counters.add("clock.dropped_samples")

    def _failed(self, error: OSError) -> None:
        self._trouble = str(error)
        self._counters.add("clock.waiting_disk_errors")

    async def _sleep(self) -> None:
        try:
            async with asyncio.timeout_at(self._due):
                await self._wake.wait()
        except TimeoutError:
            pass
        self._wake.clear()

    async def _call(self, work: Callable[[], T]) -> T:
        """Return what `work` returns in the thread; it is finished even if the caller is cancelled. Raises OSError."""
        return await self._unbroken.run(self._in_thread(work))

    async def _in_thread(self, work: Callable[[], T]) -> T:
        try:
            return await self._loop.run_in_executor(self._thread, work)
        finally:
            counts, self._log.counts = self._log.counts, Counters()
            for name, amount in counts.snapshot().items():
                self._counters.add(name, amount)
