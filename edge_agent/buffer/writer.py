"""The way to disk: events at once, samples before the window ends, and letting go of what was acknowledged."""

from __future__ import annotations

import asyncio
import logging
import shutil
from typing import TYPE_CHECKING, Final

from edge_agent.buffer.identity import write_meta
from edge_agent.buffer.keeper import RETRY_MIN_S

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from edge_agent.buffer.assembly import ClosedBatch
    from edge_agent.buffer.holding import Holding, Key
    from edge_agent.buffer.intake import Intake
    from edge_agent.buffer.keeper import Keeper
    from edge_agent.buffer.opening import Opened
    from telemetry.counters import Counters

_LOG: Final = logging.getLogger(__name__)
MAINTAIN_S: Final = 5.0


class Writer:
    """Two loops, one a stream; each stream has its own thread, so that a long spill never delays an event."""

    def __init__(
        self,
        opened: Opened,
        *,
        intake: Intake,
        holding: Holding,
        window_s: float,
        max_bytes: int,
        max_memory_bytes: int,
        counters: Counters,
        on_ready: Callable[[], None],
    ) -> None:
        self.free_bytes: int | None = None
        """Free space on the disk, when it was last looked at."""
        self._path = opened.path
        self._identity = opened.identity
        self._events = opened.events
        self._samples = opened.samples
        self._intake = intake
        self._holding = holding
        self._window_s = window_s
        self._max_bytes = max_bytes
        self._max_memory_bytes = max_memory_bytes
        self._counters = counters
        self._on_ready = on_ready
        self._loop = asyncio.get_running_loop()
        self._groups: list[asyncio.Future[None]] = []
        self._relieved = asyncio.Event()
        self._closing = False
        self._stopped = asyncio.Event()
        self._stopped.set()

    # ---- for those who append

    async def committed(self) -> None:
        """Return when the events appended so far are durable; concurrent ones share one fsync."""
        future = self._loop.create_future()
        self._groups.append(future)
        self._events.wake.set()
        await future

    async def room(self) -> None:
        """Return when memory is below its bound; what a failing disk cannot take is dropped and counted."""
        while self._memory_full() and not self._closing:
            if self._samples.error is not None:
                self._drop_memory()
                return
            self._relieved.clear()
            self._samples.wake.set()
            await self._relieved.wait()

    async def settled(self) -> None:
        """Return when nothing that is due to be written by what is here now is in memory alone."""
        until = max(self._dues(), default=0.0)
        while not self._closing and any(due <= until for due in self._dues()):
            await _wait(self._relieved, MAINTAIN_S)

    def _dues(self) -> list[float]:
        closed = [one.spill_at for one in self._holding.batches.values() if not one.on_disk]
        return closed + [one.spill_at for one in self._intake.open_batches]

    def relieve(self) -> None:
        """Let those look again who wait for room."""
        self._relieved.set()

    # ---- the loops

    async def run(self) -> None:
        """Write and let go until `finish`."""
        self._stopped.clear()
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._run_events(), name="buffer-events")
                group.create_task(self._run_samples(), name="buffer-samples")
        finally:
            self._stopped.set()

    async def finish(self) -> None:
        """End the loops, write everything that is not acknowledged and close the streams."""
        self._closing = True
        for keeper in (self._events, self._samples):
            keeper.wake.set()
        self._relieved.set()
        await self._stopped.wait()
        await self._commit_events()
        await self.spill()
        self._count_lost()
        for keeper in (self._events, self._samples):
            await self._let_go(keeper)
            await keeper.close()

    async def _run_events(self) -> None:
        while not self._closing:
            await _wait(self._events.wake, MAINTAIN_S if self._events.error is None else RETRY_MIN_S)
            await self._commit_events()
            await self._let_go(self._events)
            await self._prepare()

    async def _run_samples(self) -> None:
        maintain_at = 0.0
        while not self._closing:
            await _wait(self._samples.wake, self._next_due() - self._loop.time())
            if self._holding.expire(self._loop.time(), self._window_s):
                self._events.rewind()
                self._on_ready()
            if self._spill_due() <= self._loop.time() or (self._memory_full() and self._samples.error is None):
                await self.spill()
            await self._let_go(self._samples)
            if self._identity.low:
                await self._reserve()
            if self._loop.time() >= maintain_at:
                maintain_at = self._loop.time() + MAINTAIN_S
                await self._maintain()

    def _spill_due(self) -> float:
        """Return the loop time at which something in memory has to go to disk."""
        waiting = [one.spill_at for one in self._holding.in_memory(event=False).values()]
        waiting += [one.spill_at for one in self._intake.open_batches if not one.event]
        return max(min(waiting, default=float("inf")), self._samples.retry_at)

    def _next_due(self) -> float:
        expiring = [one.taken_at + self._window_s for one in self._holding.batches.values() if one.on_disk]
        return min(self._spill_due(), self._loop.time() + MAINTAIN_S, *expiring)

    # ---- to disk

    async def _commit_events(self) -> None:
        """Make all waiting events durable with one fsync, then let their appends return."""
        async with self._events.lock:
            futures, self._groups = self._groups, []
            self._intake.close_all(event=True)
            pending = self._holding.in_memory(event=True)
            if pending and (futures or self._closing or self._loop.time() >= self._events.retry_at):
                if not await self._write(self._events, pending):
                    self._counters.add("buffer.events_not_durable", len(futures))
                self._on_ready()
        for future in futures:
            if not future.done():
                future.set_result(None)

    async def spill(self) -> None:
        """Bring all samples that are only in memory to disk, the open batches closed for it, in one write."""
        async with self._samples.lock:
            if any(not one.taken for one in self._holding.in_memory(event=False).values()):
                self._intake.wanted = False
            self._intake.close_all(event=False)
            pending = self._holding.in_memory(event=False)
            if pending:
                await self._write(self._samples, pending)
                for key in [key for key, one in pending.items() if one.on_disk]:
                    self._holding.forget(key)
                self._on_ready()
        self._relieved.set()

    async def _write(self, keeper: Keeper, pending: Mapping[Key, ClosedBatch]) -> bool:
        batches = [one.batch for one in pending.values()]
        await self._make_room(await keeper.call(lambda: keeper.stream.growth(batches)))
        for batch in await keeper.append(batches):
            key = (batch.epoch, batch.number)
            pending[key].on_disk = True
            if key not in self._holding.batches:
                # Acknowledged while it was being written.
                self._holding.taken.add(key)
                keeper.note_acked(key[0], [(key[1], key[1])])
        return all(one.on_disk for one in pending.values())

    async def _make_room(self, growth: int) -> None:
        """Keep below the cap: the oldest samples go first, then the oldest events; the stream counts them."""
        while growth and self._events.state.disk_bytes + self._samples.state.disk_bytes + growth > self._max_bytes:
            victim = self._samples if self._samples.state.segments else self._events
            if not await victim.call(victim.stream.drop_oldest):
                return

    async def _let_go(self, keeper: Keeper) -> None:
        for epoch, spans in await keeper.apply_acked():
            self._holding.release(epoch, spans)

    def _memory_full(self) -> bool:
        return self._intake.memory_bytes > self._max_memory_bytes

    def _drop_memory(self) -> None:
        while self._memory_full() and (dropped := self._holding.drop_one()) is not None:
            name = "events" if dropped.batch.event else "samples"
            self._counters.add(f"buffer.dropped_batches.{name}")
            self._counters.add(f"buffer.dropped_values.{name}", dropped.batch.values)

    def _count_lost(self) -> None:
        """Say what the disk did not take at the very end: nobody will be there to try again."""
        for name, keeper in (("events", self._events), ("samples", self._samples)):
            lost = self._holding.in_memory(event=keeper is self._events).values()
            values = sum(one.batch.values for one in lost)
            if not values:
                continue
            self._counters.add(f"buffer.dropped_batches.{name}", len(lost))
            self._counters.add(f"buffer.dropped_values.{name}", values)
            what = "%d values of %s are lost, the disk does not take them: %s → make room on it or replace it"
            _LOG.error(what, values, name, keeper.error)

    # ---- housekeeping

    async def _prepare(self) -> None:
        """Have space ready for the next events, while nobody waits for it."""
        if self._events.error is not None:
            return
        stream, epoch = self._events.stream, self._identity.epoch
        try:
            await self._make_room(await self._events.call(lambda: stream.spare_bytes(epoch)))
            await self._events.call(lambda: stream.prepare(epoch))
        except OSError:
            # The next commit will say what is wrong, if it still is.
            self._counters.add("buffer.disk_errors")

    async def numbers(self, count: int) -> list[Key]:
        """Return so many new identities, reserving more on disk as far as it lets us."""
        while (left := self._identity.left) < count:
            await self._reserve()
            if self._identity.left == left:
                break
        return [self._intake.number() for _ in range(count)]

    async def _reserve(self) -> None:
        meta = self._identity.next_meta()
        try:
            await self._samples.call(lambda: write_meta(self._path / "meta", meta))
        except OSError:
            self._counters.add("buffer.disk_errors")
        else:
            self._identity.reserve(meta)

    async def _maintain(self) -> None:
        for keeper in (self._events, self._samples):
            await keeper.call(keeper.stream.maintain)
        try:
            self.free_bytes = await self._samples.call(lambda: shutil.disk_usage(self._path).free)
        except OSError:
            self.free_bytes = None


async def _wait(event: asyncio.Event, timeout_s: float) -> None:
    """Wait for `event`, at most `timeout_s`, and clear it."""
    try:
        async with asyncio.timeout(max(0.0, timeout_s)):
            await event.wait()
    except TimeoutError:
        pass
    event.clear()
