"""Counter: how many people a picture shows, by faces alone or with the people detector; masks and zones are heeded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import cv2
import numpy as np

from drivers.camera_people.model_files import MODELS, read_model
from drivers.camera_people.regions import parse_regions
from drivers.camera_people.worker.boxes import EMPTY, one_each
from drivers.camera_people.worker.detector import CenterFace
from drivers.camera_people.worker.people import PeopleDetector, read_anchors
from drivers.camera_people.worker.session import Sessions

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from drivers.camera_people.assignment import Assignment
    from drivers.camera_people.regions import Region
    from drivers.camera_people.worker.boxes import Numbers
    from drivers.camera_people.worker.source import Picture

FUSED: Final = "faces_and_people"
WATCHFUL: Final = "aim"
"""The thresholds of `watched`."""
_HEAD: Final = 0.15
"""A person sits where the head is: so far below the upper edge of the box, as a share of its height."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """What was found on one picture: numbers alone."""

    people: int
    narrowest_px: float | None = None
    """Width of the narrowest and widest face in px of the network's input; none without faces."""
    widest_px: float | None = None


class Counter:
    """Finds people; made once, after the libraries were told (`libraries.tell_libraries`)."""

    def __init__(self, *, faces: CenterFace, people: PeopleDetector | None, masks: str = "", zones: str = "") -> None:
        self._faces = faces
        self._people = people
        self._masks = parse_regions(masks)
        self._zones = parse_regions(zones)

    def count(self, picture: Picture) -> Count:
        """Return how many people `picture` (BGR) shows; what is under a mask is blackened first. Raises ModelFault."""
        faces, people = self._seen(picture)
        if not len(faces):
            return Count(people=len(people))
        widths = (faces[:, 2] - faces[:, 0]) * self._faces.scale(picture)
        return Count(people=len(people), narrowest_px=float(widths.min()), widest_px=float(widths.max()))

    def found(self, picture: Picture) -> Numbers:
        """Return a box for each person that `count` counts: rows x0, y0, x1, y1, score in px. Raises ModelFault."""
        return self._seen(picture)[1]

    def _seen(self, picture: Picture) -> tuple[Numbers, Numbers]:
        """Return the faces, and the people that are counted."""
        self.mask(picture)
        faces = self._faces.faces(picture)
        return faces, self._inside(self._fused(faces, picture), picture)

    def watched(self, picture: Picture) -> tuple[Numbers, Numbers]:
        """Return whatever may be a face, and whatever may be a person: for redaction, which must not miss one."""
        faces = self._faces.faces(picture, threshold=MODELS["centerface"].thresholds[WATCHFUL])
        if self._people is None:
            return faces, EMPTY
        return faces, self._people.people(picture, threshold=MODELS["people"].thresholds[WATCHFUL])[0]

    def mask(self, picture: Picture) -> None:
        """Blacken what lies under the masks."""
        for region in self._masks:
            cv2.fillPoly(picture, [_outline(region, picture)], (0, 0, 0))

    def _fused(self, faces: Numbers, picture: Picture) -> Numbers:
        if self._people is None:
            return faces
        people, reach = self._people.people(picture)
        return one_each(faces, people, reach)

    def _inside(self, boxes: Numbers, picture: Picture) -> Numbers:
        """Return those whose head lies in a zone; all without zones."""
        if not self._zones:
            return boxes
        outlines = [_outline(region, picture) for region in self._zones]
        heads = np.stack([(boxes[:, 0] + boxes[:, 2]) / 2, boxes[:, 1] + _HEAD * (boxes[:, 3] - boxes[:, 1])], axis=1)
        kept = [
            row
            for row, (x, y) in enumerate(heads)
            if any(cv2.pointPolygonTest(outline, (float(x), float(y)), measureDist=False) >= 0 for outline in outlines)
        ]
        return boxes[kept]


def make_counter(assignment: Assignment) -> Counter:
    """Return the counter that `assignment` asks for. Raises WrongModel unless each file is the known one."""
    return counter_of(
        method=assignment.method,
        input_width=assignment.input_width,
        face_threshold=assignment.threshold,
        people_threshold=assignment.people_threshold,
        masks=assignment.masks,
        zones=assignment.zones,
    )


def counter_of(
    *,
    method: str,
    input_width: int,
    face_threshold: float,
    people_threshold: float,
    masks: str = "",
    zones: str = "",
) -> Counter:
    """Return a counter with the shipped models. Raises WrongModel unless each file is the known one."""
    sessions = Sessions()
    people = None
    # The larger model first: what reading it takes is free again for the other.
    if method == FUSED:
        model = MODELS["people"]
        session = sessions.open(read_model(model))
        people = PeopleDetector(session, read_anchors(model), threshold=people_threshold)
    faces = CenterFace(
        sessions.open(read_model(MODELS["centerface"])), input_width=input_width, threshold=face_threshold
    )
    return Counter(faces=faces, people=people, masks=masks, zones=zones)


def _outline(region: Region, picture: Picture) -> NDArray[np.int32]:
    height, width = picture.shape[:2]
    corners: NDArray[np.int32] = np.rint(np.array(region) * (width, height)).astype(np.int32)
    return corners
