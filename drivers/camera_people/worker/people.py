"""PeopleDetector: where a picture shows people, in 3x3 tiles and the whole. Model card: ../models/README.md."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Final

import cv2
import numpy as np

from drivers.camera_people.model_files import MODELS, ModelFile, read_model
from drivers.camera_people.worker.boxes import EMPTY, best_of_each, without_pieces
from drivers.camera_people.worker.detector import ModelFault

if TYPE_CHECKING:
    from collections.abc import Iterator

    import onnxruntime as ort

    from drivers.camera_people.worker.boxes import Numbers
    from drivers.camera_people.worker.source import Picture

_INPUT: Final = "normalized_input_image_tensor:0"
_OUTPUTS: Final = ("raw_outputs/box_encodings:0", "raw_outputs/class_predictions:0")
"""Offsets from the anchors (y, x, height, width), and scores of 91 classes."""
SIDE: Final = 320
PERSON: Final = 1
CENTRE_SCALE: Final = 10.0
SIZE_SCALE: Final = 5.0
"""What the network's offsets are divided by."""
ACROSS: Final = 3
TILE: Final = 0.4
"""A tile's side as a share of the picture's: three tiles, each with a quarter of it in common with the next."""
COMMON: Final = TILE - (1 - TILE) / (ACROSS - 1)
"""What two tiles have in common, as a share of the picture's side: who is no wider is whole in one of them."""
OVERLAP: Final = 0.45
EDGE: Final = 0.02
"""A box that ends so near to a tile's inner edge, in tile sides, is cut by it."""
MAX_CANDIDATES: Final = 500


class PeopleDetector:
    """One network, ten times for each picture."""

    def __init__(self, session: ort.InferenceSession, anchors: Numbers, *, threshold: float) -> None:
        self._session = session
        self._anchors = anchors
        self._threshold = threshold
        self._blob = np.empty((1, SIDE, SIDE, 3), np.float32)

    def people(self, picture: Picture, *, threshold: float | None = None) -> tuple[Numbers, Numbers]:
        """Return the people in `picture` (BGR) as rows x0, y0, x1, y1, score in its px, and how far each may go.

        The latter are the same boxes, but for those that a tile cuts: they reach over its edge. Raises ModelFault.
        """
        height, width = picture.shape[:2]
        found, reaches = [EMPTY], [EMPTY]
        for left, top, right, bottom in tiles(width, height):
            boxes = self._in_tile(np.asarray(picture)[top:bottom, left:right], threshold or self._threshold)
            boxes[:, :4] += (left, top, left, top)
            reach = boxes.copy()
            for side, (edge, sign, inner) in enumerate(
                ((left, -1, left > 0), (top, -1, top > 0), (right, 1, right < width), (bottom, 1, bottom < height))
            ):
                size = (width, height)[side % 2]
                cut = inner & (np.abs(boxes[:, side] - edge) < EDGE * size * TILE)
                reach[cut, side] += sign * COMMON * size
            found.append(boxes)
            reaches.append(reach)
        boxes, reach = np.concatenate(found), np.concatenate(reaches)
        kept = best_of_each(boxes, overlap=OVERLAP)
        return without_pieces(boxes[kept], reach[kept])

    def _in_tile(self, tile: Picture, threshold: float) -> Numbers:
        """Return the people in one tile, in its px."""
        height, width = tile.shape[:2]
        small = cv2.resize(tile, (SIDE, SIDE), interpolation=cv2.INTER_AREA if width > SIDE else cv2.INTER_LINEAR)
        np.multiply(np.asarray(small)[:, :, ::-1], np.float32(2 / 255), out=self._blob[0])
        self._blob -= 1
        offsets, scores = self._session.run(_OUTPUTS, {_INPUT: self._blob})
        score = scores[0, :, PERSON]
        if not (np.isfinite(score).all() and score.min() >= 0 and score.max() <= 1):
            raise ModelFault("a score that is no score")
        rows = np.nonzero(score > threshold)[0]
        rows = rows[np.argsort(-score[rows])[:MAX_CANDIDATES]]
        y, x, high, wide = self._anchors[rows].T
        dy, dx, dh, dw = offsets[0, rows].T
        with np.errstate(over="ignore"):
            wide_px = np.exp(dw / SIZE_SCALE) * wide * width
            high_px = np.exp(dh / SIZE_SCALE) * high * height
        x_px = (dx / CENTRE_SCALE * wide + x) * width
        y_px = (dy / CENTRE_SCALE * high + y) * height
        sides = [x_px - wide_px / 2, y_px - high_px / 2, x_px + wide_px / 2, y_px + high_px / 2]
        boxes = np.stack([*sides, score[rows]], axis=1)
        if not np.isfinite(boxes).all():
            raise ModelFault("a box has a side that is no number")
        boxes[:, [0, 2]] = np.clip(boxes[:, [0, 2]], 0, width)
        boxes[:, [1, 3]] = np.clip(boxes[:, [1, 3]], 0, height)
        found: Numbers = boxes.astype(np.float32)
        return found[best_of_each(found, overlap=OVERLAP)]


def tiles(width: int, height: int) -> Iterator[tuple[int, int, int, int]]:
    """Yield the whole picture and its tiles: left, top, right, bottom in px."""
    yield 0, 0, width, height
    for row in range(ACROSS):
        for column in range(ACROSS):
            left, top = (round(at * (1 - TILE) / (ACROSS - 1) * side) for at, side in ((column, width), (row, height)))
            yield left, top, left + round(TILE * width), top + round(TILE * height)


def read_anchors(model: ModelFile) -> Numbers:
    """Return the boxes that the network's offsets are from, rows cy, cx, h, w. Raises WrongModel."""
    anchors: Numbers = np.load(io.BytesIO(read_model(MODELS[model.companion])), allow_pickle=False)
    return anchors.astype(np.float32)
