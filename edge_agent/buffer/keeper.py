"""A stream and its thread, seen from the event loop: no disk access ever blocks the loop."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

from edge_agent.buffer.files import StreamState
from edge_agent.buffer.unbroken import Unbroken

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from edge_agent.buffer.priority import Priority
    from edge_agent.buffer.record import EncodedBatch
    from edge_agent.buffer.stream import Stream
    from telemetry.counters import Counters
    from telemetry.ranges import Range

T = TypeVar("T")
RETRY_MIN_S = 1.0
RETRY_MAX_S = 30.0


class Keeper:
    """Runs a stream's work in its own thread, one piece after the other, and keeps the latest state."""

    def __init__(
        self, stream: Stream, counters: Counters, *, priority: Priority, wake: asyncio.Event | None = None
    ) -> None:
        self.stream = stream
        self.priority = priority
        self.state = StreamState()
        self.error: str | None = None
        """Why the last write failed; none while the disk takes everything."""
        self.unreadable: str | None = None
        """Why the disk could not be read or tidied the last time; it takes what comes all the same."""
        self.retry_at = 0.0
        """Loop time before which a failed write is not tried again."""
        self.wake = wake or asyncio.Event()
        """Set when its loop has something to do; those of one loop share it."""
        self.lock = asyncio.Lock()
        """Held while batches go from memory to this stream."""
        self._acks: list[tuple[str, list[Range]]] = []
        self._rewind = False
        self._retry_s = RETRY_MIN_S
        self._counters = counters
        self._busy_since: float | None = None
        self._unbroken = Unbroken(f"buffer-{stream.name}-disk")
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"buffer-{stream.name}")

    @property
    def busy_s(self) -> float:
        """For how long the thread has been at its present work: a disk that hangs shows here."""
        since = self._busy_since  # the thread may end its work between two looks
        return 0.0 if since is None else time.monotonic() - since

    async def call(self, work: Callable[[], T]) -> T:
        """Return what `work` returns in the thread; it is finished even if the caller is cancelled. Raises OSError."""
        return await self._unbroken.run(self._call(work))

    async def append(self, batches: Sequence[EncodedBatch]) -> list[EncodedBatch]:
        """Make `batches` durable; return those that are: fewer (counted, flagged) if the disk does not take all."""
        durable: list[EncodedBatch] = []
        try:
            await self.call(lambda: self.stream.append(batches, durable))
        except OSError as error:
            self._counters.add("buffer.disk_errors")
            self.refuse(str(error))
            return durable
        self.error, self._retry_s, self.retry_at = None, RETRY_MIN_S, 0.0
        self._counters.add(f"buffer.syncs.{self.stream.name}")
        return durable

    def refuse(self, why: str) -> None:
        """Note that the disk takes nothing for now; it is tried again, less and less often."""
        self.error = why
        self.retry_at = asyncio.get_running_loop().time() + self._retry_s
        self._retry_s = min(2 * self._retry_s, RETRY_MAX_S)

    async def read(self, skip: frozenset[tuple[str, int]]) -> EncodedBatch | None:
        """Return the next unacknowledged batch, none if there is no more or the disk cannot be read."""
        rewind, self._rewind = self._rewind, False

        def work() -> EncodedBatch | None:
            if rewind:
                self.stream.rewind()
            return self.stream.read(skip)

        try:
            batch = await self.call(work)
        except asyncio.CancelledError:
            # The cursor has passed a batch that nobody got.
            self._rewind = True
            raise
        except OSError as error:
            self._refused(error)
            return None
        self.unreadable = None
        return batch

    def rewind(self) -> None:
        """Let the next read begin at the oldest batch again."""
        self._rewind = True

    def note_acked(self, epoch: str, ranges: list[Range]) -> None:
        """Let go of batches on disk, soon."""
        self._acks.append((epoch, ranges))
        self.wake.set()

    async def apply_acked(self) -> list[tuple[str, list[Range]]]:
        """Let go of what was noted; return it, or nothing if the disk refuses, and then try again later."""
        acks, self._acks = self._acks, []

        def work() -> None:
            for epoch, ranges in acks:
                self.stream.acknowledge(epoch, ranges)

        if not acks:
            return []
        try:
            await self.call(work)
        except OSError as error:
            self._refused(error)
            self._acks[:0] = acks
            return []
        self.unreadable = None
        return acks

    def _refused(self, error: OSError) -> None:
        self.unreadable = str(error)
        self._counters.add("buffer.disk_errors")

    def covers(self, epoch: str, ranges: Sequence[Range]) -> bool:
        """Whether a batch named by `ranges` may be on this stream's disk."""
        return any(
            epoch == its and first <= high and last >= low
            for its, first, last in self.state.spans
            for low, high in ranges
        )

    async def close(self) -> None:
        """Finish what is running, close the files and end the thread, whatever the disk says."""
        await self._unbroken.finish()
        try:
            await self.call(self.stream.close)
        except OSError:
            self._counters.add("buffer.disk_errors")
        finally:
            self._thread.shutdown(wait=True)

    async def _call(self, work: Callable[[], T]) -> T:
        result, error, state, counts = await asyncio.get_running_loop().run_in_executor(
            self._thread, self._work_in_thread, work
        )
        self.state = state
        for name, amount in counts.items():
            self._counters.add(name, amount)
        if error is not None:
            raise error
        return result[0]

    def _work_in_thread(self, work: Callable[[], T]) -> tuple[list[T], OSError | None, StreamState, dict[str, int]]:
        self._busy_since = time.monotonic()
        result: list[T] = []
        error: OSError | None = None
        try:
            result.append(work())
        except OSError as raised:
            error = raised
        finally:
            self._busy_since = None
        return result, error, self.stream.state(), self.stream.take_counts()
