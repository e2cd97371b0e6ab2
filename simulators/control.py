"""The control socket of a device process: one JSON line asks, one answers. It is the hand that breaks and mends."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_LINE: Final = 64 * 1024
MAX_PATH: Final = 100
"""A Unix socket's path must fit in 108 bytes."""
DEADLINE_S: Final = 5.0


class Request(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """What a device is asked to do; the fields after `op` belong to single operations."""

    op: Literal["state", "fault", "clear", "present", "start"]
    fault: str = ""
    """fault: which; clear: which, or all if empty."""
    device: str | None = None
    """One device of the link; none: all."""
    seconds: float | None = None
    """The fault ends by itself after this time."""
    rate: float | None = None
    point: str | None = None
    per_sample: float | None = None
    card: str = ""
    frames: int = 5


class Refusal(Exception):
    """The request cannot be done; the text says why and what could."""


class ControlServer:
    """Answers requests with `handle(request) -> dict`, which raises Refusal where it cannot."""

    def __init__(self, path: Path, handle: Callable[[Request], dict[str, Any]]) -> None:
        self.path = path
        self._handle = handle
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._decoder = msgspec.json.Decoder(Request)

    async def start(self, group: asyncio.TaskGroup) -> None:
        """Listen. Raises OSError if the path cannot be had."""

        def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self._writers.add(writer)
            group.create_task(self._converse(reader, writer), name="control-connection")

        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.unlink(missing_ok=True)
        self._server = await asyncio.start_unix_server(accept, self.path, limit=MAX_LINE)

    def close(self) -> None:
        """Stop listening and drop the connections."""
        if self._server is not None:
            self._server.close()
        for writer in self._writers:
            writer.transport.abort()
        self.path.unlink(missing_ok=True)

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # No deadline on the next request: an idle control connection is no fault.
        try:
            while (line := await reader.readline()).endswith(b"\n"):
                writer.write(msgspec.json.encode(self._answer(line)) + b"\n")
                async with asyncio.timeout(DEADLINE_S):
                    await writer.drain()
        except (OSError, TimeoutError, ValueError):
            # The other end went away, or sent a line without end: hang up below, it may connect again.
            return
        finally:
            self._writers.discard(writer)
            writer.transport.abort()

    def _answer(self, line: bytes) -> dict[str, Any]:
        try:
            return {"ok": True, **self._handle(self._decoder.decode(line))}
        except (msgspec.DecodeError, msgspec.ValidationError, Refusal) as error:
            return {"ok": False, "error": str(error)}


def ask(path: str, request: Request) -> dict[str, Any]:
    """Ask a device and wait for the answer, blocking; raises Refusal with its reason, or OSError if it is gone."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(DEADLINE_S)
        client.connect(path)
        client.sendall(msgspec.json.encode(request) + b"\n")
        with client.makefile("rb") as file:
            return _opened(file.readline(MAX_LINE))


async def ask_async(path: str, request: Request) -> dict[str, Any]:
    """As `ask`, without blocking the loop."""
    async with asyncio.timeout(DEADLINE_S):
        reader, writer = await asyncio.open_unix_connection(path, limit=MAX_LINE)
        try:
            writer.write(msgspec.json.encode(request) + b"\n")
            await writer.drain()
            return _opened(await reader.readline())
        finally:
            writer.transport.abort()


def _opened(line: bytes) -> dict[str, Any]:
    if not line:
        raise ConnectionResetError("the device hung up before it answered")
    answer = msgspec.json.decode(line, type=dict[str, Any])
    if not answer.pop("ok"):
        raise Refusal(answer["error"])
    return answer


def socket_path(text: str, fallback: Path) -> Path:
    """Return the control socket's path; raises ValueError if a socket cannot have it."""
    path = Path(text).absolute() if text else fallback
    if len(str(path).encode()) > MAX_PATH:
        raise ValueError(f"control socket path is longer than {MAX_PATH} bytes: {path} → choose a shorter one")
    return path
