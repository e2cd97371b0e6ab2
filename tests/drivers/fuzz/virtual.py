"""An event loop whose clock jumps to the next timer: a driver's deadlines cost no real time.

When nothing waits for a timer and nothing can come any more, everything hangs for ever: that is an error at once.
"""

from __future__ import annotations

import asyncio
import selectors
from typing import TYPE_CHECKING

from drivers.links import Link
from drivers.links.port import Port

if TYPE_CHECKING:
    from collections.abc import Callable

    from telemetry.counters import Counters


class Hangs(AssertionError):
    """Everything waits for something that will never come."""


class _Jumping(selectors.SelectSelector):
    now_s = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        found = super().select(0)
        if not found and timeout is None:
            raise Hangs
        if not found and timeout:
            self.now_s += timeout
        return found


class VirtualLoop(asyncio.SelectorEventLoop):
    """asyncio without waiting."""

    def __init__(self) -> None:
        self._jumping = _Jumping()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.now_s


class _Wire(asyncio.Transport):
    """Hands each request to the far end; `gone` when the driver has hung up."""

    def __init__(self, link: FarLink, port: Port) -> None:
        super().__init__()
        self._link = link
        self._port = port
        self.gone = False
        self._last_s = 0.0

    def write(self, data: bytes | bytearray | memoryview) -> None:
        loop = asyncio.get_running_loop()
        for wait_s, piece in self._link.answer(bytes(data)):
            self._last_s = max(self._last_s, loop.time()) + wait_s  # one stream: nothing overtakes what was said before
            loop.call_at(self._last_s, self._deliver, piece)

    def _deliver(self, piece: bytes) -> None:
        if not self.gone:
            self._port.data_received(piece)

    def is_closing(self) -> bool:
        return self.gone

    def abort(self) -> None:
        if not self.gone:
            self.gone = True
            asyncio.get_running_loop().call_soon(self._port.connection_lost, None)


class FarLink(Link):
    """A link to a far end in this process. `answer`: request → (seconds to wait, bytes), one after the other."""

    def __init__(self, counters: Counters, answer: Callable[[bytes], list[tuple[float, bytes]]]) -> None:
        super().__init__("far", counters)
        self.answer = answer

    async def _open(self) -> Port:
        port = Port(self.name, self._counters)
        port.connection_made(_Wire(self, port))
        return port
