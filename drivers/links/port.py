"""Port: the open end of a link, as an asyncio protocol with a bounded receive buffer."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from typing import TYPE_CHECKING, Final

from telemetry.errors import DeviceUnavailable

if TYPE_CHECKING:
    from telemetry.counters import Counters

MAX_PENDING_BYTES: Final = 65536
"""What a device may send unread; beyond it the oldest bytes are dropped and counted."""
_RELEASE_S: Final = 1.0


class Port(asyncio.Protocol):
    """Bytes in and out of one open transport. Not for concurrent readers: a link's turn guards it."""

    def __init__(self, name: str, counters: Counters) -> None:
        self._name = name
        self._counters = counters
        self._pending: deque[tuple[float, bytes]] = deque()
        """What came and was not read, each piece with the `time.monotonic()` at which it came."""
        self._pending_bytes = 0
        self._waiter: asyncio.Future[None] | None = None
        self._transport: asyncio.Transport | None = None
        self._lost: str | None = None
        self._owed_s: float | None = None
        """The loop's time at the first request that nothing at all followed."""
        self.unanswered = 0
        """Writes since something came."""
        self.heard = False
        """Whether anything came since it was opened."""
        self._released = asyncio.Event()

    @property
    def is_open(self) -> bool:
        """Tell whether the transport is still there."""
        return self._transport is not None and self._lost is None

    @property
    def silent_s(self) -> float:
        """For how long nothing has come though something was asked; 0 where nothing is owed."""
        return 0.0 if self._owed_s is None else asyncio.get_running_loop().time() - self._owed_s

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport (called by asyncio)."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - asyncio's own contract
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Buffer `data` (called by asyncio)."""
        self._owed_s, self.unanswered, self.heard = None, 0, True
        self._pending.append((time.monotonic(), data))
        self._pending_bytes += len(data)
        surplus = self._pending_bytes - MAX_PENDING_BYTES
        if surplus > 0:
            self._counters.add(f"link.{self._name}.overrun_bytes", surplus)
            self._drop(surplus)
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        """Remember why the transport went (called by asyncio)."""
        self._lost = self._lost or (str(exc) if exc else "closed by the other end")
        self._released.set()
        self._wake()

    def write(self, data: bytes) -> None:
        """Send `data`. Raises DeviceUnavailable if the port is lost."""
        if self._transport is None or self._lost is not None or self._transport.is_closing():
            raise self._unavailable()
        if self._owed_s is None:
            self._owed_s = asyncio.get_running_loop().time()
        self.unanswered += 1
        self._transport.write(data)

    async def receive(self) -> bytes:
        """Return all bytes received since the last call, waiting for at least one; the caller sets the deadline.

        Raises DeviceUnavailable if the port is lost and nothing is left to read.
        """
        return b"".join([data for _, data in await self.receive_pieces()])

    async def receive_pieces(self) -> list[tuple[float, bytes]]:
        """As `receive`, in the pieces in which it came, each with its `time.monotonic()`.

        For devices that speak unasked: when they spoke counts, not when somebody had time to listen.
        """
        while not self._pending:
            if self._lost is not None:
                raise self._unavailable()
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        pieces = list(self._pending)
        self.discard()
        return pieces

    def discard(self) -> int:
        """Throw away what was received and not read; return how many bytes that was."""
        count = self._pending_bytes
        self._pending.clear()
        self._pending_bytes = 0
        return count

    def close(self) -> None:
        """Close the transport at once, without waiting for unsent bytes."""
        if self._transport is not None:
            self._transport.abort()
        if self._lost is None:
            self._lost = "closed"
            self._wake()

    async def released(self) -> None:
        """Wait until a closed transport has given its port back; a driver that holds it for long is not waited for."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_RELEASE_S):
                await self._released.wait()

    def _drop(self, count: int) -> None:
        """Let the oldest bytes go."""
        self._pending_bytes -= count
        while count:
            came, data = self._pending.popleft()
            if len(data) > count:
                self._pending.appendleft((came, data[count:]))
            count = max(0, count - len(data))

    def _unavailable(self) -> DeviceUnavailable:
        return DeviceUnavailable(f"link {self._name} is lost: {self._lost or 'not open'}")

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
