"""Whose face is whose: one person is one box, whatever the detectors said twice."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.camera_people.worker.boxes import EMPTY, best_of_each, matched, matches, one_each, without_pieces
from drivers.camera_people.worker.people import tiles


def boxes(*rows):
    return np.array([(*row, 0.9) for row in rows], np.float32).reshape(-1, 5)


def reach(people, *cut):
    """Return how far the boxes reach: those that are cut by a tile 40 px further to the left."""
    found = people.copy()
    found[list(cut), 0] -= 40
    return found


FACE = (40, 10, 60, 34)
BODY = (20, 0, 80, 120)


def test_a_person_with_a_face_is_one():
    assert len(one_each(boxes(FACE), boxes(BODY), boxes(BODY))) == 1


@pytest.mark.parametrize(("faces", "people", "number"), [((FACE,), (), 1), ((), (BODY,), 1), ((), (), 0)])
def test_each_detector_alone_is_believed(faces, people, number):
    people = boxes(*people)
    assert len(one_each(boxes(*faces), people, people)) == number


def test_a_face_at_the_feet_is_somebody_elses():
    assert len(one_each(boxes((40, 90, 60, 114)), boxes(BODY), boxes(BODY))) == 2


def test_two_faces_in_one_box_are_two_people():
    assert len(one_each(boxes(FACE, (62, 12, 78, 30)), boxes(BODY), boxes(BODY))) == 2


def test_a_box_round_a_group_is_nobody():
    faces = boxes(*((x, 10, x + 20, 34) for x in (0, 40, 80, 120)))
    assert len(one_each(faces, boxes((0, 0, 160, 200)), boxes((0, 0, 160, 200)))) == 4


def test_a_piece_with_somebodys_face_is_not_counted_again():
    people = boxes(BODY, (62, 5, 90, 60))
    assert len(one_each(boxes(FACE), people, reach(people, 1))) == 1
    assert len(one_each(boxes(FACE), people, people)) == 2


def test_the_same_person_in_two_boxes_is_one():
    people = boxes(BODY, (30, 4, 120, 125))
    assert len(one_each(boxes(FACE), people, people)) == 1


def test_cut_boxes_inside_others_go():
    people = boxes(BODY, (20, 60, 80, 120), (200, 0, 240, 50))
    kept, far = without_pieces(people, reach(people, 1, 2))
    assert len(kept) == len(far) == 2


def test_overlapping_boxes_leave_the_best():
    rows = np.array([(0, 0, 10, 10, 0.6), (1, 0, 11, 10, 0.9), (30, 0, 40, 10, 0.5)], np.float32)
    assert best_of_each(rows, overlap=0.5) == [1, 2]
    assert best_of_each(EMPTY, overlap=0.5) == []


def test_a_head_matches_the_person_it_is_in_once():
    assert matches(boxes(FACE, FACE), boxes(BODY)) in ([(0, 0)], [(1, 0)])
    assert matches(boxes((300, 0, 320, 20)), boxes(BODY)) == []
    assert matches(EMPTY, boxes(BODY)) == []


SIDES = st.tuples(*(st.floats(0, 600, width=32) for _ in range(2)), *(st.floats(1, 200, width=32) for _ in range(2)))
SOME = st.lists(SIDES.map(lambda s: (s[0], s[1], s[0] + s[2], s[1] + s[3])), max_size=12)


@given(SOME, SOME, st.data())
def test_nobody_is_lost_and_nobody_is_two(faces, people, data):
    faces, people = boxes(*faces), boxes(*people)
    cut = data.draw(st.sets(st.integers(0, len(people) - 1))) if len(people) else ()
    number = len(one_each(faces, people, reach(people, *cut)))
    assert len(faces) <= number <= len(faces) + len(people)
    pairs = matched(faces, people)
    assert len({face for face, _ in pairs}) == len({person for _, person in pairs}) == len(pairs)


@given(st.integers(32, 4096), st.integers(32, 4096))
def test_tiles_cover_the_picture(width, height):
    found = list(tiles(width, height))
    assert len(found) == 10
    assert all(0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height for x0, y0, x1, y1 in found)
    assert min(x0 for x0, *_ in found[1:]) == 0
    assert max(x1 for _, _, x1, _ in found[1:]) >= width - 1
    assert max(y1 for *_, y1 in found[1:]) >= height - 1
