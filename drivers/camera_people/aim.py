"""AimingView: what the aiming worker lets out, for minutes; ends at once when a person is there. Not the agent's."""

from __future__ import annotations

import asyncio
import contextlib
import time
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from drivers.camera_people.exits import said
from drivers.camera_people.measures import GREETING_SIZE, Measure, decode_greeting
from drivers.camera_people.process import launch
from drivers.camera_people.views import ENDING, HEAD, REQUEST, Verdict, unpack_head
from telemetry.errors import DeviceUnavailable, ProtocolError

if TYPE_CHECKING:
    from asyncio.subprocess import Process

MODULE: Final = "drivers.camera_people.worker.aiming"
STARTING_S: Final = 20.0
ANSWER_S: Final = 10.0
WAIT_MS: Final = 2000
PAUSE_S: Final = 0.2
FRESH_S: Final = 2.0
"""A picture older than this is not shown any more: nobody knows who has come since."""
STOP_S: Final = 0.5


class End(StrEnum):
    """Why a view was closed."""

    TIME = "time is over"
    PERSON = "a person was detected"
    DARK = "too dark to be sure that nobody is there"
    UNSURE = "a detector gave what is no number"
    REFUSED = "the camera refuses the login"
    STOPPED = "stopped by hand"
    FAILED = "the view's worker failed"


_ENDS: Final = {
    Verdict.PERSON: End.PERSON,
    Verdict.DARK: End.DARK,
    Verdict.UNSURE: End.UNSURE,
    Verdict.REFUSED: End.REFUSED,
}


class AimingView:
    """Feed `run` to a task; `picture` is what may be seen now."""

    def __init__(self, assignment: bytes, *, seconds: float, filled: bool) -> None:
        self._assignment = assignment
        self._seconds = seconds
        self._filled = filled
        self._jpeg = b""
        self._shown_s = 0.0
        self.verdict = Verdict.NO_PICTURE
        self.shown = 0
        """How many pictures were let out."""
        self.granted = Measure(0)
        self.ended: End | None = None

    @property
    def picture(self) -> bytes:
        """The JPEG that may be seen now; none while nothing may."""
        if self.ended is not None or time.monotonic() - self._shown_s > FRESH_S:
            return b""
        return self._jpeg

    async def run(self) -> End:
        """Look until something ends the view, and say what. Raises DeviceUnavailable if its worker fails."""
        end = End.FAILED
        try:
            process, reader, writer = await launch(MODULE, *(["filled"] if self._filled else []))
        except OSError as error:
            self.ended = end
            raise DeviceUnavailable(f"the view's worker cannot be started: {error.strerror}") from None
        try:
            async with asyncio.timeout(self._seconds) as limit:
                end = await self._look(reader, writer)
        except TimeoutError:
            if not limit.expired():
                raise DeviceUnavailable("the view's worker does not answer", timed_out=True) from None
            end = End.TIME
        except asyncio.CancelledError:
            end = End.STOPPED
            raise
        except (OSError, asyncio.IncompleteReadError, ProtocolError):
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), STOP_S)
            raise DeviceUnavailable(f"the view's worker {said(process.returncode)}") from None
        finally:
            self.ended, self._jpeg = end, b""
            writer.close()
            await _end(process)
        return end

    async def _look(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> End:
        writer.write(self._assignment)
        async with asyncio.timeout(STARTING_S):
            self.granted = decode_greeting(await reader.readexactly(GREETING_SIZE))
        while True:
            writer.write(REQUEST.pack(WAIT_MS))
            async with asyncio.timeout(ANSWER_S):
                self.verdict, length = unpack_head(await reader.readexactly(HEAD.size))
                jpeg = await reader.readexactly(length)
            if self.verdict in ENDING:
                return _ENDS[self.verdict]
            self._jpeg = jpeg
            if jpeg:
                self._shown_s = time.monotonic()
                self.shown += 1
            await asyncio.sleep(PAUSE_S)


async def _end(process: Process) -> None:
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
