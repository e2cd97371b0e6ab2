"""Keeping within the caps in bytes and in age, and knowing what the disk has to bear."""

from __future__ import annotations

import asyncio
import shutil
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Final

from edge_agent.buffer.kept import Figures, kernel_counters, write_figures
from edge_agent.buffer.priority import Priority, priority_of
from edge_agent.buffer.quarantine import empty
from edge_agent.buffer.status import ESTIMATED, KEPT, MEASURED
from telemetry.sample import PERSON_CLASSES

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from edge_agent.buffer.ageing import Ages
    from edge_agent.buffer.disk import Disk
    from edge_agent.buffer.holding import Holding
    from edge_agent.buffer.intake import Intake
    from edge_agent.buffer.opening import Opened
    from edge_agent.buffer.rates import Flash
    from telemetry.counters import Counters
    from telemetry.sample import DataClass

EXPIRE_EVERY_S: Final = 600.0
KEEP_FIRST_S: Final = 600.0
KEEP_EVERY_S: Final = 6 * 3600.0
SURE_AFTER_S: Final = 600.0


class Housekeeping:
    """Makes room, lets go of what is too old, keeps figures for whoever asks from outside."""

    def __init__(
        self,
        opened: Opened,
        *,
        intake: Intake,
        holding: Holding,
        ages: Ages,
        flash: Flash,
        max_bytes: int,
        estimate: Mapping[str, float] | None,
        kept: Figures | None,
        counters: Counters,
        now_ns: Callable[[], int],
    ) -> None:
        self.free_bytes: int | None = None
        """Free space on the disk, when it was last looked at."""
        self.flash = flash
        self.others: list[Disk] = []
        """Whose writes count for the flash card, too."""
        self._path = opened.path
        self._keepers = opened.keepers
        self._intake = intake
        self._holding = holding
        self._ages = ages
        self._max_bytes = max_bytes
        self._estimate = estimate
        self._kept = kept.per_hour if kept is not None and kept.measured else None
        self._counters = counters
        self._now_ns = now_ns
        self._loop = asyncio.get_running_loop()
        self._reserved = 0
        self._expire_at = 0.0
        self._keep_at = self._loop.time() + KEEP_FIRST_S

    @asynccontextmanager
    async def space(self, priority: Priority, growth: int) -> AsyncIterator[bool]:
        """Keep the disk below the cap while something of `priority` grows by so much; false if it must not.

        The oldest of the least valuable goes first, never anything of more value than what comes; the streams count it.
        """
        room = not growth or await self._make_room(priority, growth) or priority is Priority.EVENTS
        growth = growth if room else 0
        self._reserved += growth
        try:
            yield room
        finally:
            self._reserved -= growth

    async def turn(self) -> None:
        """Do what is due; to be called every few seconds."""
        await self._make_room(Priority.EVENTS, 0)
        for keeper in self._keepers:
            await keeper.call(keeper.stream.maintain)
        await self._look()
        limits_ns = self._ages.limits_ns(self._loop.time())
        if limits_ns and self._loop.time() >= self._expire_at:
            self._expire_at = self._loop.time() + EXPIRE_EVERY_S
            await self._expire(limits_ns)
        if self._loop.time() >= self._keep_at:
            self._keep_at = self._loop.time() + KEEP_EVERY_S
            await self._keep()

    async def finish(self) -> None:
        """Keep the last figures."""
        await self._look()
        await self._keep()

    def rates(self) -> dict[str, Mapping[str, float] | None]:
        """Return what is known of bytes an hour by priority, the best first."""
        now = self._loop.time()
        measured, kept = {MEASURED: self._intake.rate.per_hour(now)}, {KEPT: self._kept}
        # A few minutes after a start say less than the run before.
        first, second = (measured, kept) if self._intake.rate.span_s(now) >= SURE_AFTER_S else (kept, measured)
        return {**first, **second, ESTIMATED: self._estimate}

    async def _make_room(self, priority: Priority, growth: int) -> bool:
        """Drop what is worth no more than `priority` until there is room; false if that is not enough."""
        victims = [keeper for keeper in reversed(self._keepers) if keeper.priority >= priority]
        stays = sum(keeper.state.disk_bytes for keeper in self._keepers if keeper not in victims)
        if priority is not Priority.EVENTS and self._reserved + growth + stays > self._max_bytes:
            return False  # nor would it fit if all were dropped
        while self._reserved + growth + sum(keeper.state.disk_bytes for keeper in self._keepers) > self._max_bytes:
            victim = next((keeper for keeper in victims if keeper.state.segments), None)
            if victim is None:
                return False
            try:
                await victim.call(victim.stream.drop_oldest)
            except OSError:
                self._counters.add("buffer.disk_errors")
                return False
        return True

    async def _expire(self, limits_ns: dict[DataClass, int]) -> None:
        for one in self._holding.drop_older(limits_ns):
            name = one.batch.priority.folder
            self._counters.add(f"buffer.expired_batches.{name}")
            self._counters.add(f"buffer.expired_values.{name}", one.batch.values)
        # Whose rows are in damaged bytes nobody can tell, but from which log they came.
        persons = {name: at_ns for name, at_ns in limits_ns.items() if name in PERSON_CLASSES}
        events = self._keepers[Priority.EVENTS]
        disk, folder = events.stream.disk, self._path / "quarantine"
        try:
            for name, at_ns in persons.items():
                names = f"{priority_of(name, event=False).folder}-*"
                await events.call(partial(empty, folder, disk, names=names, before_ns=at_ns))
            if persons:
                await events.call(partial(empty, folder, disk, before_ns=min(persons.values())))
        except OSError:
            self._counters.add("buffer.disk_errors")
        for keeper in self._keepers:
            try:
                async with keeper.lock:
                    skip = frozenset(self._holding.taken)
                    await keeper.call(partial(keeper.stream.expire, limits_ns, skip))
            except OSError:
                # What was done stays done; the next turn does the rest.
                self._counters.add("buffer.disk_errors")

    async def _look(self) -> None:
        events = self._keepers[Priority.EVENTS]
        try:
            self.free_bytes = await events.call(lambda: shutil.disk_usage(self._path).free)
        except OSError:
            self.free_bytes = None
        outside = await events.call(lambda: kernel_counters(self._path))
        counted = [keeper.stream.disk for keeper in self._keepers] + self.others
        self.flash.note(
            self._loop.time(),
            written=sum(one.written for one in counted),
            syncs=sum(one.syncs for one in counted),
            outside=outside,
        )

    async def _keep(self) -> None:
        rates = self.rates()
        rate = next((rate for name, rate in rates.items() if rate and name != ESTIMATED), None)
        figures = Figures(
            at_ns=self._now_ns(),
            per_hour=dict(rate or {}),
            measured=rate is not None,
            flash=self.flash.state(self._loop.time()),
        )
        events = self._keepers[Priority.EVENTS]
        try:
            await events.call(lambda: write_figures(self._path, figures, events.stream.disk))
        except OSError:
            self._counters.add("buffer.disk_errors")
