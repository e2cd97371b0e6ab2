"""A picture or video file, read only: for tests, for audits, and for recordings that may be counted."""

from __future__ import annotations

import io
import os
import time
from typing import TYPE_CHECKING, Final, NoReturn

import cv2
import numpy as np

from drivers.camera_people import exits
from drivers.camera_people.worker.source import Shot
from telemetry.errors import DeviceUnavailable, ProtocolError

if TYPE_CHECKING:
    import threading

    from drivers.camera_people.assignment import Assignment
    from drivers.camera_people.worker.damage import DamageLog
    from drivers.camera_people.worker.source import Picture

PICTURES: Final = (".jpg", ".jpeg", ".png")
MAX_PICTURE: Final = 16_000_000
DEFAULT_FPS: Final = 10.0
MAX_PASSED: Final = 300
"""Pictures of a video that are passed over at once to be where it would be by now."""


class FileSource:
    """A picture is new each time it is looked at; a video goes on as time does, and begins again at its end.

    The file is opened once, while that is allowed.
    """

    streams = False

    def __init__(self, assignment: Assignment, damage: DamageLog) -> None:
        try:
            self._descriptor = os.open(assignment.path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise DeviceUnavailable(f"the camera's file: {error.strerror}") from error
        self._is_picture = assignment.path.lower().endswith(PICTURES)
        self._damage = damage
        self._capture: cv2.VideoCapture | None = None
        self._begun_s = 0.0
        self._fps = DEFAULT_FPS
        self._number = 0

    def open(self) -> None:
        """Begin at the start."""
        if self._is_picture:
            return
        self._damage.told()
        stream = io.BufferedReader(io.FileIO(os.dup(self._descriptor)))
        stream.seek(0)
        # The stubs do not know that a stream may be given.
        self._capture = cv2.VideoCapture(stream, cv2.CAP_FFMPEG, [])  # type: ignore[call-overload]
        if not self._capture.isOpened():
            raise ProtocolError("the file is no video")
        fps = self._capture.get(cv2.CAP_PROP_FPS)
        self._fps = fps if 0 < fps <= 1000 else DEFAULT_FPS  # noqa: PLR2004 - what a container may claim
        self._begun_s, self._number = time.monotonic(), 0

    def next(self, wanted: threading.Event) -> Shot:
        """Wait until a picture is wanted and return the one of now."""
        wanted.wait()
        if os.fstat(self._descriptor).st_nlink == 0:
            _start_anew()
        picture = self._still() if self._is_picture else self._of_now()
        return Shot(data=picture, received_ns=time.monotonic_ns())

    def close(self) -> None:
        """Let go of the video; the file stays open, since it may not be opened again."""
        if self._capture is not None:
            self._capture.release()
            self._capture = None

    def _still(self) -> Picture:
        data = os.pread(self._descriptor, MAX_PICTURE + 1, 0)
        self._damage.told()
        try:
            picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) if data else None
        except cv2.error as error:
            raise ProtocolError("a picture that is larger than it may be") from error
        if picture is None or len(data) > MAX_PICTURE or self._damage.told():
            raise ProtocolError("the file is no picture, or a damaged one")
        return picture  # type: ignore[return-value]  # the stubs know no type

    def _of_now(self) -> Picture:
        due = int((time.monotonic() - self._begun_s) * self._fps) + 1
        picture = None
        for more in range(max(1, min(due - self._number, MAX_PASSED)), 0, -1):
            if not self._grabbed():
                if self._number == 0:
                    raise ProtocolError("the video has no picture")
                self.close()
                self.open()
                if not self._grabbed():
                    raise ProtocolError("the video has no picture")
                more = 1  # noqa: PLW2901 - at its start again
            self._number += 1
            if more == 1:
                break
        assert self._capture is not None  # noqa: S101
        there, picture = self._capture.retrieve()
        if not there or self._damage.told():
            raise ProtocolError("a picture that cannot be used")
        return picture  # type: ignore[return-value]

    def _grabbed(self) -> bool:
        assert self._capture is not None, "opened first"  # noqa: S101
        return self._capture.grab()


def _start_anew() -> NoReturn:
    """End the worker: another file has taken the name, and only a new worker may open it."""
    os._exit(exits.SOURCE)
