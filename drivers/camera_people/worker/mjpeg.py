"""MJPEG over HTTP: a response without end, each part a JPEG."""

from __future__ import annotations

import http.client
import select
import time
from collections import deque
from typing import TYPE_CHECKING, Final

from drivers.camera_people.worker.http import HttpCamera
from drivers.camera_people.worker.jpeg import looks_whole
from drivers.camera_people.worker.multipart import MultipartParser, boundary_of
from drivers.camera_people.worker.source import Shot
from telemetry.errors import DeviceUnavailable, ProtocolError

if TYPE_CHECKING:
    import threading

    from drivers.camera_people.assignment import Assignment

PIECE: Final = 65_536
QUIET_S: Final = 0.02
"""A picture that another one follows sooner has lain in the socket: the fastest cameras send one in 33 ms."""
BURST_S: Final = 1.0
"""What lies in sockets is read in much less; a stream that never pauses must not look as if nothing came."""


class MjpegSource:
    """A stream of JPEGs."""

    streams = True

    def __init__(self, assignment: Assignment) -> None:
        self._stalled_s = assignment.stalled_s
        self._camera = HttpCamera(assignment, timeout_s=assignment.stalled_s)
        self._response: http.client.HTTPResponse | None = None
        self._parser = MultipartParser(b"--")
        self._parts: deque[bytes] = deque()
        self._fault: DeviceUnavailable | ProtocolError | None = None
        """Of the stream, after the picture that was given out."""

    def open(self) -> None:
        """Ask for the stream."""
        self._response = self._camera.get()
        self._parser = MultipartParser(boundary_of(self._response.headers.get("Content-Type", "")))
        self._parts.clear()
        self._fault = None

    def next(self, wanted: threading.Event) -> Shot | None:
        """Return the next JPEG if one is wanted: after a standstill the last of those that lay ready."""
        if self._fault is not None:
            fault, self._fault = self._fault, None
            raise fault
        end = time.monotonic() + self._stalled_s
        while not self._parts:
            # Bytes alone are no sign of life: a picture must come.
            if time.monotonic() > end:
                raise DeviceUnavailable("no picture comes", timed_out=True)
            self._parts.extend(self._parser.feed(self._read()))
        part, received_s = self._newest()
        if not looks_whole(part):
            raise ProtocolError("a part is no JPEG")
        return Shot(data=part, received_ns=int(received_s * 1e9)) if wanted.is_set() else None

    def close(self) -> None:
        """Hang up."""
        self._camera.close()
        self._response = None

    def _newest(self) -> tuple[bytes, float]:
        """Return the first part, or the last of those that come on its heels, and when it was whole, in seconds."""
        part = self._parts.popleft()
        now = whole_at = began = time.monotonic()
        try:
            while now - whole_at < QUIET_S and now - began < BURST_S:
                if self._parts:
                    part, whole_at = self._parts.popleft(), now
                elif self._readable(QUIET_S):
                    self._parts.extend(self._parser.feed(self._read()))
                now = time.monotonic()
        except (DeviceUnavailable, ProtocolError) as fault:
            self._fault = fault
        # Not the time now: this process may have stood still meanwhile.
        return part, whole_at

    def _readable(self, wait_s: float) -> bool:
        assert self._response is not None, "opened first"  # noqa: S101
        poller = select.poll()
        poller.register(self._response.fileno(), select.POLLIN)
        return bool(poller.poll(1000 * wait_s))

    def _read(self) -> bytes:
        assert self._response is not None, "opened first"  # noqa: S101
        try:
            data = self._response.read1(PIECE)
        except TimeoutError as error:
            raise DeviceUnavailable("no picture comes", timed_out=True) from error
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise DeviceUnavailable("the connection is lost") from error
        if not data:
            raise DeviceUnavailable("the camera has ended the stream")
        return data
