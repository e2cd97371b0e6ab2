"""The way to disk: events at once, samples before the window ends, and letting go of what was acknowledged."""

from __future__ import annotations

import asyncio
import logging
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Final

from edge_agent.buffer.identity import write_meta
from edge_agent.buffer.keeper import RETRY_MIN_S
from edge_agent.buffer.priority import Priority
from edge_agent.buffer.unbroken import Unbroken

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from edge_agent.buffer.assembly import ClosedBatch
    from edge_agent.buffer.holding import Holding, Key
    from edge_agent.buffer.housekeeping import Housekeeping
    from edge_agent.buffer.intake import Intake
    from edge_agent.buffer.keeper import Keeper
    from edge_agent.buffer.opening import Opened
    from telemetry.counters import Counters

_LOG: Final = logging.getLogger(__name__)
MAINTAIN_S: Final = 5.0
PORTION_BYTES: Final = 1024 * 1024
"""So much goes to disk in one write: it fits under the smallest cap, though memory holds as much as that."""
NO_ROOM: Final = "max_bytes is used up by more valuable data"


class Writer:
    """Two loops, for events and for the rest; each stream has its own thread: a long spill never delays an event."""

    def __init__(
        self,
        opened: Opened,
        *,
        intake: Intake,
        holding: Holding,
        housekeeping: Housekeeping,
        window_s: float,
        max_memory_bytes: int,
        counters: Counters,
        on_ready: Callable[[], None],
    ) -> None:
        self._path = opened.path
        self._identity = opened.identity
        self._keepers = opened.keepers
        self._events = opened.events
        self._spilled = opened.spilled
        self._wake = opened.spilled[0].wake
        self._housekeeping = housekeeping
        self._intake = intake
        self._holding = holding
        self._window_s = window_s
        self._max_memory_bytes = max_memory_bytes
        self._counters = counters
        self._on_ready = on_ready
        self._loop = asyncio.get_running_loop()
        self._groups: list[asyncio.Future[None]] = []
        self._unbroken = Unbroken("buffer-to-disk")
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
        if self._events.error is not None:
            self._drop_memory()

    async def room(self) -> None:
        """Return when memory is below its bound; what a failing disk cannot take is dropped and counted."""
        while self._memory_full() and not self._closing:
            if any(keeper.error is not None for keeper in self._spilled):
                self._drop_memory()
                return
            self._relieved.clear()
            self._wake.set()
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
                group.create_task(self._run_spills(), name="buffer-spills")
        finally:
            self._stopped.set()

    async def finish(self) -> None:
        """End the loops, write everything that is not acknowledged and close the streams."""
        self._closing = True
        self._events.wake.set()
        self._wake.set()
        self._relieved.set()
        await self._stopped.wait()
        await self._unbroken.finish()
        await self._commit_events()
        await self.spill()
        self._count_lost()
        for keeper in self._keepers:
            await self._let_go(keeper)
        await self._housekeeping.finish()
        for keeper in self._keepers:
            await keeper.close()

    async def _run_events(self) -> None:
        while not self._closing:
            await _wait(self._events.wake, MAINTAIN_S if self._events.error is None else RETRY_MIN_S)
            await self._unbroken.run(self._commit_events())
            await self._let_go(self._events)
            await self._prepare()

    async def _run_spills(self) -> None:
        maintain_at = 0.0
        while not self._closing:
            await _wait(self._wake, self._next_due() - self._loop.time())
            if self._holding.expire(self._loop.time(), self._window_s):
                self._events.rewind()
                self._on_ready()
            if self._spill_due() <= self._loop.time() or (self._memory_full() and self._healthy()):
                await self._unbroken.run(self.spill())
            for keeper in self._spilled:
                await self._let_go(keeper)
            if self._identity.low:
                await self._reserve()
            if self._loop.time() >= maintain_at:
                maintain_at = self._loop.time() + MAINTAIN_S
                await self._housekeeping.turn()

    def _spill_due(self) -> float:
        """Return the loop time at which something in memory has to go to disk."""
        due = float("inf")
        for keeper in self._spilled:
            waiting = [one.spill_at for one in self._holding.in_memory(keeper.priority).values()]
            waiting += [one.spill_at for one in self._intake.open_batches if one.priority is keeper.priority]
            due = min(due, max(min(waiting, default=float("inf")), keeper.retry_at))
        return due

    def _healthy(self) -> bool:
        return all(keeper.error is None for keeper in self._spilled)

    def _next_due(self) -> float:
        expiring = [one.taken_at + self._window_s for one in self._holding.batches.values() if one.on_disk]
        return min(self._spill_due(), self._loop.time() + MAINTAIN_S, *expiring)

    # ---- to disk

    async def _commit_events(self) -> None:
        """Make all waiting events durable with one fsync, then let their appends return."""
        async with self._events.lock:
            futures, self._groups = self._groups, []
            self._intake.close_all(event=True)
            pending = self._holding.in_memory(Priority.EVENTS)
            if pending and (futures or self._closing or self._loop.time() >= self._events.retry_at):
                if not await self._write(self._events, pending):
                    self._counters.add("buffer.events_not_durable", len(futures))
                self._on_ready()
        for future in futures:
            if not future.done():
                future.set_result(None)

    async def spill(self) -> None:
        """Bring all samples that are only in memory to disk, the open batches closed for it: one write a priority."""
        async with AsyncExitStack() as locks:
            for keeper in self._spilled:
                await locks.enter_async_context(keeper.lock)
            waiting = [self._holding.in_memory(keeper.priority) for keeper in self._spilled]
            if any(not one.taken for pending in waiting for one in pending.values()):
                self._intake.wanted = False
            self._intake.close_all(event=False)
            await asyncio.gather(*(self._spill(keeper) for keeper in self._spilled))
        self._relieved.set()

    async def _spill(self, keeper: Keeper) -> None:
        pending = self._holding.in_memory(keeper.priority)
        if pending and (self._closing or self._loop.time() >= keeper.retry_at):
            await self._write(keeper, pending)
            for key in [key for key, one in pending.items() if one.on_disk]:
                self._holding.forget(key)
            self._on_ready()

    async def _write(self, keeper: Keeper, pending: Mapping[Key, ClosedBatch]) -> bool:
        for portion in _portions(pending):
            if not await self._write_portion(keeper, portion):
                return False
        return True

    async def _write_portion(self, keeper: Keeper, pending: Mapping[Key, ClosedBatch]) -> bool:
        batches = [one.batch for one in pending.values()]
        growth = await keeper.call(lambda: keeper.stream.growth(batches))
        async with self._housekeeping.space(keeper.priority, growth) as room:
            if not room:
                keeper.refuse(NO_ROOM)
                return False
            durable = await keeper.append(batches)
        for batch in durable:
            key = (batch.epoch, batch.number)
            pending[key].on_disk = True
            if key not in self._holding.batches:
                # Acknowledged while it was being written.
                self._holding.taken.add(key)
                keeper.note_acked(key[0], [(key[1], key[1])])
        return all(one.on_disk for one in pending.values())

    async def _let_go(self, keeper: Keeper) -> None:
        for epoch, spans in await keeper.apply_acked():
            self._holding.release(epoch, spans)

    def _memory_full(self) -> bool:
        return self._intake.memory_bytes > self._max_memory_bytes

    def _drop_memory(self) -> None:
        while self._memory_full() and (dropped := self._holding.drop_one()) is not None:
            name = dropped.batch.priority.folder
            self._counters.add(f"buffer.dropped_batches.{name}")
            self._counters.add(f"buffer.dropped_values.{name}", dropped.batch.values)

    def _count_lost(self) -> None:
        """Say what the disk did not take at the very end: nobody will be there to try again."""
        for keeper in self._keepers:
            name = keeper.priority.folder
            lost = self._holding.in_memory(keeper.priority).values()
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
            growth = await self._events.call(lambda: stream.spare_bytes(epoch))
            async with self._housekeeping.space(Priority.EVENTS, growth):
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
            keeper = self._spilled[0]
            await keeper.call(lambda: write_meta(self._path / "meta", meta, keeper.stream.disk))
        except OSError:
            self._counters.add("buffer.disk_errors")
        else:
            self._identity.reserve(meta)


def _portions(pending: Mapping[Key, ClosedBatch]) -> list[dict[Key, ClosedBatch]]:
    portions: list[dict[Key, ClosedBatch]] = [{}]
    size = 0
    for key, one in pending.items():
        size += len(one.batch.payload)
        if size > PORTION_BYTES and portions[-1]:
            portions.append({})
            size = len(one.batch.payload)
        portions[-1][key] = one
    return portions


async def _wait(event: asyncio.Event, timeout_s: float) -> None:
    """Wait for `event`, at most `timeout_s`, and clear it."""
    try:
        async with asyncio.timeout(max(0.0, timeout_s)):
            await event.wait()
    except TimeoutError:
        pass
    event.clear()
