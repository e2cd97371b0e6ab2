"""Snapshots: a JPEG for each request, fetched when the agent asks."""

from __future__ import annotations

import http.client
import time
from typing import TYPE_CHECKING, Final

from drivers.camera_people.worker.http import HttpCamera
from drivers.camera_people.worker.jpeg import looks_whole
from drivers.camera_people.worker.mjpeg import PIECE
from drivers.camera_people.worker.multipart import MAX_PART
from drivers.camera_people.worker.source import Shot
from telemetry.errors import DeviceUnavailable, ProtocolError

if TYPE_CHECKING:
    import threading

    from drivers.camera_people.assignment import Assignment

QUICK_NS: Final = 1_000_000_000
"""A picture that is had in less is as old as its arrival says, well enough."""


class SnapshotSource:
    """Fetches one picture after the other, each when it is wanted."""

    streams = False

    def __init__(self, assignment: Assignment) -> None:
        self._timeout_s = assignment.stalled_s
        self._camera = HttpCamera(assignment, timeout_s=assignment.stalled_s)

    def open(self) -> None:
        """Nothing to open: each picture has its own connection."""

    def next(self, wanted: threading.Event) -> Shot:
        """Wait until a picture is wanted; fetch and return it."""
        wanted.wait()
        asked_ns = time.monotonic_ns()
        try:
            picture = self._body(self._camera.get())
        finally:
            self._camera.close()
        if not looks_whole(picture):
            raise ProtocolError("the answer is no JPEG")
        had_ns = time.monotonic_ns()
        # Nobody knows when in between it was taken: it may have lain in the socket while this process stood still.
        taken_ns = had_ns if had_ns - asked_ns < QUICK_NS else (asked_ns + had_ns) // 2
        return Shot(data=picture, received_ns=taken_ns)

    def close(self) -> None:
        """Hang up."""
        self._camera.close()

    def _body(self, response: http.client.HTTPResponse) -> bytes:
        end = time.monotonic() + self._timeout_s
        body = bytearray()
        try:
            while piece := response.read1(PIECE):
                body += piece
                if len(body) > MAX_PART:
                    raise ProtocolError(f"a picture of more than {MAX_PART} bytes")
                if time.monotonic() > end:
                    raise DeviceUnavailable("the picture comes too slowly")
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise DeviceUnavailable("the connection is lost") from error
        return bytes(body)
