"""Redaction, pure numpy: people become rectangles of one colour on a stored picture of the empty room.

The live picture is no argument: not one of its pixels can come out, only where people are. Blur and pixelation are not
offered: docs/camera.md says why.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from drivers.camera_people.worker.boxes import Numbers
    from drivers.camera_people.worker.source import Picture

MARGIN: Final = 0.4
"""A box grows on each side by this share of its width and height."""
FILL: Final = (128, 128, 128)


def mask_of(boxes: Numbers, *, width: int, height: int, margin: float = MARGIN) -> NDArray[np.bool_]:
    """Return which pixels lie in a grown box: height x width. `boxes` are rows x0, y0, x1, y1, … in px.

    A box with a side that is no number covers everything.
    """
    mask = np.zeros((height, width), np.bool_)
    for x0, y0, x1, y1 in np.asarray(boxes, np.float64)[:, :4]:
        if not np.isfinite([x0, y0, x1, y1]).all():
            mask[:] = True
            continue
        (left, right), (top, bottom) = sorted((x0, x1)), sorted((y0, y1))
        more_x, more_y = margin * (right - left), margin * (bottom - top)
        columns = slice(*_within(left - more_x, right + more_x, width))
        mask[slice(*_within(top - more_y, bottom + more_y, height)), columns] = True
    return mask


def filled(background: Picture, boxes: Numbers, *, margin: float = MARGIN) -> Picture:
    """Return a copy of `background` with each box, grown by `margin`, filled with one colour."""
    height, width = background.shape[:2]
    made = background.copy()
    made[mask_of(boxes, width=width, height=height, margin=margin)] = FILL
    return made


def _within(start: float, end: float, size: int) -> tuple[int, int]:
    """Return the whole pixels that the stretch touches, inside 0 to `size`."""
    return int(np.clip(np.floor(start), 0, size)), int(np.clip(np.ceil(end) + 1, 0, size))
