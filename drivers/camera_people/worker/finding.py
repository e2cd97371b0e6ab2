"""Finder: whatever two detectors take for a person, with no regard to what is one person and what two."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from drivers.camera_people.model_files import MODELS, read_model
from drivers.camera_people.worker.counting import Counter
from drivers.camera_people.worker.detector import CenterFace
from drivers.camera_people.worker.people import PeopleDetector, read_anchors
from drivers.camera_people.worker.session import Sessions

if TYPE_CHECKING:
    from drivers.camera_people.assignment import Assignment
    from drivers.camera_people.worker.boxes import Numbers
    from drivers.camera_people.worker.source import Picture


class Finder:
    """As watchful as aiming needs: thresholds `aim` of the models. Raises WrongModel unless each is the known one."""

    def __init__(self, assignment: Assignment) -> None:
        sessions = Sessions()
        bodies, heads = MODELS["people"], MODELS["centerface"]
        session = sessions.open(read_model(bodies))
        self._people = PeopleDetector(session, read_anchors(bodies), threshold=bodies.thresholds["aim"])
        session = sessions.open(read_model(heads))
        self._faces = CenterFace(session, input_width=assignment.input_width, threshold=heads.thresholds["aim"])
        self._masks = Counter(faces=self._faces, people=None, masks=assignment.masks)

    def find(self, picture: Picture) -> Numbers:
        """Blacken the masks in `picture`, and return a box for whatever may be a person in it. Raises ModelFault."""
        self._masks.mask(picture)
        found: Numbers = np.concatenate([self._faces.faces(picture), self._people.people(picture)[0]])
        return found
