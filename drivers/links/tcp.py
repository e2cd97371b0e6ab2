"""TcpLink: one TCP connection to a device or to a serial-to-Ethernet converter."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING

from drivers.links.link import Link
from drivers.links.port import Port

if TYPE_CHECKING:
    from telemetry.counters import Counters


class TcpLink(Link):
    """A TCP connection with keep-alive, so that a device that lost its power is noticed; IPv6 and IPv4."""

    def __init__(self, name: str, counters: Counters, *, host: str, port: int) -> None:
        super().__init__(name, counters)
        self._host = host
        self._tcp_port = port

    async def _open(self) -> Port:
        port = Port(self.name, self._counters)
        transport, _ = await asyncio.get_running_loop().create_connection(lambda: port, self._host, self._tcp_port)
        connection = transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 5000)
        return port
