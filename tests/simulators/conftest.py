"""Devices as processes of their own, and the plainest possible reader of a serial port."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from typing import TYPE_CHECKING

import pytest

from simulators.held import Shelf

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from simulators.held import HeldDevice


@pytest.fixture
def device() -> Iterator[Shelf]:
    """Starts devices; what the plugin's `campus_device` gives to others."""
    shelf = Shelf()
    try:
        yield shelf
    finally:
        shelf.stop()


class Port:
    """An open serial port: raw bytes, no library between."""

    def __init__(self, path: str) -> None:
        self.fd = os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)

    def write(self, data: bytes) -> None:
        os.write(self.fd, data)

    async def read(self, count: int, *, within: float = 3.0) -> bytes:
        """Return `count` bytes, or fewer if they do not come in time or the port hangs up."""
        loop = asyncio.get_running_loop()
        end = loop.time() + within
        data = b""
        while len(data) < count:
            try:
                piece = os.read(self.fd, count - len(data))
            except BlockingIOError:
                if loop.time() >= end:
                    break
                await asyncio.sleep(0.002)
                continue
            except OSError:
                break
            if not piece:
                break
            data += piece
        return data

    async def hung_up(self, *, within: float = 3.0) -> bool:
        """Tell whether the other end goes away in time."""
        loop = asyncio.get_running_loop()
        end = loop.time() + within
        while loop.time() < end:
            try:
                if os.read(self.fd, 4096) == b"":
                    return True
            except BlockingIOError:
                await asyncio.sleep(0.002)
            except OSError:
                return True
        return False

    def close(self) -> None:
        os.close(self.fd)


@contextlib.contextmanager
def opened(path: str) -> Iterator[Port]:
    """An open port, closed again at the end."""
    port = Port(path)
    try:
        yield port
    finally:
        port.close()


def listens(device: HeldDevice) -> bool:
    """Tell whether a networked device can be connected to."""
    with contextlib.suppress(OSError), socket.create_connection((device.host, device.port), timeout=1):
        return True
    return False


async def until(condition: Callable[[], object], *, within: float = 5.0) -> None:
    """Wait for a condition; fail when it does not come."""
    async with asyncio.timeout(within):
        while not condition():  # noqa: ASYNC110 - devices are other processes: nothing here could set an event
            await asyncio.sleep(0.005)
