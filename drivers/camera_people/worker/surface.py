"""What a picture shows apart from people: is the lens covered, and how much has moved. Needs cv2 and numpy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import cv2
import numpy as np

if TYPE_CHECKING:
    from drivers.camera_people.worker.source import Picture

SMALL: Final = (80, 60)
"""The picture is judged at this size: noise is gone, no person can be made out."""
CLOCK: Final = 8
"""Rows above and below in which cameras write the time and their name, whatever the lens sees."""
FLAT: Final = 0.07
"""Standard deviation of a covered lens's picture, in parts of its mean, is lower than this."""
EVEN: Final = 0.013
"""And the mean step from one px to the next too."""
FULL: Final = 255.0


class Surface:
    """Compares each picture with the one before; keeps 80x60 grey px, and nothing once it is forgotten."""

    def __init__(self) -> None:
        self._before: Any = None
        self.covered = False
        self.motion: float | None = None

    def look(self, picture: Picture) -> None:
        """Set `covered` and `motion`: mean difference from the picture before, 0 to 1; none for the first."""
        grey = np.asarray(cv2.resize(cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY), SMALL, interpolation=cv2.INTER_AREA))
        small = grey.astype(np.float32)
        middle = small[CLOCK:-CLOCK]
        steps = (np.abs(np.diff(middle, axis=0)).mean() + np.abs(np.diff(middle, axis=1)).mean()) / 2
        self.covered = bool(middle.std() < FLAT * middle.mean() and steps < EVEN * middle.mean())
        self.motion = None if self._before is None else float(np.abs(small - self._before).mean()) / FULL
        self._before = small

    def forget(self) -> None:
        """Wipe the picture that is kept."""
        if self._before is not None:
            self._before.fill(0)
        self._before, self.motion = None, None
