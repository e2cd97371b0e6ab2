"""RTSP by OpenCV's FFmpeg, over TCP, video alone."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, urlsplit

import cv2

from drivers.camera_people.worker.lateness import Lateness
from drivers.camera_people.worker.rtsp_probe import probe
from drivers.camera_people.worker.source import Shot
from telemetry.errors import DeviceUnavailable, ProtocolError

if TYPE_CHECKING:
    import threading

    from drivers.camera_people.assignment import Assignment
    from drivers.camera_people.worker.damage import DamageLog

SETTLED_S: Final = 0.01
OPENING_S: Final = 1.0
"""What came while the stream was opened is given out at once then: how old each picture is, nobody knows."""


class RtspSource:
    """A video stream. Each picture is decoded, as the next ones need it, but made BGR only when it is wanted."""

    streams = True

    def __init__(self, assignment: Assignment, damage: DamageLog) -> None:
        self._assignment = assignment
        self._stalled_s = assignment.stalled_s
        self._damage = damage
        self._capture: cv2.VideoCapture | None = None
        self._lateness = Lateness()
        self._opened_s = 0.0
        self._settled = False
        self._returned_s = 0.0
        """When the last picture was given out: then the next one had begun to come. See `next`."""
        self._sound = False
        """Whether the decoder has had a whole picture to build on, and no damage since."""
        self._damaged = False

    def open(self) -> None:
        """Ask whether we may, then open the stream."""
        probe(self._assignment, timeout_s=self._stalled_s)
        self._damage.told()
        started = time.monotonic()
        milliseconds = int(1000 * self._stalled_s)
        timeouts = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, milliseconds, cv2.CAP_PROP_READ_TIMEOUT_MSEC, milliseconds]
        self._capture = cv2.VideoCapture(_with_login(self._assignment), cv2.CAP_FFMPEG, timeouts)
        self._opened_s = self._returned_s = time.monotonic()
        self._lateness = Lateness()
        self._settled = self._sound = self._damaged = False
        if not self._capture.isOpened():
            if self._damage.told():
                raise ProtocolError("what comes is no video")
            raise DeviceUnavailable("the stream does not open", timed_out=self._opened_s - started >= self._stalled_s)

    def next(self, wanted: threading.Event) -> Shot | None:
        """Wait for the next picture.

        FFmpeg's parser knows that a picture is whole when the next one begins, and gives it out only then: it had come
        when the one before it was given out.
        """
        assert self._capture is not None, "opened first"  # noqa: S101
        asked_s, came_s = time.monotonic(), self._returned_s
        there = self._capture.grab()
        self._returned_s = time.monotonic()
        waited_s = self._returned_s - asked_s
        if self._damage.told():
            self._sound, self._damaged = False, True
            raise ProtocolError("a damaged picture")
        if not there:
            if not self._damaged or waited_s >= self._stalled_s:
                raise DeviceUnavailable("the stream has ended", timed_out=waited_s >= self._stalled_s)
            raise ProtocolError("what comes is no picture")
        current = self._is_current(waited_s)
        self._sound = self._sound or self._capture.get(cv2.CAP_PROP_LRF_HAS_KEY_FRAME) == 1
        if not self._sound:
            if self._damaged:
                raise ProtocolError("a picture built on a damaged one")
            return None
        self._damaged = False
        if not current or not wanted.is_set():
            return None
        there, picture = self._capture.retrieve()
        if not there:
            raise ProtocolError("a picture that cannot be used")
        return Shot(data=picture, received_ns=int(came_s * 1e9))  # type: ignore[arg-type]  # the stubs know no type

    def close(self) -> None:
        """Hang up."""
        if self._capture is not None:
            self._capture.release()
            self._capture = None

    def _is_current(self, waited_s: float) -> bool:
        """Tell whether the picture comes as it is taken, not from a queue."""
        assert self._capture is not None  # noqa: S101
        self._settled = self._settled or waited_s >= SETTLED_S or self._returned_s - self._opened_s >= OPENING_S
        # The number of the picture and the rate belong together, whatever rate FFmpeg believes in.
        number, rate = self._capture.get(cv2.CAP_PROP_PTS), self._capture.get(cv2.CAP_PROP_FPS)
        late = rate > 0 and self._lateness.is_late(pictured_s=number / rate, arrived_s=self._returned_s)
        return self._settled and not late


def _with_login(assignment: Assignment) -> str:
    """Return the address with the credentials, as FFmpeg takes them; it never leaves this process."""
    if not assignment.username:
        return assignment.url
    parts = urlsplit(assignment.url)
    login = f"{quote(assignment.username, safe='')}:{quote(assignment.password, safe='')}"
    return parts._replace(netloc=f"{login}@{parts.netloc}").geturl()
