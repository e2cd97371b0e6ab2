"""Buffer: samples in, batches out until they are acknowledged; memory first, disk before the window ends."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final, Self

from edge_agent.buffer.ageing import Ages
from edge_agent.buffer.assembly import Assembler
from edge_agent.buffer.holding import Holding
from edge_agent.buffer.housekeeping import Housekeeping
from edge_agent.buffer.intake import Intake
from edge_agent.buffer.opening import Opened, open_directory
from edge_agent.buffer.purge import Purger
from edge_agent.buffer.rates import Flash
from edge_agent.buffer.record import HEADER_BYTES, EncodedBatch
from edge_agent.buffer.status import BufferStatus, Held, greatest_age_h, hours
from edge_agent.buffer.writer import Writer
from telemetry.ranges import merge
from telemetry.sample import Admitted, Durability

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path
    from types import TracebackType

    from edge_agent.buffer.disk import Disk
    from edge_agent.buffer.rest import Purged, Who
    from telemetry.ack import Ack
    from telemetry.batch import DeviceInfo
    from telemetry.counters import Counters
    from telemetry.sample import DataClass

SPILL_SHARE: Final = 0.75
"""Share of the window after which an unacknowledged sample starts its way to disk; the rest is for the fsync."""
MAX_MEMORY_BYTES: Final = 4 * 1024 * 1024
FLASH_BUDGET_BYTES: Final = 5_000_000


class Buffer:
    """Keeps every admitted sample until it is acknowledged.

    `run()` has to run beside it; `close()` leaves on disk whatever is not acknowledged. Offers the publisher what it
    needs: `epoch`, `on_ready`, `take_live`, `take_backfill`, `acknowledge`.
    """

    def __init__(
        self,
        opened: Opened,
        *,
        assembler: Assembler,
        window_s: float,
        max_bytes: int,
        max_memory_bytes: int,
        max_age_days: Mapping[DataClass, float],
        estimate: Mapping[str, float] | None,
        flash_budget_bytes: int,
        counters: Counters,
        now_ns: Callable[[], int],
        clock_synced: Callable[[], bool],
    ) -> None:
        self._opened = opened
        self._window_s = window_s
        self._max_bytes = max_bytes
        self._max_age_days = max_age_days
        self._counters = counters
        self._now_ns = now_ns
        self._loop = asyncio.get_running_loop()
        self._holding = Holding()
        self._intake = Intake(
            assembler=assembler,
            identity=opened.identity,
            holding=self._holding,
            window_s=window_s,
            counters=counters,
            on_closed=self._ready,
        )
        self._housekeeping = Housekeeping(
            opened,
            intake=self._intake,
            holding=self._holding,
            ages=Ages(max_age_days, now_ns=now_ns, synced=clock_synced),
            flash=Flash(budget_bytes_a_day=flash_budget_bytes, start=self._loop.time()),
            max_bytes=max_bytes,
            estimate=estimate,
            kept=opened.figures,
            counters=counters,
            now_ns=now_ns,
        )
        self._writer = Writer(
            opened,
            intake=self._intake,
            holding=self._holding,
            housekeeping=self._housekeeping,
            window_s=window_s,
            max_memory_bytes=max_memory_bytes,
            counters=counters,
            on_ready=self._ready,
        )
        self._purger = Purger(
            opened, intake=self._intake, holding=self._holding, writer=self._writer, counters=counters
        )
        self._notify: Callable[[], None] = lambda: None
        self._closing: asyncio.Task[None] | None = None

    @classmethod
    async def open(
        cls,
        path: Path,
        *,
        site: str,
        gateway: str,
        simulated: bool,
        window_s: float,
        max_bytes: int,
        devices: Mapping[str, DeviceInfo],
        counters: Counters,
        now_ns: Callable[[], int] = time.time_ns,
        max_batch_bytes: int = 48 * 1024,
        max_batch_values: int = 1000,
        max_memory_bytes: int = MAX_MEMORY_BYTES,
        spill_share: float = SPILL_SHARE,
        max_age_days: Mapping[DataClass, float] | None = None,
        clock_synced: Callable[[], bool] = lambda: True,
        estimate: Mapping[str, float] | None = None,
        flash_budget_bytes: int = FLASH_BUDGET_BYTES,
    ) -> Self:
        """Open the buffer directory `path`, made if missing; what an earlier run left is taken in.

        `max_age_days`: how long a class may wait to be sent, if it has a limit. `estimate`: bytes an hour by priority
        that the devices may bring, for as long as nothing was measured. `flash_budget_bytes`: a day, on a healthy link.
        Damage never stops it. Raises ConfigError if the directory cannot be used at all or another agent uses it.
        """
        opened = await open_directory(
            path, site=site, gateway=gateway, max_bytes=max_bytes, counters=counters, now_ns=now_ns
        )
        assembler = Assembler(
            site=site,
            gateway=gateway,
            simulated=simulated,
            devices=devices,
            window_s=window_s,
            spill_share=spill_share,
            max_values=max_batch_values,
            max_bytes=max_batch_bytes,
        )
        return cls(
            opened,
            assembler=assembler,
            window_s=window_s,
            max_bytes=max_bytes,
            max_memory_bytes=max_memory_bytes,
            max_age_days=max_age_days or {},
            estimate=estimate,
            flash_budget_bytes=flash_budget_bytes,
            counters=counters,
            now_ns=now_ns,
            clock_synced=clock_synced,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    @property
    def epoch(self) -> str:
        """The epoch of new batches."""
        return self._opened.identity.epoch

    async def run(self) -> None:
        """Close, spill, commit and let go, until `close`; returns then."""
        await self._writer.run()

    async def close(self) -> None:
        """Leave everything that is not acknowledged on disk, synced, and release the directory.

        Once begun it goes on to its end, also if the caller is cancelled; whoever calls it again waits for that.
        """
        if self._closing is None:
            self._closing = self._loop.create_task(self._close(), name="buffer-close")
        await asyncio.shield(self._closing)

    async def _close(self) -> None:
        await self._writer.finish()
        self._opened.release()

    async def append(self, admitted: Admitted) -> None:
        """Take in a sample.

        An `event` is durable when this returns; a `sample` is acknowledged or durable within W of its acquisition.
        Waits for a sample only while memory is full. A resumed event that continues one stored at most 30 s ago is
        merged into that. Raises ConfigError for a device that the buffer was not told of.
        """
        if type(admitted) is not Admitted:
            raise TypeError(f"only what the gate admitted is buffered, not {type(admitted).__name__}")
        if self._closing is not None:
            raise RuntimeError("the buffer is closed")
        event = admitted.durability is Durability.EVENT
        if event and self._opened.recent.merges(admitted):
            self._counters.add("buffer.merged_resumed")
            return
        first = self._intake.add(admitted, age_s=max(0.0, (self._now_ns() - admitted.acquired_at_ns) / 1e9))
        if event:
            self._opened.recent.note(admitted.device, admitted.handle, admitted.acquired_at_ns)
            await self._writer.committed()
        else:
            if first:
                self._opened.spilled[0].wake.set()
            await self._writer.room()

    async def settled(self) -> None:
        """Return when all that was appended so far is acknowledged or on disk (or dropped and counted)."""
        await self._writer.settled()

    def count_too(self, disk: Disk) -> None:
        """Let what another part writes beside the buffer count for the flash card's budget."""
        self._housekeeping.others.append(disk)

    def close_open_batches(self) -> None:
        """Close what still waits for company, so that the publisher can send it: for a graceful stop."""
        self._intake.close_all(event=False)

    async def purge(self, who: Who, *, reason: str) -> Purged:
        """Remove the rows of the handles for which `who` is true, wherever they wait, and their bytes from the files.

        Other people's rows stay; those of a batch that held such a row get a new identity. What is `gone` must not be
        sent again. Counted as `buffer.purged_values.<reason>`. Raises OSError if the disk refuses: ask again then.
        """
        purged = await self._purger.purge(who, reason=reason)
        self._writer.relieve()
        self._notify()
        return purged

    # ---- what the publisher needs

    def on_ready(self, notify: Callable[[], None]) -> None:
        """Call `notify` in the event loop whenever there may be something new to take."""
        self._notify = notify

    def take_live(self) -> EncodedBatch | None:
        """Return the oldest batch younger than W, the most valuable first; the taker sends it until acknowledged."""
        self._intake.wanted = True
        self._intake.close_overdue()
        # While the disk fails or hangs, an event is safer with the ingest than here.
        volatile = self._opened.events.error is not None or self._opened.events.busy_s > self._window_s
        return self._holding.take(self._holding.next_live(self._loop.time(), self._window_s, volatile_events=volatile))

    async def take_backfill(self) -> EncodedBatch | None:
        """Return the oldest batch that is not live any more, by priority; the taker sends it until acknowledged."""
        for keeper in self._opened.keepers:
            if keeper.state.batches:
                batch = await keeper.read(self._holding.skip())
                while batch is not None and (batch.epoch, batch.number) in self._purger.gone:
                    batch = await keeper.read(self._holding.skip())
                if batch is not None:
                    self._holding.taken.add((batch.epoch, batch.number))
                    return batch
            old = self._holding.next_old(self._loop.time(), self._window_s, keeper.priority)
            if old is not None:
                return self._holding.take(old)
        return None

    def acknowledge(self, ack: Ack) -> None:
        """Let go of the batches that `ack` names as stored or refused; unknown epochs are ignored and counted."""
        spans = merge(ack.stored, ((refused.batch, refused.batch) for refused in ack.refused))
        if not spans:
            return
        keepers = self._opened.keepers
        known = {self.epoch}.union(*(keeper.state.epochs for keeper in keepers))
        if ack.epoch not in known and not self._holding.knows(ack.epoch):
            self._counters.add("buffer.acks_unknown_epoch")
            return
        self._holding.acknowledge(ack.epoch, spans)
        self._writer.relieve()
        on_disk = [keeper for keeper in keepers if keeper.covers(ack.epoch, spans)]
        for keeper in on_disk:
            keeper.note_acked(ack.epoch, spans)
        if not on_disk:
            self._holding.release(ack.epoch, spans)

    def status(self) -> BufferStatus:
        """Return what is not acknowledged yet and how long the buffer lasts."""
        keepers = self._opened.keepers
        states = [keeper.state for keeper in keepers]
        memory = [one.batch for one in self._holding.batches.values() if not one.on_disk]
        opened = self._intake.open_batches
        oldest = [state.oldest_at_ns for state in states if state.oldest_at_ns is not None]
        oldest += [one.oldest_at_ns for one in memory] + [one.oldest_at_ns for one in opened]
        batches = sum(state.batches for state in states) + len(memory)
        disk_bytes = sum(state.disk_bytes for state in states)
        held = {
            keeper.priority.folder: Held(batches=state.batches, values=state.values, bytes=state.bytes)
            for keeper, state in zip(keepers, states, strict=True)
        }
        lasts = hours(
            rates=self._housekeeping.rates(),
            held=held,
            max_bytes=self._max_bytes,
            disk_bytes=disk_bytes,
            free=self._housekeeping.free_bytes,
            max_age_h=greatest_age_h(self._max_age_days),
        )
        return BufferStatus(
            epoch=self.epoch,
            batches=batches,
            values=sum(state.values for state in states)
            + sum(one.values for one in memory)
            + sum(one.values for one in opened),
            bytes=sum(state.bytes for state in states) + sum(HEADER_BYTES + len(one.payload) for one in memory),
            unsent_batches=max(0, batches - len(self._holding.taken)),
            memory_batches=len(memory),
            oldest_age_s=max(0.0, (self._now_ns() - min(oldest)) / 1e9) if oldest else None,
            hours_left=lasts.left,
            hours_left_of=lasts.left_of,
            rate=lasts.rate,
            bytes_an_hour=lasts.bytes_an_hour,
            held=held,
            disk_bytes=disk_bytes,
            max_bytes=self._max_bytes,
            disk_error=next((why for keeper in keepers if (why := keeper.error or keeper.unreadable)), None),
            disk_busy_s=max(keeper.busy_s for keeper in keepers),
            flash=self._housekeeping.flash.state(self._loop.time()),
        )

    def _ready(self) -> None:
        self._notify()
