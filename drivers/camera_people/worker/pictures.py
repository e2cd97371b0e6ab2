"""A shot to a picture, and how bright it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import cv2
import numpy as np

if TYPE_CHECKING:
    from drivers.camera_people.worker.damage import DamageLog
    from drivers.camera_people.worker.source import Picture, Shot

SMALLEST: Final = 32
LARGEST: Final = 4096
_LUMA: Final = (0.114, 0.587, 0.299)
"""Weights of blue, green and red (ITU-R BT.601)."""


def decoded(shot: Shot, damage: DamageLog) -> Picture | None:
    """Return the picture, decoded; none if it is damaged, or of a size that makes no sense."""
    picture: Picture | None
    if isinstance(shot.data, bytes):
        damage.told()
        try:
            picture = cv2.imdecode(np.frombuffer(shot.data, np.uint8), cv2.IMREAD_COLOR)  # type: ignore[assignment]
        except cv2.error:  # larger than it may be
            return None
        if picture is None or damage.told():
            return None
    else:
        picture = shot.data
    height, width = picture.shape[:2]
    return picture if min(height, width) >= SMALLEST and max(height, width) <= LARGEST else None


def brightness_of(picture: Picture) -> float:
    """Return the mean of the picture's luma, 0 to 1."""
    return min(1.0, sum(weight * mean for weight, mean in zip(_LUMA, cv2.mean(picture), strict=False)) / 255)
