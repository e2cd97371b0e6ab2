"""Mirrors: each gets a copy of what the store has confirmed, as far as it can; nothing ever waits for one.

A mirror is told numbers only. A truth value goes as 1 or 0; `<point>_bad` goes as 1, without its reason; a `quality`
other than good goes as `quality_not_good` = 1; points that are texts are left out.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import deque
from typing import TYPE_CHECKING, Final

from cloud_ingest.series import Row
from cloud_ingest.stores.opening import open_store
from telemetry.errors import AuthError, ConfigError, StoreBusy, StoreRejected
from telemetry.sample import PERSON_CLASSES, DataClass

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from cloud_ingest.settings import StoreSettings
    from cloud_ingest.stores.base import Store
    from telemetry.counters import Counters
    from telemetry.sample import Value

_log = logging.getLogger(__name__)
CLASSES: Final = frozenset(DataClass) - PERSON_CLASSES
"""What a mirror may get: it cannot promise to erase one subject's rows, so nothing about single persons."""
FIRST_WAIT_S: Final = 1.0
LONGEST_WAIT_S: Final = 60.0
LONGEST_ASKED_S: Final = 600.0
"""However long a `Retry-After` is, we look again after this."""
_HURRIED_WAIT_S: Final = 0.2
_VALUES_A_WRITE: Final = 10_000
"""A body stays below a megabyte, which a proxy in front of the mirror lets through."""


def numbers(row: Row) -> Row | None:
    """Return `row` as a mirror gets it; none if nothing of it is a number."""
    if not any(isinstance(value, str) for value in row.fields.values()):
        return row
    fields: dict[str, Value] = {}
    for name, value in row.fields.items():
        if not isinstance(value, str):
            fields[name] = value
        elif name.endswith("_bad"):
            fields[name] = True
        elif name == "quality":
            fields["quality_not_good"] = True
    return Row(series=row.series, time_ns=row.time_ns, fields=fields) if fields else None


class Mirror:
    """One mirror and what waits for it: at most `max_values`, the oldest goes first.

    Counts `mirror.written_values`, `mirror.retries`, and lost values as `mirror.dropped.full`, `.refused`, `.stopped`.
    """

    def __init__(self, store: Store, counters: Counters, *, max_values: int) -> None:
        self.store = store
        self._counters = counters
        self._max_values = max_values
        self._waiting: deque[Row] = deque()
        self._sending: list[Row] = []
        self._values = 0
        """Waiting and on their way."""
        self._arrived = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._hurried = asyncio.Event()
        self._failing = False
        self._dropping = False

    def offer(self, rows: Iterable[Row]) -> None:
        """Take what may be mirrored of `rows`; returns at once."""
        for row in rows:
            copy = numbers(row)
            if copy is not None:
                self._waiting.append(copy)
                self._values += len(copy.fields)
        dropped = 0
        while self._waiting and self._values > self._max_values:
            size = len(self._waiting.popleft().fields)
            self._values -= size
            dropped += size
        if dropped:
            self._counters.add("mirror.dropped.full", dropped)
            if not self._dropping:
                self._dropping = True
                _log.warning("mirror %s is behind by %d values: the oldest are dropped", self.store.name, self._values)
        if self._waiting:
            self._idle.clear()
            self._arrived.set()

    async def run(self) -> None:
        """Send until cancelled."""
        while True:
            if not self._waiting:
                self._dropping = False
                self._idle.set()
                self._arrived.clear()
                await self._arrived.wait()
            self._take()
            await self._send()
            self._values -= sum(len(row.fields) for row in self._sending)
            self._sending = []

    def hurry(self) -> None:
        """Stop waiting between attempts. For the end of the process."""
        self._hurried.set()

    async def drained(self) -> None:
        """Wait until nothing waits."""
        await self._idle.wait()

    async def close(self) -> None:
        """Count what was not sent, and release the connection."""
        if self._values:
            self._counters.add("mirror.dropped.stopped", self._values)
            _log.warning("mirror %s misses the last %d values", self.store.name, self._values)
        self._waiting.clear()
        self._sending, self._values = [], 0
        await self.store.close()

    def _take(self) -> None:
        values = 0
        while self._waiting and values < _VALUES_A_WRITE:
            row = self._waiting.popleft()
            self._sending.append(row)
            values += len(row.fields)

    async def _send(self) -> None:
        """Return when `_sending` is written or will never be. Patient: only time and the bound of the queue end it."""
        rows = self._sending
        wait_s = FIRST_WAIT_S
        while True:
            try:
                outcome = await self.store.write(rows)
            except StoreRejected as rejected:
                self._refused(sum(len(row.fields) for row in rows), str(rejected))
                return
            except StoreBusy as busy:
                # Never earlier than it asks, never all at once, never longer than the cap.
                pause_s = max(min(busy.retry_after_s, LONGEST_ASKED_S), wait_s * random.uniform(0.5, 1.0))  # noqa: S311
                wait_s = min(wait_s * 2, LONGEST_WAIT_S)
                self._failed(f"does not take rows ({busy})")
            except (AuthError, ConfigError) as refused:
                pause_s = LONGEST_WAIT_S
                self._failed(f"cannot be used ({refused}): mend store.mirrors")
            else:
                lost = sum(len(rows[index].fields) for index in outcome.refused)
                if lost:
                    self._refused(lost, next(iter(outcome.refused.values())))
                self._counters.add("mirror.written_values", sum(len(row.fields) for row in rows) - lost)
                if self._failing:
                    self._failing = False
                    _log.info("mirror %s takes rows again", self.store.name)
                return
            await self._pause(pause_s)

    def _failed(self, why: str) -> None:
        self._counters.add("mirror.retries")
        _log.log(logging.DEBUG if self._failing else logging.WARNING, "mirror %s %s", self.store.name, why)
        self._failing = True

    def _refused(self, values: int, why: str) -> None:
        self._counters.add("mirror.dropped.refused", values)
        _log.warning("mirror %s refuses %d values: %s", self.store.name, values, why)

    async def _pause(self, seconds: float) -> None:
        if self._hurried.is_set():
            await asyncio.sleep(_HURRIED_WAIT_S)
            return
        try:
            async with asyncio.timeout(seconds):
                await self._hurried.wait()
        except TimeoutError:
            return


class Mirrors:
    """All mirrors of the settings."""

    def __init__(self, settings: StoreSettings, counters: Counters) -> None:
        self.each = tuple(
            Mirror(open_store(url), counters, max_values=settings.mirror_values) for url in settings.mirrors
        )

    def offer(self, data_class: DataClass, rows: Sequence[Row]) -> None:
        """Pass on what the store has confirmed; what concerns single persons stays there."""
        if data_class in CLASSES:
            for mirror in self.each:
                mirror.offer(rows)

    async def drain(self, seconds: float) -> None:
        """Send what waits, as far as the mirrors take it in time."""
        for mirror in self.each:
            mirror.hurry()
        try:
            async with asyncio.timeout(seconds):
                for mirror in self.each:
                    await mirror.drained()
        except TimeoutError:
            return

    async def close(self) -> None:
        """Count what is lost and release the connections."""
        for mirror in self.each:
            await mirror.close()
