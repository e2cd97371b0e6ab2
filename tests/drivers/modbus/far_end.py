"""A far end that the test scripts: what a request gets back, and when; and profiles for it."""

from __future__ import annotations

import asyncio
import os
import struct
import tty
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from drivers.modbus import frame
from telemetry.profile import DeviceProfile, Point, Text

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    Answer = Callable[[bytes, Callable[[bytes], None]], None]
    """Given a request and a way to send, sends at once or later."""


def profile(*addresses: int, deadline_s: float = 0.6, heartbeat: str | None = None) -> DeviceProfile:
    """Holding registers, far enough apart to be one block each."""
    return DeviceProfile(
        id="test/device",
        version="1.0.0",
        name=Text(zh="测", en="test"),
        manufacturer="m",
        model="m",
        driver="modbus",
        measurement="environment",
        deadline_s=deadline_s,
        heartbeat=heartbeat,
        point=tuple(Point(name=f"p{a}", quantity="counter", source={"address": a}) for a in addresses),
    )


def rtu(unit: int, *registers: int, function: int = 3) -> bytes:
    data = struct.pack(f">{len(registers)}H", *registers)
    return frame.rtu_request(unit, bytes((function, len(data))) + data)


def rtu_exception(unit: int, code: int, function: int = 3) -> bytes:
    return frame.rtu_request(unit, bytes((function | 0x80, code)))


def mbap(request: bytes, *registers: int) -> bytes:
    data = struct.pack(f">{len(registers)}H", *registers)
    return frame.tcp_request(frame.tcp_transaction(request), request[6], bytes((3, len(data))) + data)


@asynccontextmanager
async def pty_bus(answer: Answer) -> AsyncIterator[str]:
    """Yield the path of a port whose far end gives each request to `answer`."""
    loop = asyncio.get_running_loop()
    master, slave = os.openpty()
    tty.setraw(slave)
    path = os.ttyname(slave)
    os.close(slave)
    os.set_blocking(master, False)

    def send(data: bytes) -> None:
        try:
            os.write(master, data)
        except OSError:
            return

    def readable() -> None:
        try:
            data = os.read(master, 4096)
        except OSError:  # nobody has the port open
            loop.remove_reader(master)
            return
        for start in range(0, len(data), 8):  # a read request has 8 bytes
            answer(data[start : start + 8], send)

    loop.add_reader(master, readable)
    # A pty is hung up until it is first opened: hold it open on the near side until the body does.
    near = os.open(path, os.O_RDWR | os.O_NOCTTY)
    try:
        yield path
    finally:
        loop.remove_reader(master)
        os.close(near)
        os.close(master)


@asynccontextmanager
async def tcp_box(answer: Answer, *, request_bytes: int = 12) -> AsyncIterator[int]:
    """Yield the port of a server on ::1 that gives each request to `answer`."""
    writers = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        try:
            while True:
                answer(await reader.readexactly(request_bytes), writer.write)
        except (asyncio.IncompleteReadError, OSError):
            return

    server = await asyncio.start_server(serve, "::1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for writer in writers:
            writer.transport.abort()
        await server.wait_closed()
