"""CenterFace: how many faces a picture shows. Needs cv2, numpy and onnxruntime. Model card: ../models/README.md."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import cv2
import numpy as np

from drivers.camera_people.worker.boxes import best_of_each

if TYPE_CHECKING:
    import onnxruntime as ort

    from drivers.camera_people.worker.boxes import Numbers
    from drivers.camera_people.worker.source import Picture

_INPUT: Final = "input.1"
_OUTPUTS: Final = ("537", "538", "539")
"""Heat map, scale (log, in steps; height, width) and offset (in steps; y, x) of the faces' centres."""
STEP: Final = 4
SIDE: Final = 32
"""The network's input sides are multiples of it."""
OVERLAP: Final = 0.3
MAX_CANDIDATES: Final = 2000


class ModelFault(Exception):
    """The model gave numbers that no sound model gives: nothing may be counted."""


class CenterFace:
    """Finds faces."""

    def __init__(self, session: ort.InferenceSession, *, input_width: int, threshold: float) -> None:
        self._session = session
        self._input_width = input_width
        self._threshold = threshold
        cv2.setNumThreads(1)

    def count(self, picture: Picture) -> int:
        """Return how many faces `picture` (BGR) shows. Raises ModelFault."""
        return len(self.faces(picture))

    def faces(self, picture: Picture, *, threshold: float | None = None) -> Numbers:
        """Return the faces as rows x0, y0, x1, y1, score in px of `picture`. Raises ModelFault."""
        heat, scale, offset = self._session.run(_OUTPUTS, {_INPUT: self._input(picture)})
        heat = heat[0, 0]
        if not (np.isfinite(heat).all() and heat.min() >= 0 and heat.max() <= 1):
            raise ModelFault("the heat map holds what is no score")
        rows, columns = np.nonzero(heat > (self._threshold if threshold is None else threshold))
        scores = heat[rows, columns]
        if len(scores) > MAX_CANDIDATES:
            best = np.argsort(-scores)[:MAX_CANDIDATES]
            rows, columns, scores = rows[best], columns[best], scores[best]
        with np.errstate(over="ignore"):
            height, width = (np.exp(scale[0, axis, rows, columns]) * STEP for axis in (0, 1))
        y, x = ((at + offset[0, axis, rows, columns] + 0.5) * STEP for axis, at in ((0, rows), (1, columns)))
        boxes = np.stack([x - width / 2, y - height / 2, x + width / 2, y + height / 2, scores], axis=1)
        if not np.isfinite(boxes).all():
            raise ModelFault("a box has a side that is no number")
        found: Numbers = boxes.astype(np.float32)
        found[:, :4] /= self.scale(picture)
        return found[best_of_each(found, overlap=OVERLAP)]

    def scale(self, picture: Picture) -> float:
        """Return how many px of the network's input one of the picture's is."""
        return min(1.0, self._input_width / int(picture.shape[1]))

    def _input(self, picture: Picture) -> Numbers:
        """Return the picture as the network takes it: at most `input_width` wide, RGB, filled up with black."""
        height, width = picture.shape[:2]
        seen = np.asarray(picture)
        if width > self._input_width:
            height, width = max(1, round(height * self._input_width / width)), self._input_width
            seen = np.asarray(cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA))
        canvas = np.zeros((1, 3, _up(height), _up(width)), dtype=np.float32)
        canvas[0, :, :height, :width] = seen[:, :, ::-1].transpose(2, 0, 1)
        return canvas


def _up(side: int) -> int:
    return -(-side // SIDE) * SIDE
