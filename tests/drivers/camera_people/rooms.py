"""Rendered rooms whose people are known, as the worker sees them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from drivers.camera_people.worker.counting import FUSED, counter_of
from simulators.camera_picture import Studio
from simulators.camera_scenes import PROGRAMMES, scene

if TYPE_CHECKING:
    from drivers.camera_people.worker.counting import Counter
    from drivers.camera_people.worker.source import Picture

SEED = 5


def fused(**options: str) -> Counter:
    """Return the counter that the shipped profile uses."""
    return counter_of(method=FUSED, input_width=640, face_threshold=0.35, people_threshold=0.5, **options)


class Room:
    """One programme's scenes."""

    def __init__(self, programme: str, *, seed: int = SEED) -> None:
        self._programme = PROGRAMMES[programme]
        self._seed = seed
        self._studio = Studio(seed=seed, name="room")

    def picture(self, n: int, *, number: int = 0) -> tuple[Picture, int]:
        """Return scene `n` as a BGR picture, and how many people are in it."""
        shown = scene(self._programme, seed=self._seed, name="room", n=n)
        return np.ascontiguousarray(self._studio.picture(shown, number=number)[:, :, ::-1]), len(shown.people)
