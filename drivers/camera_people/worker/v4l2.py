"""A camera on this machine (/dev/videoN) by Video4Linux."""

from __future__ import annotations

import os
import stat
import time
from typing import TYPE_CHECKING

import cv2

from drivers.camera_people import exits
from drivers.camera_people.worker.source import Shot
from telemetry.errors import DeviceUnavailable

if TYPE_CHECKING:
    import threading

    from drivers.camera_people.assignment import Assignment


class V4l2Source:
    """Frames come as the camera takes them; one is made BGR only when it is wanted."""

    streams = True

    def __init__(self, assignment: Assignment) -> None:
        self._path = assignment.path
        self._capture: cv2.VideoCapture | None = None
        try:
            mode = os.stat(self._path).st_mode  # noqa: PTH116 - beside os.access
        except OSError as error:
            raise DeviceUnavailable(f"the camera's device: {error.strerror}") from error
        if not stat.S_ISCHR(mode) or not os.access(self._path, os.R_OK | os.W_OK):
            raise DeviceUnavailable("the camera's device is none, or may not be opened")

    def open(self) -> None:
        """Open the device. One that is gone, or came back as another, ends the worker: only a new one may open it."""
        self._capture = cv2.VideoCapture(self._path, cv2.CAP_V4L2)
        if not self._capture.isOpened():
            os._exit(exits.SOURCE)
        # One frame waits, not four: else the newest is the oldest.
        self._capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)

    def next(self, wanted: threading.Event) -> Shot | None:
        """Wait for the next frame; return it if one is wanted."""
        assert self._capture is not None, "opened first"  # noqa: S101
        if not self._capture.grab():
            raise DeviceUnavailable("the camera gives no picture", timed_out=True)
        if not wanted.is_set():
            return None
        there, picture = self._capture.retrieve()
        if not there:
            raise DeviceUnavailable("the camera gives no picture", timed_out=True)
        return Shot(data=picture, received_ns=time.monotonic_ns())  # type: ignore[arg-type]

    def close(self) -> None:
        """Let go of the device."""
        if self._capture is not None:
            self._capture.release()
            self._capture = None
