"""`python -m drivers.camera_people.worker.aiming FD [filled]`: the worker of an aiming view, not of the agent.

A picture comes out only when two detectors, made more watchful than for counting, find nobody in it and in the two
before it. With `filled`, the first such picture is kept, in memory, and nothing else ever comes out: people who come
later are rectangles of one colour on it.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
from collections import deque
from typing import TYPE_CHECKING, Final, NoReturn

from drivers.camera_people import exits
from drivers.camera_people.measures import encode_greeting
from drivers.camera_people.model_files import WrongModel
from drivers.camera_people.record import State
from drivers.camera_people.views import REQUEST, Verdict, pack_view
from drivers.camera_people.worker.confinement import before_libraries, begin, confine
from drivers.camera_people.worker.damage import DamageLog
from drivers.camera_people.worker.libraries import tell_libraries
from drivers.camera_people.worker.serving import exactly, hung_up, receive_assignment
from drivers.camera_people.worker.sources import make_source
from telemetry.errors import DeviceUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable

    from drivers.camera_people.worker.boxes import Numbers
    from drivers.camera_people.worker.source import Picture

HOLD: Final = 2
"""So many pictures before one must have shown nobody, too; a box stays filled for so many pictures more."""
JPEG_QUALITY: Final = 80


class Aimer:
    """Judges one picture after the other. `find` returns boxes of whatever may be a person; raises ModelFault."""

    def __init__(self, find: Callable[[Picture], Numbers], *, dark_below: float, filled: bool) -> None:
        self._find = find
        self._dark_below = dark_below
        self._filled = filled
        self._background: Picture | None = None
        self._boxes: deque[Numbers] = deque(maxlen=HOLD + 1)
        self._clear = 0

    def judge(self, picture: Picture) -> tuple[Verdict, Picture | None]:
        """Return what may be shown of `picture`, BGR."""
        import numpy as np  # noqa: PLC0415 - after the libraries were told

        from drivers.camera_people.worker.detector import ModelFault  # noqa: PLC0415
        from drivers.camera_people.worker.pictures import brightness_of  # noqa: PLC0415
        from drivers.camera_people.worker.redaction import filled  # noqa: PLC0415

        if brightness_of(picture) < self._dark_below:
            return Verdict.DARK, None
        try:
            boxes = self._find(picture)
        except ModelFault:
            return Verdict.UNSURE, None
        self._boxes.append(boxes)
        if self._background is not None:
            return Verdict.SHOWN, filled(self._background, np.concatenate(self._boxes))
        if len(boxes):
            return Verdict.PERSON, None
        self._clear += 1
        if self._clear <= HOLD:
            return Verdict.HOLD, None
        if self._filled:
            self._background = picture.copy()
        return Verdict.SHOWN, picture


def work(descriptor: int, *, filled: bool) -> NoReturn:
    """Serve the view at the other end of `descriptor`; ends the process."""
    granted = begin()
    damage = DamageLog()
    sys.excepthook = lambda *_: os._exit(exits.FAULT)
    threading.excepthook = lambda _: os._exit(exits.FAULT)
    with socket.socket(fileno=descriptor) as channel:
        assignment = None if hung_up(channel) else receive_assignment(channel)
        if assignment is None:
            os._exit(0)
        tell_libraries(stalled_s=assignment.stalled_s)
        granted |= before_libraries(assignment)
        try:
            import cv2  # noqa: PLC0415

            from drivers.camera_people.worker.finding import Finder  # noqa: PLC0415
            from drivers.camera_people.worker.pictures import decoded  # noqa: PLC0415
            from drivers.camera_people.worker.reader import Reader  # noqa: PLC0415

            finder = Finder(assignment)
            source = make_source(assignment, damage)
        except WrongModel:
            os._exit(exits.MODEL)
        except ImportError:
            os._exit(exits.LIBRARY)
        except DeviceUnavailable:
            os._exit(exits.SOURCE)
        aimer = Aimer(finder.find, dark_below=assignment.dark_below, filled=filled)
        reader = Reader(source, stalled_s=assignment.stalled_s)
        granted |= confine(assignment)
        channel.sendall(encode_greeting(granted))
        threading.Thread(target=reader.run, name="reader", daemon=True).start()
        while request := exactly(channel, REQUEST.size):
            (wait_ms,) = REQUEST.unpack(request)
            taken = reader.take(wait_ms / 1000)
            picture = None if taken.shot is None else decoded(taken.shot, damage)
            if picture is None:
                refused = taken.state is State.REFUSED
                channel.sendall(pack_view(Verdict.REFUSED if refused else Verdict.NO_PICTURE))
                continue
            verdict, shown = aimer.judge(picture)
            jpeg = b""
            if shown is not None:
                _, data = cv2.imencode(".jpg", shown, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
                jpeg = data.tobytes()
            channel.sendall(pack_view(verdict, jpeg))
    os._exit(0)


if __name__ == "__main__":
    work(int(sys.argv[1]), filled=sys.argv[2:] == ["filled"])
