"""Purging people's rows: from memory, from the log on disk and from the quarantine.

The rest of each batch gets a number of its own and is durable before the old record goes. Whoever asks has written down
somewhere that he asked: a purge that was cut short is asked for again, and then finishes.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from functools import partial
from typing import TYPE_CHECKING

from edge_agent.buffer.assembly import ClosedBatch
from edge_agent.buffer.quarantine import empty
from edge_agent.buffer.rest import Purged, concerns, encoded, without

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edge_agent.buffer.holding import Holding, Key
    from edge_agent.buffer.intake import Intake
    from edge_agent.buffer.keeper import Keeper
    from edge_agent.buffer.opening import Opened
    from edge_agent.buffer.rest import Who
    from edge_agent.buffer.writer import Writer
    from telemetry.counters import Counters


class Purger:
    """Purges one buffer; one purge at a time."""

    def __init__(self, opened: Opened, *, intake: Intake, holding: Holding, writer: Writer, counters: Counters) -> None:
        self.gone: set[Key] = set()
        """Of the last purge, and of those before it that failed: a read that was under way must not hand one out."""
        self._told = True
        """Whoever purged heard of all that is gone; else the next purge tells it, too."""
        self._opened = opened
        self._intake = intake
        self._holding = holding
        self._writer = writer
        self._counters = counters
        self._lock = asyncio.Lock()

    async def purge(self, who: Who, *, reason: str) -> Purged:
        """Remove the rows of `who`; counted as `buffer.purged_values.<reason>`. Raises OSError: ask again then."""
        keepers = self._opened.keepers
        async with self._lock:
            total = Purged()
            if self._told:
                self.gone.clear()
            self._told = False
            self._opened.recent.forget(who)
            # Nothing may be on its way to disk while memory is cleaned: it would arrive there behind our back.
            async with AsyncExitStack() as locks:
                for keeper in keepers:
                    await locks.enter_async_context(keeper.lock)
                total.add(self._from_memory(who))
            self._count(total, reason)
            failed: OSError | None = None
            for keeper in keepers:
                for sequence in await keeper.call(keeper.stream.sequences):
                    try:
                        found = await self._from_segment(keeper, sequence, who)
                    except OSError as error:
                        failed = error  # one bad file keeps nobody in the others
                        continue
                    self._count(found, reason)
                    total.add(found)
            # Nobody can tell whose rows are in damaged bytes.
            events = self._opened.events
            removed = await events.call(lambda: empty(self._opened.path / "quarantine", events.stream.disk))
            self._counters.add("buffer.purged_quarantine_files", removed)
            total.files += removed
            if failed is not None:
                raise failed
            total.gone, self._told = sorted(self.gone), True
            return total

    def _from_memory(self, who: Who) -> Purged:
        found = Purged()
        found.samples, found.values = self._intake.forget(who)
        for key, closed in list(self._holding.batches.items()):
            batch = closed.batch
            rest = without(batch.payload, who) if concerns(batch.data_class) else None
            if rest is None:
                continue
            self._holding.forget(key)
            found.gone.append(key)
            if closed.on_disk:
                continue  # what is on disk is purged there, and counted once
            found.batches += 1
            found.samples += rest.samples
            found.values += rest.values
            if rest.batch is not None:
                epoch, number = self._intake.number()
                left = encoded(rest.batch, of=batch, epoch=epoch, number=number)
                self._holding.add(ClosedBatch(batch=left, taken_at=closed.taken_at, spill_at=closed.spill_at))
        self._forget(found.gone)
        return found

    async def _from_segment(self, keeper: Keeper, sequence: int, who: Who) -> Purged:
        gone: list[Key] = []
        identities: list[Key] = []
        try:
            while True:
                found = await keeper.call(partial(keeper.stream.purge, sequence, who, identities, gone))
                if isinstance(found, Purged):
                    return found
                # More batches may have come meanwhile: then it asks for more.
                identities = await self._writer.numbers(found)
        finally:
            self._forget(gone)

    def _forget(self, gone: Sequence[Key]) -> None:
        for key in gone:
            self._holding.forget(key)
        self._holding.taken.difference_update(gone)
        self.gone.update(gone)

    def _count(self, found: Purged, reason: str) -> None:
        if found.values or found.batches:
            self._counters.add(f"buffer.purged_values.{reason}", found.values)
            self._counters.add(f"buffer.purged_batches.{reason}", found.batches)
