"""SerialLink: a serial port by its stable path, such as /dev/serial/by-id/…, so that re-plugging works."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import serialx

from drivers.links.link import Link
from drivers.links.port import Port
from telemetry.errors import DeviceUnavailable

if TYPE_CHECKING:
    from telemetry.counters import Counters


class SerialLink(Link):
    """A serial port, 8N1 unless said otherwise, locked against other processes while open."""

    def __init__(
        self,
        name: str,
        counters: Counters,
        *,
        path: str,
        baudrate: int = 9600,
        parity: serialx.Parity = serialx.Parity.NONE,
    ) -> None:
        super().__init__(name, counters)
        self._path = path
        self._baudrate = baudrate
        self._parity = parity

    async def _open(self) -> Port:
        port = Port(self.name, self._counters)
        try:
            await serialx.create_serial_connection(
                asyncio.get_running_loop(), lambda: port, self._path, self._baudrate, parity=self._parity
            )
        except serialx.SerialException as error:
            raise DeviceUnavailable(f"link {self.name}: {self._path} cannot be opened: {error}") from error
        return port

    def seconds_on_wire(self, count: int) -> float:
        """Return how long `count` bytes take at the port's baud rate (11 bits a byte, the longest framing)."""
        return count * 11 / self._baudrate
