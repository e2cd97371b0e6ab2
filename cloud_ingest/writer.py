"""One writer a store: groups batches, makes them durable, files what is refused, then has the gateways answered."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from itertools import accumulate, chain
from typing import TYPE_CHECKING, Final

from cloud_ingest import letters
from cloud_ingest.placing import Placer
from telemetry.topics import Flow

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence

    from cloud_ingest.acks import Acknowledger
    from cloud_ingest.deadletter import Letter
    from cloud_ingest.files import Files
    from cloud_ingest.parcel import Parcel
    from cloud_ingest.series import Row
    from cloud_ingest.settings import WriterSettings
    from cloud_ingest.stores.base import Store
    from telemetry.counters import Counters
    from telemetry.sample import DataClass

_log = logging.getLogger(__name__)
_IDLE_S: Final = 5.0
_BACKFILL_FLUSH_S: Final = 0.01
"""A gateway that drains has two batches on their way and waits for the answer: company would only cost it time."""
_BACKFILL: Final = f"/{Flow.BACKFILL}"
GROUPS_AT_ONCE: Final = 2
"""While the store takes one group, the next is encoded and sent: neither waits for the other."""


class Writer:
    """Takes the parcels of the classes routed to its store; without a store it only files letters."""

    def __init__(
        self,
        *,
        store: Store | None,
        classes: Collection[DataClass],
        files: Files,
        acks: Acknowledger,
        counters: Counters,
        settings: WriterSettings,
        on_settled: Callable[[Parcel], None],
        on_return: Callable[[], None] = lambda: None,
        on_stored: Callable[[DataClass, Sequence[Row]], None] | None = None,
    ) -> None:
        self.store = store
        self.progress_at = time.monotonic()
        """When it last did or tried something: feeds the watchdog."""
        self._files = files
        self._acks = acks
        self._counters = counters
        self._settings = settings
        self._on_settled = on_settled
        self._on_return = on_return
        """Called when a store that was away has taken something again."""
        self._on_stored = on_stored
        self._waiting: deque[Parcel] = deque()
        self._cost_waiting = 0
        self._live_next = True
        """Where there are both, the next group is of live batches."""
        self._groups: list[list[Parcel]] = []
        """Taken and not yet settled."""
        self._cost_in_groups = 0
        self._free = asyncio.Semaphore(GROUPS_AT_ONCE)
        self._busy_until = 0.0
        self._patience = False
        """The store asked for patience or takes long, and has settled nothing since."""
        self._away = False
        """It failed, and has settled nothing since."""
        self._arrived = asyncio.Event()
        self._full = asyncio.Event()
        self._settled = asyncio.Event()
        """Set, and replaced, whenever a group is settled."""
        self._idle = asyncio.Event()
        self._idle.set()
        self._placer = (
            Placer(
                store,
                counters,
                classes=classes,
                on_wait=self._tell_away,
                on_slow=self._tell_to_wait,
                on_progress=self._note_progress,
            )
            if store is not None
            else None
        )

    def has_room(self, cost: int) -> bool:
        """Tell whether a message of `cost` may be submitted: memory stays bounded however long the store is away.

        While it is away, a group to begin with is enough.
        """
        in_hand = len(self._waiting) + sum(len(group) for group in self._groups)
        total = self._cost_waiting + self._cost_in_groups
        most = min(self._settings.max_values, self._settings.flush_values) if self._away else self._settings.max_values
        return in_hand < self._settings.max_batches and (not in_hand or total + cost <= most)

    @property
    def retry_after_s(self) -> float:
        """When it may have room again, in seconds."""
        return max(1.0, self._busy_until - time.monotonic())

    def submit(self, parcel: Parcel) -> None:
        """Take a parcel in hand; ask `has_room` first."""
        self._waiting.append(parcel)
        self._cost_waiting += parcel.cost
        self._idle.clear()
        self._arrived.set()
        if self._cost_waiting >= self._settings.flush_values:
            self._full.set()
        elif not _is_live(parcel):
            asyncio.get_running_loop().call_later(_BACKFILL_FLUSH_S, self._full.set)
        self.answer_if_busy(parcel)

    def answer_if_busy(self, parcel: Parcel) -> None:
        """While the store is away, free the broker of a parcel in hand: its gateway keeps the batch.

        Left unacknowledged, the batches for one dead store would use up Receive Maximum, and nothing else came in.
        """
        if self._patience:
            self._let_wait(parcel, self.retry_after_s)

    def _let_wait(self, parcel: Parcel, pause_s: float) -> None:
        if parcel.identity is not None:
            deliveries, parcel.deliveries = parcel.deliveries, []
            self._acks.wait(parcel.identity, pause_s, deliveries)

    async def drained(self) -> None:
        """Wait until nothing is in hand."""
        await self._idle.wait()

    async def settled_so_far(self) -> None:
        """Wait until everything that is in hand now is settled, whatever comes meanwhile."""
        # The parcels themselves: what comes later may have the id of one that is gone.
        mine = set(self._in_hand())
        while not mine.isdisjoint(self._in_hand()):
            await self._settled.wait()

    def _in_hand(self) -> Iterator[Parcel]:
        return chain(*self._groups, self._waiting)

    def hurry(self) -> None:
        """Stop grouping: write what is in hand at once. For the end of the process."""
        self._settings = self._settings.model_copy(update={"flush_s": 0.0})
        self._full.set()

    async def run(self) -> None:
        """Write groups until cancelled. Raises ConfigError if the store turns out unusable."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                self.progress_at = time.monotonic()
                if not self._waiting:
                    self._arrived.clear()
                    self._full.clear()
                    self._note_idle()
                    await _within(self._arrived, _IDLE_S)
                    continue
                if self._settings.flush_s > 0:
                    await _within(self._full, self._settings.flush_s)
                await self._free.acquire()
                group = self._take_group()
                tasks.create_task(self._settle_group(group), name="writer-group")

    def _take_group(self) -> list[Parcel]:
        """Take what waits; live batches and backlogs in turn, so that new values do not wait for old ones."""
        self._full.clear()
        group: list[Parcel] = []
        left: deque[Parcel] = deque()
        cost = 0
        both = len({_is_live(parcel) for parcel in self._waiting}) > 1
        for parcel in self._waiting:
            if cost < self._settings.flush_values and (not both or _is_live(parcel) is self._live_next):
                group.append(parcel)
                cost += parcel.cost
            else:
                left.append(parcel)
        self._waiting = left
        self._live_next = not (both and self._live_next)
        self._cost_waiting -= cost
        self._cost_in_groups += cost
        self._groups.append(group)
        if both or self._cost_waiting >= self._settings.flush_values:
            self._full.set()
        return group

    async def _settle_group(self, group: list[Parcel]) -> None:
        try:
            await self._settle(group)
        finally:
            self._cost_in_groups -= sum(parcel.cost for parcel in group)
            self._groups.remove(group)
            self._settled.set()
            self._settled = asyncio.Event()
            self._free.release()
            self.progress_at = time.monotonic()
            self._note_idle()

    def _note_progress(self) -> None:
        self.progress_at = time.monotonic()

    def _note_idle(self) -> None:
        if not self._waiting and not self._groups:
            self._idle.set()

    async def _settle(self, group: list[Parcel]) -> None:
        started = time.monotonic()
        # Letters first, then rows: `refused` is only said of what is on disk.
        await self._files.commit([letter for parcel in group for letter in parcel.letters])
        rows = [row for parcel in group for row in parcel.rows]
        refused = await self._placer.place(rows) if self._placer else {}
        if refused:
            await self._files.commit(self._file_refused(group, rows, refused))
        self._busy_until = 0.0
        self._patience = False
        returned, self._away = self._away, False
        for parcel in group:
            if parcel.identity is None:
                for delivery in parcel.deliveries:
                    delivery.acknowledge()
            else:
                if parcel.settles:
                    self._files.seen.settle(parcel.identity, parcel.digest, tuple(parcel.refused))
                self._acks.settled(parcel.identity, parcel.refused, parcel.deliveries)
            self._on_settled(parcel)
        unstored = sum(len(rows[index].fields) for index in refused)
        self._counters.add("writer.stored_values", sum(parcel.values for parcel in group) - unstored)
        self._counters.add("writer.stored_rows", len(rows) - len(refused))
        self._counters.add("writer.groups")
        self._counters.add("writer.busy_ms", int((time.monotonic() - started) * 1000))
        try:
            await self._acks.flush()
            if returned:
                # Apart from the answers: only one that names no batch says "I am here".
                self._on_return()
                await self._acks.flush()
        finally:
            # Only now: a copy must not hold up an acknowledgement.
            self._pass_on(group, refused)

    def _pass_on(self, group: list[Parcel], refused: dict[int, str]) -> None:
        """Hand the rows that the store has confirmed to whoever wants a copy."""
        if self._on_stored is None:
            return
        first = 0
        for parcel in group:
            if parcel.batch is not None:
                stored = [row for index, row in enumerate(parcel.rows, first) if index not in refused]
                self._on_stored(parcel.batch.data_class, stored)
            first += len(parcel.rows)

    def _file_refused(self, group: list[Parcel], rows: list[Row], refused: dict[int, str]) -> list[Letter]:
        """Add what the store refused to each parcel's refusals; return the letters."""
        filed: list[Letter] = []
        ends = accumulate(len(parcel.rows) for parcel in group)
        for parcel, end in zip(group, ends, strict=True):
            first = end - len(parcel.rows)
            mine = {rows[i].sample: refused[i] for i in range(first, end) if i in refused}
            if not mine or parcel.batch is None:
                continue
            new, refusals = letters.for_samples(parcel.topic, parcel.batch, mine)
            filed += new
            parcel.refused += refusals
            self._counters.add("writer.refused_rows", len(mine))
        return filed

    async def _tell_away(self, pause_s: float) -> None:
        self._away = True
        await self._tell_to_wait(pause_s)

    async def _tell_to_wait(self, pause_s: float) -> None:
        self.progress_at = time.monotonic()
        self._busy_until = time.monotonic() + pause_s
        self._patience = True
        for parcel in self._in_hand():
            self._let_wait(parcel, pause_s)
        await self._acks.flush()


def _is_live(parcel: Parcel) -> bool:
    return not parcel.topic.endswith(_BACKFILL)


async def _within(event: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return
