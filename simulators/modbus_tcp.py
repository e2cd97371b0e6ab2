"""A Modbus TCP box: MBAP frames over a few connections, several requests outstanding on each."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from typing import TYPE_CHECKING, Final

from simulators.faults import CORRUPTION, DROP, SILENCE, UNPLUG
from simulators.modbus import Answer

if TYPE_CHECKING:
    import random

    from simulators.faults import Faults
    from simulators.modbus import Unit
    from telemetry.counters import Counters

HEADER_BYTES: Final = 7
MAX_LENGTH: Final = 254
"""Of unit and PDU together."""
NO_SUCH_TARGET: Final = 0x0B
IDLE_S: Final = 120.0
"""A connection on which nothing is asked for so long is closed, as real boxes do."""
WRITE_S: Final = 5.0
UNHEARD: Final = "unheard"


class TcpBox:
    """Units behind one listener. A single unit answers for every unit number; of several, each for its own."""

    def __init__(
        self,
        *,
        host: str,
        port: int,
        max_connections: int,
        units: dict[int, Unit],
        faults: Faults,
        counters: Counters,
        rng: random.Random,
    ) -> None:
        self.host = host
        self.port = port
        self._max_connections = max_connections
        self._units = units
        self._faults = faults
        self._counters = counters
        self._rng = rng
        self._writers: set[asyncio.StreamWriter] = set()
        self._changed = asyncio.Event()
        self._group: asyncio.TaskGroup | None = None

    @property
    def endpoint(self) -> str:
        """host:port, an IPv6 host in brackets."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def devices(self) -> dict[str, int]:
        """Each device and its last sequence."""
        return {unit.name: unit.sequence for unit in self._units.values()}

    @property
    def points(self) -> set[str]:
        """Points that can drift."""
        return {point for unit in self._units.values() for point in unit.model.points}

    @property
    def is_open(self) -> bool:
        """Whether somebody is connected."""
        return bool(self._writers)

    async def start(self, group: asyncio.TaskGroup) -> None:
        """Listen and start answering; raises OSError if the address cannot be had."""
        self._group = group
        server = await self._listen()
        group.create_task(self._serve(server), name="modbus-tcp")

    def faults_changed(self) -> None:
        """Let the listener look at the faults again."""
        self._changed.set()

    def close(self) -> None:
        """Abort the connections and complete the journals."""
        self._hang_up()
        for unit in self._units.values():
            unit.close(now_ns=time.time_ns())

    async def _listen(self) -> asyncio.Server:
        server = await asyncio.start_server(
            self._accept, self.host, self.port, family=socket.AF_INET6 if ":" in self.host else socket.AF_INET
        )
        self.port = server.sockets[0].getsockname()[1]
        return server

    async def _serve(self, server: asyncio.Server | None) -> None:
        try:
            while True:
                self._changed.clear()
                if self._faults.has(UNPLUG):
                    if server is not None:
                        server.close()
                        server = None
                    self._hang_up()
                elif server is None:
                    server = await self._listen()
                await self._changed.wait()
        finally:
            if server is not None:
                server.close()
            self._hang_up()

    def _hang_up(self) -> None:
        for writer in self._writers:
            writer.transport.abort()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._group is None or len(self._writers) >= self._max_connections or self._faults.has(UNPLUG):
            self._counters.add("modbus.connections.refused")
            writer.transport.abort()
            return
        self._writers.add(writer)
        self._group.create_task(self._converse(reader, writer), name="modbus-tcp-connection")

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                async with asyncio.timeout(IDLE_S):
                    header = await reader.readexactly(HEADER_BYTES)
                    length = int.from_bytes(header[4:6], "big")
                    if not 2 <= length <= MAX_LENGTH:  # noqa: PLR2004 - a unit and a function at least
                        self._counters.add("modbus.requests.damaged")
                        return
                    pdu = await reader.readexactly(length - 1)
                if header[2:4] == b"\0\0":
                    await self._reply(writer, header, pdu)
                else:
                    self._counters.add("modbus.requests.damaged")
        except (asyncio.IncompleteReadError, TimeoutError, OSError):
            # The client went away or asked nothing: what remains is to close.
            self._counters.add("modbus.connections.ended")
        finally:
            self._writers.discard(writer)
            writer.transport.abort()

    async def _reply(self, writer: asyncio.StreamWriter, header: bytes, pdu: bytes) -> None:
        unit = next(iter(self._units.values())) if len(self._units) == 1 else self._units.get(header[6])
        if self._faults.has(SILENCE, unit.name if unit else None):
            self._counters.add("modbus.requests.ignored")
            return
        if unit is None:
            answer = Answer(pdu=bytes([pdu[0] | 0x80, NO_SUCH_TARGET]), values={})
        else:
            answer = unit.answer(pdu, now_ns=time.time_ns())
        fault = await self._send(writer, header, answer.pdu)
        if unit is not None:
            unit.said(answer, at_ns=time.time_ns(), fault=fault)
        self._counters.add("modbus.requests.answered" if fault is None else f"wire.sent.{fault}")

    async def _send(self, writer: asyncio.StreamWriter, header: bytes, pdu: bytes) -> str | None:
        """Send a reply; return the fault that befell it, if any."""
        fault = None
        protocol = header[2:4]
        if self._rng.random() < self._faults.rate(DROP):
            return DROP
        if self._rng.random() < 1 - (1 - self._faults.rate(CORRUPTION)) ** len(pdu):
            # Only where a client can see it: Modbus TCP leaves all else to TCP's checksum.
            protocol, fault = self._rng.randrange(1, 0x10000).to_bytes(2, "big"), CORRUPTION
        if writer.transport.is_closing():
            return UNHEARD
        writer.write(header[:2] + protocol + (len(pdu) + 1).to_bytes(2, "big") + header[6:7] + pdu)
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(WRITE_S):
                await writer.drain()
            return fault
        return UNHEARD
