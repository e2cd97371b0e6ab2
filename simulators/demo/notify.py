"""Both ends of systemd's readiness protocol ($NOTIFY_SOCKET): what a process says, and who listens."""

from __future__ import annotations

import asyncio
import os
import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_DATAGRAM_BYTES = 4096


def notify(state: str) -> None:
    """Tell the supervisor `state`, such as `READY=1`; does nothing without $NOTIFY_SOCKET."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
        sock.sendto(state.encode(), "\0" + address[1:] if address.startswith("@") else address)


class Readiness:
    """The supervisor's end: a datagram socket at `path` that waits for READY=1, in a running loop; `close` it last."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._ready = asyncio.Event()
        self.told: dict[str, str] = {}
        """The last value of each name that was told; few names and short, since it is a program of ours."""
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)

        self.path.unlink(missing_ok=True)
        self._sock.bind(str(self.path))
        asyncio.get_running_loop().add_reader(self._sock, self._received)

    def close(self) -> None:
        """Stop listening and remove the socket; only when the process has ended, which may tell more than READY=1."""
        asyncio.get_running_loop().remove_reader(self._sock)
        self._sock.close()
        self.path.unlink(missing_ok=True)

    def _received(self) -> None:
        for line in self._sock.recv(_DATAGRAM_BYTES).decode(errors="replace").split("\n"):
            name, _, value = line.partition("=")
            self.told[name] = value
        if self.told.get("READY") == "1":
            self._ready.set()

    async def wait(self) -> None:
        """Return once READY=1 has come; the caller sets the deadline."""
        await self._ready.wait()
