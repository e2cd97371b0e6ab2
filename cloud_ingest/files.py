"""The ingest's own files, seen memory, series and dead letters, written in groups by one thread at a time."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sqlite3
import time
from typing import TYPE_CHECKING, Final, ParamSpec, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cloud_ingest.cardinality import Changes, Guard
    from cloud_ingest.deadletter import DeadLetters, Letter
    from cloud_ingest.decode import Identity
    from cloud_ingest.seen import Entry, Seen
    from telemetry.counters import Counters

_log = logging.getLogger(__name__)
_RETRY_S: Final = 2.0
P = ParamSpec("P")
T = TypeVar("T")


class Files:
    """Shared by all writers."""

    def __init__(self, *, seen: Seen, dead: DeadLetters, counters: Counters, guard: Guard | None = None) -> None:
        self.seen = seen
        self._guard = guard
        self._dead = dead
        self._counters = counters
        self._lock = asyncio.Lock()
        self.tried_again_at = 0.0
        """When a failed commit was last waited for, by the monotonic clock: patience is no stall."""

    async def commit(self, letters: Sequence[Letter]) -> None:
        """Return when `letters` are on disk and identities claimed so far are known after a restart.

        A full disk is waited out: nothing is acknowledged meanwhile, so nothing is lost.
        """
        async with self._lock:
            changes = self.seen.take_changes()
            series = self._guard.take_changes() if self._guard is not None else None
            while True:
                try:
                    await _to_the_end(self._write, letters, changes, series)
                except (sqlite3.Error, OSError) as error:
                    self._counters.add("files.failed_commits")
                    self.tried_again_at = time.monotonic()
                    _log.error("own files cannot be written (%s): free disk space; trying again", error)
                    await asyncio.sleep(_RETRY_S)
                else:
                    return

    async def with_letters(self, work: Callable[[DeadLetters], T]) -> T:
        """Return what `work` does with the dead letters, in a thread, while nothing else is written."""
        async with self._lock:
            return await _to_the_end(work, self._dead)

    async def forget_people(self, site: str) -> None:
        """Have the guard forget everybody of a site. Raises sqlite3.Error."""
        if (guard := self._guard) is None:
            return

        def work(changes: Changes) -> None:
            guard.commit(changes)
            guard.forget_people(site)

        async with self._lock:
            await _to_the_end(work, guard.take_changes())

    def _write(self, letters: Sequence[Letter], changes: dict[Identity, Entry], series: Changes | None) -> None:
        self._dead.add(letters)
        if self._guard is not None and series is not None:
            self._guard.commit(series)
        self.seen.commit(changes)


async def _to_the_end(work: Callable[P, T], *given: P.args, **named: P.kwargs) -> T:
    """Run `work` in a thread, and return only when that is over: a thread cannot be cancelled.

    Whoever comes next, such as the end of the process, must not share the connections with it.
    """
    thread = asyncio.ensure_future(asyncio.to_thread(work, *given, **named))
    try:
        return await asyncio.shield(thread)
    except asyncio.CancelledError:
        while not thread.done():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait((thread,))
        raise
