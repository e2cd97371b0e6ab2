"""Link: opened when first needed, reopened after a loss, one user at a time, in turn."""

from __future__ import annotations

import asyncio
import contextlib
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Final

from telemetry.errors import DeviceUnavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from drivers.links.port import Port
    from telemetry.counters import Counters

STALLED_S: Final = 10.0
"""An open port from which nothing at all came for so long, though it was asked, is opened anew: it may be dead."""
_STALLED_REQUESTS: Final = 3
"""So often it was asked: a device that is asked each minute may miss once."""
_STALLED_LONGEST_S: Final = 300.0
"""If that helps nothing the next time is twice as long, up to this: all devices behind it may be switched off."""


class Link(ABC):
    """A shared transport. `async with link.turn() as port` waits for its turn (first come, first served)."""

    def __init__(self, name: str, counters: Counters, *, open_timeout_s: float = 2.0) -> None:
        self.name = name
        self._counters = counters
        self._open_timeout_s = open_timeout_s
        self._port: Port | None = None
        self._lock = asyncio.Lock()
        self._stalled_s = STALLED_S
        self.opened = 0
        """How often the link was opened; a change means that devices on it may have been replaced."""

    @abstractmethod
    async def _open(self) -> Port:
        """Return a new open port. Raises OSError, UnicodeError or DeviceUnavailable."""

    def seconds_on_wire(self, count: int) -> float:  # noqa: ARG002 - only slow links use it
        """Return how long `count` bytes travel; 0 for links much faster than the devices on them."""
        return 0.0

    @property
    def is_open(self) -> bool:
        """Tell whether the link is open now."""
        return self._port is not None and self._port.is_open

    @contextlib.asynccontextmanager
    async def turn(self) -> AsyncIterator[Port]:
        """Yield the open port, for this user alone. Raises DeviceUnavailable if it cannot be opened in time.

        A turn that ends with the port lost leaves the link closed: the next turn reopens it.
        """
        async with self._lock:
            if not self.is_open:
                self.drop()  # lost while nobody had a turn
            self._drop_if_stalled()
            port = self._port = self._port or await self._opened()
            try:
                yield port
            finally:
                if not port.is_open:
                    self.drop()

    def _drop_if_stalled(self) -> None:
        """Drop a port that is open and silent: a stuck adapter or a forgotten connection gives no error."""
        if self._port is None:
            return
        if self._port.heard:
            self._stalled_s = STALLED_S
        if self._port.unanswered >= _STALLED_REQUESTS and self._port.silent_s >= self._stalled_s:
            self._counters.add(f"link.{self.name}.stalled")
            self._stalled_s = min(_STALLED_LONGEST_S, 2 * self._stalled_s)
            self.drop()

    def drop(self) -> None:
        """Close the port so that the next turn opens a new one; for a port that is open but dead."""
        if self._port is not None:
            self._port.close()
            self._port = None

    async def close(self) -> None:
        """Close the link for good; never raises. Whoever wants the port then, in whatever process, can have it."""
        port = self._port
        self.drop()
        if port is not None:
            await port.released()

    async def _opened(self) -> Port:
        try:
            async with asyncio.timeout(self._open_timeout_s):
                port = await self._open()
        except TimeoutError as error:
            raise DeviceUnavailable(f"link {self.name} did not open in {self._open_timeout_s:g} s") from error
        except (OSError, UnicodeError) as error:  # UnicodeError: a host name that cannot be one, such as `a..b`
            raise DeviceUnavailable(f"link {self.name} cannot be opened: {error}") from error
        self.opened += 1
        self._counters.add(f"link.{self.name}.opened")
        return port
