"""CenterFace: how many faces a picture shows. Needs cv2, numpy and onnxruntime. Model card: ../models/README.md."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import cv2
import numpy as np
import onnxruntime as ort

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from drivers.camera_people.worker.source import Picture

    Numbers = NDArray[np.float32]

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
    """One thread, no spinning: the gateway has other things to do."""

    def __init__(self, model: bytes, *, input_width: int, threshold: float) -> None:
        ort.disable_telemetry_events()
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
        # The pattern of one run's memory would be kept for the next: a quarter more memory, no faster.
        options.enable_mem_pattern = False
        options.log_severity_level = 4
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self._input_width = input_width
        self._threshold = threshold
        cv2.setNumThreads(1)

    def count(self, picture: Picture) -> int:
        """Return how many faces `picture` (BGR) shows. Raises ModelFault."""
        return len(self.faces(picture))

    def faces(self, picture: Picture) -> Numbers:
        """Return the faces as rows x0, y0, x1, y1, score in px of the network's input. Raises ModelFault."""
        heat, scale, offset = self._session.run(_OUTPUTS, {_INPUT: self._input(picture)})
        heat = heat[0, 0]
        if not (np.isfinite(heat).all() and heat.min() >= 0 and heat.max() <= 1):
            raise ModelFault("the heat map holds what is no score")
        rows, columns = np.nonzero(heat > self._threshold)
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
        return _without_overlaps(boxes.astype(np.float32))

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


def _without_overlaps(boxes: Numbers) -> Numbers:
    """Return the best of each group of boxes that overlap."""
    boxes = boxes[np.argsort(-boxes[:, 4])]
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    kept: list[int] = []
    left = np.arange(len(boxes))
    while len(left):
        best, left = left[0], left[1:]
        kept.append(int(best))
        corner0 = np.maximum(boxes[best, :2], boxes[left, :2])
        corner1 = np.minimum(boxes[best, 2:4], boxes[left, 2:4])
        common = np.prod(np.clip(corner1 - corner0, 0, None), axis=1)
        left = left[common / (areas[best] + areas[left] - common + 1e-9) <= OVERLAP]
    return boxes[kept]


def _up(side: int) -> int:
    return -(-side // SIDE) * SIDE
