"""Worker: one worker process as the agent sees it. It gets one socket, and nothing by command line or environment."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from drivers.camera_people.exits import said
from drivers.camera_people.measures import GREETING_SIZE, Measure, decode_greeting
from drivers.camera_people.record import MAX_WAIT_MS, REQUEST, SIZE
from telemetry.errors import DeviceUnavailable, ProtocolError
from telemetry.sample import Reason

if TYPE_CHECKING:
    from asyncio.subprocess import Process

MODULE: Final = "drivers.camera_people.worker"
ROOT: Final = Path(__file__).parents[2]
STOP_S: Final = 0.5
FIRST_WAIT_MS: Final = 3000
"""How long the first picture may take, with the connection."""
LATE_S: Final = 30.0
"""An answer to an older question is passed over: where the period is minutes it would be old news."""
# What a library may need to be found and to run; nothing of the agent's own, which may hold secrets.
KEPT: Final = ("PATH", "LANG", "LC_ALL", "TZ", "LD_LIBRARY_PATH", "PYTHONDONTWRITEBYTECODE")


def environment() -> dict[str, str]:
    """Return what a worker gets of the agent's environment."""
    kept = {name: os.environ[name] for name in KEPT if name in os.environ}
    # Without a home, a library would ask the system's user database for one, by a socket.
    return kept | {"PYTHONPATH": str(ROOT), "HOME": "/nonexistent"}


async def launch(module: str, *arguments: str) -> tuple[Process, asyncio.StreamReader, asyncio.StreamWriter]:
    """Start `module` with the number of its socket, and return it with our end. Raises OSError."""
    ours, theirs = socket.socketpair()
    with theirs:
        ours.setblocking(False)
        reader, writer = await asyncio.open_connection(sock=ours, limit=1024)
        try:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                *("-s", "-P", "-m", module, str(theirs.fileno()), *arguments),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                env=environment(),
            )
        except BaseException:
            writer.close()
            raise
    return process, reader, writer


class Worker:
    """A running worker: asked for one record at a time; an answer that is late is the next one's, if not too late."""

    def __init__(self, process: Process, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._process = process
        self._reader = reader
        self._writer = writer
        self._asked_s: float | None = None
        self.started_s = time.monotonic()
        self.answers = 0
        self.granted: Measure | None = None
        """What it has given up; known with its first answer."""

    @classmethod
    async def start(cls, assignment: bytes) -> Self:
        """Return a new worker, told what to do. Raises OSError if it cannot be started."""
        worker = cls(*await launch(MODULE))
        worker._writer.write(assignment)
        return worker

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._process.pid

    @property
    def silent_s(self) -> float:
        """How long it has owed an answer; 0 if it owes none."""
        return 0.0 if self._asked_s is None else time.monotonic() - self._asked_s

    async def answer(self, *, wait_ms: int) -> bytes:
        """Return the next record's bytes; the caller sets the deadline. Raises DeviceUnavailable without a worker."""
        late = self.silent_s > LATE_S
        try:
            data = await self._record(wait_ms)
            if late:
                data = await self._record(wait_ms)
        except ProtocolError as error:
            self.kill()
            raise DeviceUnavailable(f"the camera's worker sent {error}", reason=Reason.SENSOR_FAULT) from None
        except (OSError, asyncio.IncompleteReadError):
            raise DeviceUnavailable("the camera's worker is gone", reason=Reason.SENSOR_FAULT) from None
        self.answers += 1
        return data

    async def _record(self, wait_ms: int) -> bytes:
        if self._asked_s is None:
            # A new worker has to connect first: that it waits is no news, and its silence tells as much.
            longest_ms = wait_ms if self.answers else max(wait_ms, FIRST_WAIT_MS)
            self._writer.write(REQUEST.pack(min(longest_ms, MAX_WAIT_MS)))
            self._asked_s = time.monotonic()
        if self.granted is None:
            self.granted = decode_greeting(await self._reader.readexactly(GREETING_SIZE))
        data = await self._reader.readexactly(SIZE)
        self._asked_s = None
        return data

    def kill(self) -> None:
        """End it at once."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()

    async def ended(self) -> int:
        """Wait until it has ended; return its exit code."""
        return await self._process.wait()

    async def stop(self) -> str:
        """End it, within a second, and return in words how it ended; never raises."""
        self._writer.close()
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.terminate()
        try:
            async with asyncio.timeout(STOP_S):
                await self._process.wait()
        except TimeoutError:
            self.kill()
            await self._process.wait()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()
        return said(self._process.returncode)
