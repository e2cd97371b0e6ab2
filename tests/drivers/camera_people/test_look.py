"""One picture to one record: dark, damaged and faulty pictures are never a number."""

import cv2
import numpy as np
import pytest

from drivers.camera_people.assignment import Assignment
from drivers.camera_people.record import State, decode, encode
from drivers.camera_people.worker.counting import Counter
from drivers.camera_people.worker.detector import CenterFace, ModelFault
from drivers.camera_people.worker.look import Looker
from drivers.camera_people.worker.reader import Taken
from drivers.camera_people.worker.source import Shot
from tests.drivers.camera_people.models import picture, session

FIVE = ((8, 8), (40, 8), (72, 8), (8, 60), (40, 60))


class Reader:
    frames, taken, undecodable, reopened = 10, 4, 1, 2

    def __init__(self, shot, state=State.COUNTED):
        self.shot, self.state = shot, state

    def take(self, _wait_s):
        return Taken(state=self.state, shot=None if self.shot is None else Shot(data=self.shot, received_ns=77))


class Damage:
    """Says what it is told to, once a picture is decoded."""

    def __init__(self, *answers):
        self.answers = list(answers)

    def told(self):
        return self.answers.pop(0) if self.answers else False


def assignment(**options):
    return Assignment(url="", capture="rtsp", **options)


def counter(**options):
    return Counter(faces=CenterFace(session(**options), input_width=640, threshold=0.5), people=None)


def look(shot, *, detector=None, damage=None, state=State.COUNTED, dark_below=0.06):
    looker = Looker(Reader(shot, state), detector or counter(), damage or Damage(), assignment(dark_below=dark_below))
    record = looker.answer(0.1)
    assert decode(encode(record)).state is record.state
    return record


def jpeg(made):
    return cv2.imencode(".jpg", made, [cv2.IMWRITE_JPEG_QUALITY, 100])[1].tobytes()


@pytest.mark.parametrize("compressed", [False, True])
def test_a_picture_is_counted(compressed):
    made = picture(*FIVE)
    record = look(jpeg(made) if compressed else made)
    assert (record.state, record.people, record.width, record.height) == (State.COUNTED, 5, 128, 96)
    assert record.brightness == pytest.approx(0.41, abs=0.03)
    assert (record.captured_ns, record.frames, record.skipped, record.sequence) == (77, 10, 6, 1)


@pytest.mark.parametrize(("faces", "people"), [(0, 0), (1, 4), (3, 4), (4, 4), (5, 5)])
def test_no_small_number_leaves_the_worker(faces, people):
    assert look(picture(*FIVE[:faces])).people == people


def test_too_dark_is_dark_and_never_counted():
    class Never:
        def count(self, _picture):
            raise AssertionError

    record = look(np.full((96, 128, 3), 12, np.uint8), detector=Never())
    assert (record.state, record.people) == (State.DARK, None)
    assert record.brightness == pytest.approx(12 / 255, abs=0.001)
    assert look(np.full((96, 128, 3), 17, np.uint8)).state is State.COVERED
    assert look(picture() // 6).people == 0


def test_a_faulty_model_gives_no_number():
    record = look(picture(*FIVE), detector=counter(fault="nan"))
    assert (record.state, record.people) == (State.MODEL_FAULT, None)

    class Broken:
        def count(self, _picture):
            raise ModelFault

    assert look(picture(), detector=Broken()).state is State.MODEL_FAULT


@pytest.mark.parametrize(
    "shot",
    [
        b"\xff\xd8\xff no picture \xff\xd9",
        b"",
        np.zeros((16, 500, 3), np.uint8),
        np.zeros((32, 4097, 3), np.uint8),
    ],
)
def test_what_is_no_picture_is_undecodable(shot):
    record = look(shot)
    assert (record.state, record.people, record.undecodable) == (State.UNDECODABLE, None, 2)


def test_a_jpeg_that_the_decoder_complained_of_is_undecodable():
    assert look(jpeg(picture()), damage=Damage(True, False)).state is State.COUNTED  # an older complaint
    assert look(jpeg(picture()), damage=Damage(False, True)).state is State.UNDECODABLE


@pytest.mark.parametrize("state", [State.STALLED, State.UNREACHABLE, State.REFUSED, State.WAITING])
def test_no_picture_is_told_as_why(state):
    record = look(None, state=state)
    assert (record.state, record.people, record.brightness) == (state, None, None)
