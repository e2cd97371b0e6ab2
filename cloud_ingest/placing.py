"""Placing rows in a store: patient while it is busy, halving while it refuses, until each row is stored or refused."""

from __future__ import annotations

import asyncio
import logging
import random
from typing import TYPE_CHECKING, Final

from cloud_ingest.stores.base import refusal
from telemetry.errors import AuthError, ConfigError, StoreBusy, StoreRejected

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Sequence

    from cloud_ingest.series import Row
    from cloud_ingest.stores.base import Outcome, Store
    from telemetry.counters import Counters
    from telemetry.sample import DataClass

_log = logging.getLogger(__name__)
FIRST_WAIT_S: Final = 1.0
LONGEST_WAIT_S: Final = 60.0
SLOW_S: Final = 2.0
"""A write that takes longer is told to the gateways, so that they send no more than it can take."""


class Placer:
    """Puts rows into one store.

    `on_wait` is told each time how many seconds the next attempt is away, `on_slow` how much longer an attempt may
    take, `on_progress` each time the store answered.
    """

    def __init__(
        self,
        store: Store,
        counters: Counters,
        *,
        classes: Collection[DataClass],
        on_wait: Callable[[float], Awaitable[None]],
        on_slow: Callable[[float], Awaitable[None]] | None = None,
        on_progress: Callable[[], None] = lambda: None,
    ) -> None:
        self._store = store
        self._counters = counters
        self._classes = classes
        self._on_wait = on_wait
        self._on_slow = on_slow
        self._on_progress = on_progress
        self._prepared = False
        self._preparing = asyncio.Lock()

    async def place(self, rows: Sequence[Row]) -> dict[int, str]:
        """Return when each row is durable or in the answer: index → reason. Raises ConfigError only."""
        refused: dict[int, str] = {}
        spans: list[Sequence[int]] = [range(len(rows))] if rows else []
        while spans:
            span = spans.pop()
            # Thousands of bad rows are thousands of writes: that is slow, not stalled.
            self._on_progress()
            part = rows if len(span) == len(rows) else [rows[index] for index in span]
            try:
                refused.update({span[index]: why for index, why in (await self._write(part)).items()})
            except StoreRejected as rejected:
                if rejected.rows == len(span) or len(span) == 1:
                    refused.update(dict.fromkeys(span, str(rejected)[:300]))
                    continue
                spans += reversed(_halves(rows, span, rejected))
                self._counters.add("writer.bisections")
        return refused

    async def _prepare(self) -> None:
        """Meet the store for the first time: only now are its promises known for sure."""
        async with self._preparing:
            if self._prepared:
                return
            try:
                await self._store.prepare()
            except StoreRejected as error:
                # The store is not what it should be; the rows have not even been seen.
                raise StoreBusy(f"not ready: {error}", retry_after_s=LONGEST_WAIT_S / 2) from error
            for data_class in self._classes:
                reason = self._store.capabilities.why_not(data_class)
                if reason is not None:
                    raise ConfigError([refusal(self._store, data_class, reason)])
            self._prepared = True

    async def _write(self, rows: Sequence[Row]) -> dict[int, str]:
        wait_s = FIRST_WAIT_S
        while True:
            try:
                if not self._prepared:
                    await self._prepare()
                outcome = await self._answer(rows)
            except StoreBusy as busy:
                self._counters.add("writer.store_busy")
                # Not before the store asks, never all at once, but never longer than the cap whatever it asks.
                pause_s = min(max(busy.retry_after_s, wait_s * random.uniform(0.5, 1.0)), LONGEST_WAIT_S)  # noqa: S311
                _log.warning("store %s is busy (%s); next attempt in %.1f s", self._store.name, busy, pause_s)
                wait_s = min(wait_s * 2, LONGEST_WAIT_S)
            except AuthError as refused:
                self._counters.add("writer.store_auth_refused")
                pause_s = LONGEST_WAIT_S
                _log.error(
                    "store %s refuses our credentials (%s): mend them in the settings", self._store.name, refused
                )
            else:
                return dict(outcome.refused)
            await self._on_wait(pause_s)
            await asyncio.sleep(pause_s)

    async def _answer(self, rows: Sequence[Row]) -> Outcome:
        """Write; tell whoever waits while the store takes long, since a store that hangs is away before it fails."""
        writing = asyncio.create_task(self._store.write(rows), name=f"write {self._store.name}")
        try:
            while not (await asyncio.wait((writing,), timeout=SLOW_S))[0]:
                self._counters.add("writer.store_slow")
                if self._on_slow is not None:
                    await self._on_slow(SLOW_S)
            return await writing
        finally:
            if not writing.done():
                writing.cancel()
                await asyncio.wait((writing,))


def _halves(rows: Sequence[Row], span: Sequence[int], rejected: StoreRejected) -> tuple[Sequence[int], Sequence[int]]:
    """Return two parts of `span` to be tried on their own: whom the store suspects and the rest, or its halves."""
    if 0 < len(rejected.suspects) < len(span):
        suspects = frozenset(rejected.suspects)
        rest = [index for at, index in enumerate(span) if at not in suspects]
        return rest, [span[at] for at in rejected.suspects]
    if rejected.suspects:
        # All of them, and not all were dropped: a field may have another type in each of the database's time spans.
        span = sorted(span, key=lambda index: rows[index].time_ns)
    middle = len(span) // 2
    return span[:middle], span[middle:]
