"""Boxes, pure numpy: rows x0, y0, x1, y1, score in px of the picture. What overlaps, and whose face is whose."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Numbers = NDArray[np.float32]
    Flags = NDArray[np.bool_]

EMPTY: Final = np.zeros((0, 5), np.float32)
PIECE: Final = 0.7
"""A cut box that lies in another one to this share is a piece of the same person."""
GROUP: Final = 4
"""A box with the faces of so many is round a group."""
SAME: Final = 0.5
HEAD: Final = 0.6
"""A face's centre lies in the upper part of its person's box, to this share of the height."""


def areas(boxes: Numbers) -> Numbers:
    """Return each box's area."""
    found: Numbers = np.prod(np.clip(boxes[:, 2:4] - boxes[:, :2], 0, None), axis=1)
    return found


def common(box: Numbers, others: Numbers) -> Numbers:
    """Return the area that `box` has in common with each of `others`."""
    corner0 = np.maximum(box[:2], others[:, :2])
    corner1 = np.minimum(box[2:4], others[:, 2:4])
    found: Numbers = np.prod(np.clip(corner1 - corner0, 0, None), axis=1)
    return found


def best_of_each(boxes: Numbers, *, overlap: float) -> list[int]:
    """Return the rows of the best of each group of boxes that overlap more than `overlap` of their union."""
    sizes = areas(boxes)
    kept: list[int] = []
    left = np.argsort(-boxes[:, 4])
    while len(left):
        best, left = left[0], left[1:]
        kept.append(int(best))
        shared = common(boxes[best], boxes[left])
        left = left[shared / (sizes[best] + sizes[left] - shared + 1e-9) <= overlap]
    return kept


def cut_of(boxes: Numbers, reach: Numbers) -> Flags:
    """Tell which boxes a tile cuts: they reach further than they are."""
    found: Flags = (boxes[:, :4] != reach[:, :4]).any(axis=1)
    return found


def without_pieces(boxes: Numbers, reach: Numbers) -> tuple[Numbers, Numbers]:
    """Return the boxes, and how far they reach, without those that a tile cuts and that lie in another one."""
    sizes, cut = areas(boxes), cut_of(boxes, reach)
    kept = []
    for row, box in enumerate(boxes):
        larger = (sizes > sizes[row]) | ((sizes == sizes[row]) & ~cut)
        larger[row] = False
        if not (cut[row] and (common(box, boxes[larger]) > PIECE * sizes[row]).any()):
            kept.append(row)
    return boxes[kept], reach[kept]


def one_each(faces: Numbers, people: Numbers, reach: Numbers) -> Numbers:
    """Return a box for each person: people with the face in them, faces without a body, people without a face.

    A box with the faces of a group is no person. One that a tile cuts is a piece if it reaches somebody else's face.
    One with somebody else's face in it is that person again if it has half of the other box in common.
    """
    inside = _faces_in(faces, people)
    persons = inside.sum(axis=0) < GROUP
    people, reach, inside = people[persons], reach[persons], inside[:, persons]
    pairs = matched(faces, people)
    bodies = ~(cut_of(people, reach) & _faces_in(faces, reach).any(axis=0))
    sizes = areas(people)
    for face, person in pairs:
        again = common(people[person], people) > SAME * np.minimum(sizes, sizes[person])
        bodies[again & inside[face]] = False
    bodies[[person for _, person in pairs]] = True
    alone = np.ones(len(faces), np.bool_)
    alone[[face for face, _ in pairs]] = False
    return np.concatenate([people[bodies], faces[alone]])


def _faces_in(faces: Numbers, people: Numbers) -> Flags:
    """Tell which face's centre lies in which person's box."""
    x, y = ((faces[:, None, at] + faces[:, None, at + 2]) / 2 for at in (0, 1))
    found: Flags = (people[:, 0] <= x) & (x <= people[:, 2]) & (people[:, 1] <= y) & (y <= people[:, 3])
    return found


def matches(true: Numbers, found: Numbers) -> list[tuple[int, int]]:
    """Return (true, found) pairs, each once, the best first; a head's box matches the person's that it is in."""
    if not len(true) or not len(found):
        return []
    sizes, others = areas(true), areas(found)
    shared = np.stack([common(box, found) for box in true])
    inside = shared / (np.minimum(sizes[:, None], others[None, :]) + 1e-9)
    union = shared / (sizes[:, None] + others[None, :] - shared + 1e-9)
    # Of two boxes that hold the head, the one that fits better.
    quality = np.where(inside > SAME, inside + union, -1)
    pairs = []
    while quality.max() > 0:
        one, other = np.unravel_index(int(np.argmax(quality)), quality.shape)
        pairs.append((int(one), int(other)))
        quality[one, :] = -1
        quality[:, other] = -1
    return pairs


def matched(faces: Numbers, people: Numbers) -> list[tuple[int, int]]:
    """Return (face, person) pairs, each once, the closest first: a face lies in the upper part of its person's box.

    Closest is where the face's centre is nearest to the middle of the box's upper edge, in parts of the box.
    """
    if not len(faces) or not len(people):
        return []
    centres = (faces[:, None, :2] + faces[:, None, 2:4]) / 2
    sides = np.maximum(people[None, :, 2:4] - people[None, :, :2], 1e-3)
    at = (centres - people[None, :, :2]) / sides
    inside = (at[..., 0] >= 0) & (at[..., 0] <= 1) & (at[..., 1] >= 0) & (at[..., 1] <= HEAD)
    distance = np.where(inside, np.hypot(at[..., 0] - 0.5, at[..., 1]), np.inf)
    pairs = []
    while np.isfinite(distance).any():
        face, person = np.unravel_index(int(np.argmin(distance)), distance.shape)
        pairs.append((int(face), int(person)))
        distance[face, :] = np.inf
        distance[:, person] = np.inf
    return pairs
