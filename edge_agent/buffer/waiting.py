"""The waiting room: what the gate admitted before anybody knew the time waits here, durable, until it can be told."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final, Self, TypeVar

import msgspec

from edge_agent.buffer.unsynced import FILE_BYTES, FOLDER, Lane, UnsyncedLog, WaitingFile
from edge_agent.buffer.unsynced_form import Known, Stamp, Waiting, WaitingState, estimate, read_small, write_small
from edge_agent.clock import GRAIN_NS
from telemetry.counters import Counters
from telemetry.sample import PERSON_CLASSES, Admitted, Durability

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, MutableMapping, Sequence
    from pathlib import Path

    from edge_agent.buffer.disk import Disk
    from edge_agent.buffer.rest import Who
    from telemetry.batch import DeviceInfo

T = TypeVar("T")
MAX_IN_MEMORY: Final = 20_000
"""Samples that wait for a disk that takes nothing; beyond it the oldest are dropped and counted."""
_SHARE: Final = 0.75
"""Share of the window after which a group is written."""
_RETRY_S: Final = 5.0
_FILES_AT_ONCE: Final = 4
"""So many files are told before they are waited for: each is small."""
_SLACK: Final = 4 * FILE_BYTES
"""Above the cap, while the oldest files are on their way out."""
_RESERVE: Final = 4
"""Reckonings that a start sets aside: a crash must not bring one back that was used."""


class WaitingRoom:
    """Groups on disk within W, events at once; told file by file, each removed when all of it is in the buffer durably.

    `run()` has to run beside it while samples come; `close()` leaves what waits on disk.
    """

    def __init__(
        self,
        log: UnsyncedLog,
        *,
        known: Known,
        path: Path,
        boot: str,
        guess_ns: int,
        window_s: float,
        max_bytes: int,
        devices: MutableMapping[str, DeviceInfo],
        counters: Counters,
        now_boot_ns: Callable[[], int],
    ) -> None:
        self.known = known
        """As an earlier run left it."""
        self.error: str | None = None
        self._log = log
        self._path = path
        self._boot = boot
        self._guess_ns = guess_ns
        self._window_s = window_s
        self._max_bytes = max_bytes
        self._devices = devices
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
        self._telling = asyncio.Lock()
        self._running: set[asyncio.Task[object]] = set()
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="waiting-room")

    @classmethod
    async def open(
        cls,
        path: Path,
        *,
        boot: str,
        guess_ns: int,
        window_s: float,
        max_bytes: int,
        devices: MutableMapping[str, DeviceInfo],
        counters: Counters,
        now_boot_ns: Callable[[], int],
    ) -> Self:
        """Open the room in the buffer directory `path`; whatever is wrong with it, the agent starts."""
        folder = path / FOLDER
        log = UnsyncedLog(folder, boot=boot, guess_ns=guess_ns, devices=devices, quarantine_folder=path / "quarantine")
        room = cls(
            log,
            known=Known(),
            path=folder / "known",
            boot=boot,
            guess_ns=guess_ns,
            window_s=window_s,
            max_bytes=max_bytes,
            devices=devices,
            counters=counters,
            now_boot_ns=now_boot_ns,
        )
        try:
            await room._call(log.open)
            room.known = await room._call(lambda: read_small(room._path, Known) or Known())
        except OSError as error:
            room._failed(error)
        for file in log.files:
            for name, info in file.label.devices.items():
                devices.setdefault(name, info)
        return room

    @property
    def disk(self) -> Disk:
        """What counts its writes."""
        return self._log.disk

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
        if admitted.durability is Durability.EVENT and self.error is None:
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
        while self._running:
            await asyncio.wait(self._running)
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
            samples, values = await self._call(lambda: self._log.purge(who))
        samples, values = samples + len(theirs), values + sum(len(one.values) + len(one.bad) for one in theirs)
        self._counters.add("clock.purged_samples", samples)
        return samples, values

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
                foreign = file.label.boot != self._boot
                if self._log.stamp_of(file) is None and (foreign or file.newest_ns < before_ns):
                    try:
                        gone += [one for _, one in await self._read(file)]
                        await self._call(lambda file=file: self._log.remove(file))  # type: ignore[misc]
                    except OSError as error:
                        self._failed(error)
        return gone

    # ---- telling

    async def learned(self, offset_ns: int) -> None:
        """Note UTC minus CLOCK_BOOTTIME of this boot: all that waits of it will be told by it, whatever happens."""
        await self._write()
        mine = [file for file in self._log.files if file.label.boot == self._boot and not self._log.stamp_of(file)]
        if mine:
            await self._stamp(mine, offset_ns, uncertain=False)

    async def reckon_others(self, offset_ns: int | None, new_reckoning: Callable[[], int]) -> None:
        """Give a time, marked uncertain, to what other boots left that never knew theirs.

        `offset_ns` is this boot's, none if it does not know its own either.
        """
        others = [
            file for file in self._log.files if file.label.boot != self._boot and self._log.stamp_of(file) is None
        ]
        boots: dict[str, list[WaitingFile]] = {}
        for file in others:
            boots.setdefault(file.label.boot, []).append(file)
        spans = [(files[0].label.guess_ns, max(file.newest_ns for file in files)) for files in boots.values()]
        estimates = estimate(spans, lower_ns=self.known.last_good_ns, upper_ns=offset_ns)
        for files, guess in zip(boots.values(), estimates, strict=True):
            await self._stamp(files, guess // GRAIN_NS * GRAIN_NS + new_reckoning(), uncertain=True)

    async def overflow(self, new_reckoning: Callable[[], int]) -> None:
        """Mark the oldest file about no person to be told as uncertain, if the room is full."""
        if self._log.size <= self._max_bytes:
            return
        oldest = next((one for one in self._log.files if one.lane is Lane.AIR and not self._log.stamp_of(one)), None)
        if oldest is not None:
            (guess,) = estimate([(oldest.label.guess_ns, oldest.newest_ns)], lower_ns=self.known.last_good_ns)
            await self._stamp([oldest], guess // GRAIN_NS * GRAIN_NS + new_reckoning(), uncertain=True)

    async def drain(
        self,
        tell: Callable[[int, Admitted, Stamp], Awaitable[None]],
        settled: Callable[[], Awaitable[None]],
    ) -> None:
        """Tell everything whose time is known; a file goes when `settled` says that the buffer has all of it.

        Killed in between, what was told is told again by the same offset: the same points.
        """
        async with self._telling:
            told: list[WaitingFile] = []
            for file in [one for one in self._log.files if self._log.stamp_of(one) is not None]:
                # A purge waits until what was read is in the buffer: there it looks next.
                async with self._files:
                    stamp = self._log.stamp_of(file)
                    if stamp is None:
                        continue
                    try:
                        samples = await self._read(file)
                    except OSError as error:
                        self._failed(error)
                        continue
                    for taken_ns, admitted in samples:
                        await tell(taken_ns, admitted, stamp)
                told.append(file)
                if len(told) >= _FILES_AT_ONCE:
                    await self._let_go(told, settled)
                    told = []
            await self._let_go(told, settled)

    async def note(self, offset_ns: int, *, now_ns: int, reckoning: int) -> None:
        """Write down that UTC is known in this boot."""
        reserved = (reckoning + _RESERVE) % GRAIN_NS
        await self._remember(Known(boot=self._boot, offset_ns=offset_ns, last_good_ns=now_ns, reckoning=reserved))

    async def _remember(self, known: Known) -> None:
        try:
            await self._call(lambda: write_small(self._path, known, self._log.disk))
        except OSError as error:
            self._failed(error)

    async def reserve(self) -> int:
        """Return the number after which reckonings may be counted on; enough of them are set aside on disk."""
        first = self.known.reckoning
        await self._remember(msgspec.structs.replace(self.known, reckoning=(first + _RESERVE) % GRAIN_NS))
        return first

    # ----

    async def _let_go(self, told: Sequence[WaitingFile], settled: Callable[[], Awaitable[None]]) -> None:
        if not told:
            return
        await settled()
        async with self._files:
            for file in told:
                try:
                    await self._call(lambda file=file: self._log.remove(file))  # type: ignore[misc]
                except OSError as error:
                    self._failed(error)

    async def _stamp(self, files: Sequence[WaitingFile], offset_ns: int, *, uncertain: bool) -> None:
        stamp = Stamp(
            boot=files[0].label.boot,
            files=[file.sequence for file in files],
            offset_ns=offset_ns,
            at_boot_ns=self._now_boot_ns(),
            uncertain=uncertain,
        )

        def work() -> None:
            for lane in Lane:
                self._log.seal(lane)
            self._log.stamp(stamp)

        try:
            await self._call(work)
        except OSError as error:
            self._failed(error)  # it is told all the same; only a crash now could tell it by another offset

    async def _read(self, file: WaitingFile) -> list[Waiting]:
        return await self._call(lambda: [item for group in self._log.read(file) for item in group])

    async def _write(self) -> None:
        """Write what is in memory, to the end even if the caller is cancelled."""
        await self._shielded(self._write_memory())

    async def _write_memory(self) -> None:
        """Write what is in memory; what the disk does not take stays there and is tried again."""
        async with self._writing:
            self._due = None
            for lane in Lane:
                group = self._memory[lane]
                if not group:
                    continue
                self._memory[lane] = []
                event = any(one.durability is Durability.EVENT for _, one in group)
                try:
                    await self._call(lambda lane=lane, group=group, event=event: self._append(lane, group, event))  # type: ignore[misc]
                except OSError as error:
                    self._failed(error)
                    self._memory[lane] = group + self._memory[lane]
                    self._due = self._loop.time() + _RETRY_S
                else:
                    self.error = None
                    self._counters.add("clock.waiting_syncs")

    def _append(self, lane: Lane, group: Sequence[Waiting], event: bool) -> None:
        while self._log.size + self._log.growth(lane, 0) > self._max_bytes + _SLACK:
            # Telling them cannot keep up: air goes first.
            victim = min(self._log.files, key=lambda file: (file.lane is Lane.PERSONS, file.sequence), default=None)
            if victim is None:
                break
            self._log.counts.add("clock.dropped_samples", victim.samples)
            self._log.remove(victim)
        self._log.append(lane, group, event=event)

    def _bound_memory(self) -> None:
        while sum(map(len, self._memory.values())) > MAX_IN_MEMORY:
            lane = next(lane for lane in (Lane.AIR, Lane.PERSONS) if self._memory[lane])
            del self._memory[lane][0]
            self._counters.add("clock.dropped_samples")

    def _failed(self, error: OSError) -> None:
        self.error = str(error)
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
        return await self._shielded(self._in_thread(work))

    async def _shielded(self, work: Coroutine[None, None, T]) -> T:
        task: asyncio.Task[T] = self._loop.create_task(work, name="waiting-room-disk")
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        task.add_done_callback(_retrieve)
        return await asyncio.shield(task)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        try:
            return await self._loop.run_in_executor(self._thread, work)
        finally:
            counts, self._log.counts = self._log.counts, Counters()
            for name, amount in counts.snapshot().items():
                self._counters.add(name, amount)


def _retrieve(task: asyncio.Task[T]) -> None:
    """Look at the outcome, so that an error nobody waited for any more is not reported as forgotten."""
    if not task.cancelled():
        task.exception()
