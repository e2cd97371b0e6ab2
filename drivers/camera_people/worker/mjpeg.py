"""MJPEG over HTTP: a response without end, each part a JPEG."""

from __future__ import annotations

import http.client
import select
import time
from collections import deque
from typing import TYPE_CHECKING, Final

from drivers.camera_people.worker.http import HttpCamera
from drivers.camera_people.worker.jpeg import looks_whole
from drivers.camera_people.worker.lateness import Burst
from drivers.camera_people.worker.multipart import MultipartParser, boundary_of
from drivers.camera_people.worker.source import Shot
from telemetry.errors import DeviceUnavailable, ProtocolError

if TYPE_CHECKING:
    import threading

    from drivers.camera_people.assignment import Assignment

PIECE: Final = 65_536


class MjpegSource:
    """A stream of JPEGs."""

    streams = True

    def __init__(self, assignment: Assignment) -> None:
        self._stalled_s = assignment.stalled_s
        self._camera = HttpCamera(assignment, timeout_s=assignment.stalled_s)
        self._response: http.client.HTTPResponse | None = None
        self._parser = MultipartParser(b"--")
        self._parts: deque[bytes] = deque()
        self._burst = Burst()
        self._waited_s = 0.0
        """For bytes, since the last picture was whole."""

    def open(self) -> None:
        """Ask for the stream."""
        self._response = self._camera.get()
        self._parser = MultipartParser(boundary_of(self._response.headers.get("Content-Type", "")))
        self._parts.clear()
        self._burst = Burst()

    def next(self, wanted: threading.Event) -> Shot | None:
        """Return the next JPEG if one is wanted, and if it is new: after a standstill old ones come first."""
        end = time.monotonic() + self._stalled_s
        while not self._parts:
            # Bytes alone are no sign of life: a picture must come.
            if time.monotonic() > end:
                raise DeviceUnavailable("no picture comes", timed_out=True)
            self._parts.extend(self._parser.feed(self._read()))
        part = self._parts.popleft()
        waited_s, self._waited_s = self._waited_s, 0.0
        late = self._burst.is_late(waited_s=waited_s, more=self._more(), arrived_s=time.monotonic())
        if not looks_whole(part):
            raise ProtocolError("a part is no JPEG")
        return Shot(data=part, received_ns=time.monotonic_ns()) if wanted.is_set() and not late else None

    def close(self) -> None:
        """Hang up."""
        self._camera.close()
        self._response = None

    def _more(self) -> bool:
        """Tell whether more has come than was read."""
        assert self._response is not None, "opened first"  # noqa: S101
        if self._parts:
            return True
        poller = select.poll()
        poller.register(self._response.fileno(), select.POLLIN)
        return bool(poller.poll(0))

    def _read(self) -> bytes:
        assert self._response is not None, "opened first"  # noqa: S101
        began_s = time.monotonic()
        try:
            data = self._response.read1(PIECE)
        except TimeoutError as error:
            raise DeviceUnavailable("no picture comes", timed_out=True) from error
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise DeviceUnavailable("the connection is lost") from error
        self._waited_s += time.monotonic() - began_s
        if not data:
            raise DeviceUnavailable("the camera has ended the stream")
        return data
