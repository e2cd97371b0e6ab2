"""`python -m drivers.camera_people.worker.evaluating FD`: counts pictures that it is sent; held as any worker is.

It opens no picture itself: the files' bytes come by its socket, and rows of numbers (`scores.py`) go back.
"""

from __future__ import annotations

import os
import socket
import sys
import time
from typing import TYPE_CHECKING, Final, NoReturn

from drivers.camera_people import exits
from drivers.camera_people.model_files import WrongModel
from drivers.camera_people.scores import BOX, HEAD, MAX_BOXES, MAX_PICTURE, Fate, Score, pack_score
from drivers.camera_people.worker.confinement import before_libraries, begin, confine
from drivers.camera_people.worker.damage import DamageLog
from drivers.camera_people.worker.libraries import tell_libraries
from drivers.camera_people.worker.serving import exactly, receive_assignment

if TYPE_CHECKING:
    from drivers.camera_people.assignment import Assignment
    from drivers.camera_people.worker.boxes import Flags, Numbers
    from drivers.camera_people.worker.source import Picture

WIDEST: Final = 1920


class Evaluator:
    """Scores one picture after the other."""

    def __init__(self, assignment: Assignment) -> None:
        # After the libraries were told.
        from drivers.camera_people.worker.counting import make_counter  # noqa: PLC0415
        from drivers.camera_people.worker.surface import Surface  # noqa: PLC0415

        self._counter = make_counter(assignment)
        self._surface = Surface()
        self._dark_below = assignment.dark_below

    def judge(self, data: bytes, boxes: Numbers) -> Score:
        """Decode one file, large photographs made as small as a camera's picture, and score it."""
        import cv2  # noqa: PLC0415
        import numpy as np  # noqa: PLC0415

        from drivers.camera_people.worker.pictures import SMALLEST  # noqa: PLC0415

        try:
            picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        except cv2.error:  # larger than it may be
            picture = None
        if picture is None or min(picture.shape[:2]) < SMALLEST:
            return Score(fate=Fate.UNDECODABLE)
        scale = min(1.0, WIDEST / picture.shape[1])
        if scale < 1:
            sides = (WIDEST, max(1, round(picture.shape[0] * scale)))
            picture = cv2.resize(picture, sides, interpolation=cv2.INTER_AREA)
        return self.score(np.asarray(picture, np.uint8), boxes * np.float32(scale))

    def score(self, picture: Picture, boxes: Numbers) -> Score:
        """Return how `picture` is counted, held against the true `boxes`: rows x, y, width, height."""
        from drivers.camera_people.worker.detector import ModelFault  # noqa: PLC0415
        from drivers.camera_people.worker.pictures import brightness_of  # noqa: PLC0415

        height, width = picture.shape[:2]
        self._surface.look(picture)
        if brightness_of(picture) < self._dark_below:
            return Score(fate=Fate.DARK, width=width, height=height)
        if self._surface.covered:
            return Score(fate=Fate.COVERED, width=width, height=height)
        started = time.perf_counter_ns()
        try:
            counted = self._counter.found(picture)
            micros = (time.perf_counter_ns() - started) // 1000
            return self._held(picture, boxes, counted, micros)
        except ModelFault:
            return Score(fate=Fate.MODEL_FAULT, width=width, height=height)

    def _held(self, picture: Picture, boxes: Numbers, counted: Numbers, micros: int) -> Score:
        """Return the score of a picture in which `counted` was found. Raises ModelFault."""
        import numpy as np  # noqa: PLC0415

        from drivers.camera_people.worker.boxes import matches  # noqa: PLC0415
        from drivers.camera_people.worker.redaction import filled, mask_of  # noqa: PLC0415

        height, width = picture.shape[:2]
        true = np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:4]], axis=1)
        watched = np.concatenate(self._counter.watched(picture))
        mask = mask_of(watched, width=width, height=height)
        shares = [_share(mask, box) for box in true]
        faces_left, people_left = self._counter.watched(filled(picture, watched))
        return Score(
            fate=Fate.COUNTED,
            people=len(counted),
            found=len(matches(true, counted)),
            hidden=sum(share == 1 for share in shares),
            faces_left=len(faces_left),
            people_left=len(people_left),
            coverage=float(np.mean(shares)) if shares else 0.0,
            micros=micros,
            width=width,
            height=height,
        )


def _share(mask: Flags, box: Numbers) -> float:
    """Return how much of `box` lies under the mask; what is outside the picture cannot be seen: it is covered."""
    x0, y0, x1, y1 = (max(0, round(float(side))) for side in box)
    part = mask[y0:y1, x0:x1]
    return float(part.mean()) if part.size else 1.0


def work(descriptor: int) -> NoReturn:
    """Serve the command at the other end of `descriptor`; ends the process."""
    begin()
    DamageLog()  # takes stderr
    sys.excepthook = lambda *_: os._exit(exits.FAULT)
    with socket.socket(fileno=descriptor) as channel:
        assignment = receive_assignment(channel)
        if assignment is None:
            os._exit(0)
        tell_libraries(stalled_s=assignment.stalled_s)
        before_libraries(assignment)
        try:
            import numpy as np  # noqa: PLC0415

            evaluator = Evaluator(assignment)
        except WrongModel:
            os._exit(exits.MODEL)
        except ImportError:
            os._exit(exits.LIBRARY)
        confine(assignment)
        while head := exactly(channel, HEAD.size):
            size, number = HEAD.unpack(head)
            if not size:
                break
            if size > MAX_PICTURE or number > MAX_BOXES:
                os._exit(exits.FAULT)
            data = exactly(channel, size)
            boxes = np.frombuffer(exactly(channel, number * BOX.size), np.float32).reshape(-1, 4)
            channel.sendall(pack_score(evaluator.judge(data, boxes)))
    os._exit(0)


if __name__ == "__main__":
    work(int(sys.argv[1]))
