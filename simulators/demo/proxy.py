"""A TCP proxy in front of the broker: passes on, rewrites what clients publish, pauses, slows, cuts.

Pausing is a network that stalls (connected, but nothing arrives), pausing one direction one that is half open;
cutting is a reset of every connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import struct
from enum import StrEnum
from socket import SO_LINGER, SOL_SOCKET
from typing import TYPE_CHECKING, Self

from simulators.demo.frames import CONNECT, PUBLISH, Frame, Publish, Splitter, parse_publish, protocol_level
from simulators.demo.loopback import listening_socket
from telemetry.errors import ProtocolError

if TYPE_CHECKING:
    from collections.abc import Callable

_READ_BYTES = 65536
_DIAL_S = 5.0
_RESET = struct.pack("ii", 1, 0)
_TICK_S = 0.05
_log = logging.getLogger(__name__)


class Direction(StrEnum):
    """Which way bytes go through the proxy."""

    UP = "up"
    """To the broker."""
    DOWN = "down"
    """To the client."""


class Proxy:
    """Listens on a free loopback port, or `port`, and forwards to (host, port); `rewrite` may change each PUBLISH."""

    def __init__(
        self, host: str, port: int, *, rewrite: Callable[[Publish], Publish] | None = None, listen: int = 0
    ) -> None:
        self.target = (host, port)
        self._rewrite = rewrite
        self._socket = listening_socket(None, listen)
        self.host: str = self._socket.getsockname()[0]
        self.port: int = self._socket.getsockname()[1]
        self._server: asyncio.Server | None = None
        self._flowing = {direction: asyncio.Event() for direction in Direction}
        self._bytes_per_s: float | None = None
        self._refusing = False
        self.resume()
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        """Start to accept connections."""
        self._server = await asyncio.start_server(self._accepted, sock=self._socket)
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close the listener and every connection."""
        if self._server is not None:
            self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def pause(self, *directions: Direction) -> None:
        """Pass nothing on, in one direction or (none given) both; connections stay open, new ones are accepted."""
        for direction in directions or Direction:
            self._flowing[direction].clear()

    def slow(self, bytes_per_s: float) -> None:
        """Pass on so much a second in each direction of each connection, in small pieces."""
        self._bytes_per_s = bytes_per_s

    def resume(self) -> None:
        """Pass on again at full speed, also what has come meanwhile, and accept connections."""
        self._refusing = False
        self._bytes_per_s = None
        for flowing in self._flowing.values():
            flowing.set()

    def cut(self, *, refuse: bool = False) -> None:
        """Reset every connection; with `refuse`, also each new one until `resume`."""
        self._refusing = refuse
        for writer in list(self._writers):
            _reset(writer)

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._refusing:
            _reset(writer)
            return
        task = asyncio.current_task()
        if task is not None:
            task.set_name("proxy-connection")
            self._tasks.add(task)
        self._writers.add(writer)
        upstream: asyncio.StreamWriter | None = None
        try:
            await self._flowing[Direction.UP].wait()
            async with asyncio.timeout(_DIAL_S):
                answers, upstream = await asyncio.open_connection(*self.target)
            self._writers.add(upstream)
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pump(Direction.UP, reader, upstream, _Rewriter(self._rewrite)), name="proxy-up")
                group.create_task(self._pump(Direction.DOWN, answers, writer, None), name="proxy-down")
        except* (OSError, TimeoutError) as errors:
            _log.info("proxy connection ended: %s", errors.exceptions[0])
        except* ProtocolError as errors:
            _log.warning("proxy: a client does not speak MQTT: %s", errors.exceptions[0])
        finally:
            for end in (writer, upstream):
                if end is not None:
                    self._writers.discard(end)
                    end.close()
            if task is not None:
                self._tasks.discard(task)

    async def _pump(
        self,
        direction: Direction,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        rewriter: _Rewriter | None,
    ) -> None:
        flowing = self._flowing[direction]
        while data := await reader.read(_READ_BYTES):
            await flowing.wait()
            rest = rewriter.feed(data) if rewriter else data
            while rest and self._bytes_per_s is not None:
                size = max(1, int(self._bytes_per_s * _TICK_S))
                piece, rest = rest[:size], rest[size:]
                await asyncio.sleep(len(piece) / self._bytes_per_s)
                await flowing.wait()
                writer.write(piece)
                await writer.drain()
            writer.write(rest)
            await writer.drain()
        with contextlib.suppress(OSError):
            writer.write_eof()


class _Rewriter:
    """One client's stream, with each PUBLISH given to `rewrite`; all other packets pass byte for byte."""

    def __init__(self, rewrite: Callable[[Publish], Publish] | None) -> None:
        self._rewrite = rewrite
        self._splitter = Splitter()
        self._level = 0

    def feed(self, data: bytes) -> bytes:
        if self._rewrite is None:
            return data
        return b"".join(self._passed(frame).encode() for frame in self._splitter.feed(data))

    def _passed(self, frame: Frame) -> Frame:
        if frame.kind == CONNECT:
            self._level = protocol_level(frame)
        if frame.kind != PUBLISH or self._rewrite is None:
            return frame
        publish = parse_publish(frame, self._level)
        changed = self._rewrite(publish)
        return frame if changed is publish else changed.frame()


def _reset(writer: asyncio.StreamWriter) -> None:
    sock = writer.get_extra_info("socket")
    if sock is not None:
        with contextlib.suppress(OSError):
            sock.setsockopt(SOL_SOCKET, SO_LINGER, _RESET)  # close() sends RST instead of FIN
    writer.transport.abort()
