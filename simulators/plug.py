"""A listening port that a fault can pull out: connections are reset, and it comes back under the same number."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, Final

from simulators.faults import UNPLUG

if TYPE_CHECKING:
    from collections.abc import Callable

    from simulators.faults import Faults

BACKLOG: Final = 16
SEND_BUFFER: Final = 64 * 1024
"""Of the kernel, in bytes: with its own choice a slow viewer would see the room as it was half a minute ago."""


class Plug:
    """Listens on host and port, 0 for a free one. `hang_up` must abort all connections."""

    def __init__(
        self,
        protocol: Callable[[], asyncio.BaseProtocol],
        *,
        host: str,
        port: int,
        faults: Faults,
        hang_up: Callable[[], None],
    ) -> None:
        self.port = port
        self._protocol = protocol
        self._host = host
        self._faults = faults
        self._hang_up = hang_up
        self._server: asyncio.Server | None = None
        self._changed = asyncio.Event()

    async def start(self, group: asyncio.TaskGroup) -> None:
        """Listen. Raises OSError if the address cannot be had."""
        await self._listen()
        group.create_task(self._serve(), name="plug")

    def faults_changed(self) -> None:
        """Pull out at once, if the faults say so; plug in again soon after they end."""
        if self._faults.has(UNPLUG):
            self.close()
        self._changed.set()

    def close(self) -> None:
        """Stop listening and abort the connections."""
        if self._server is not None:
            self._server.close()
            self._server = None
        self._hang_up()

    async def _serve(self) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            if self._faults.has(UNPLUG):
                self.close()  # again: it may have been pulled out while it was being put in
            elif self._server is None:
                await self._listen()

    async def _listen(self) -> None:
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        # By hand, and so at once: asyncio would look up the address in a thread first.
        listening = socket.create_server((self._host, self.port), family=family, backlog=BACKLOG)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)  # connections inherit it
        self.port = listening.getsockname()[1]
        listening.setblocking(False)
        self._server = await asyncio.get_running_loop().create_server(self._protocol, sock=listening)
