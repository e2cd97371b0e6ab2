"""The detector on networks whose answers are known, and CenterFace itself on a picture of one person."""

import numpy as np
import pytest
from skimage.data import astronaut

from drivers.camera_people.model_files import MODELS, ModelFile, WrongModel, read_model
from drivers.camera_people.worker.detector import CenterFace, ModelFault
from tests.drivers.camera_people.models import SESSIONS, network, picture, session


def detector(*, input_width=640, threshold=0.5, **options):
    return CenterFace(session(**options), input_width=input_width, threshold=threshold)


@pytest.mark.parametrize("faces", [(), ((40, 40),), ((0, 0), (40, 40), (124, 92)), ((8, 8), (48, 8), (88, 8), (8, 64))])
def test_each_face_is_counted_once(faces):
    assert detector().count(picture(*faces)) == len(faces)


def test_a_box_lies_where_the_face_is():
    ((x0, y0, x1, y1, score),) = detector().faces(picture((40, 20)))
    assert ((x0 + x1) / 2, (y0 + y1) / 2) == pytest.approx((42, 22))
    assert (x1 - x0, y1 - y0) == pytest.approx((4 * np.exp(1.5),) * 2, rel=1e-5)
    assert score == pytest.approx(1)


def test_boxes_that_overlap_are_one_face():
    assert detector(scale=3.0).count(picture((40, 40), (44, 40), (40, 44))) == 1
    assert detector(scale=0.0).count(picture((40, 40), (44, 40), (40, 44))) == 3


@pytest.mark.parametrize(("width", "height"), [(128, 96), (100, 70), (33, 47), (640, 360)])
def test_any_size_of_picture_fits(width, height):
    assert detector().count(picture((16, 16), width=width, height=height)) == 1


def test_a_wide_picture_is_made_smaller():
    large = np.kron(picture((40, 40), (80, 8)), np.ones((4, 4, 1), np.uint8))
    assert detector(input_width=128).count(large) == 2
    ((x0, _, x1, _, _), _) = sorted(map(tuple, detector(input_width=128).faces(large)))
    assert (x0 + x1) / 2 == pytest.approx(4 * 42)


def test_a_picture_of_nothing_but_faces_does_not_take_forever():
    full = np.zeros((480, 640, 3), np.uint8)
    full[:, :, 2] = 255
    assert 0 < detector(scale=0.0).count(full) <= 2000


@pytest.mark.parametrize("fault", ["nan", "score", "size"])
def test_what_is_no_number_is_a_fault_and_no_count(fault):
    with pytest.raises(ModelFault):
        detector(fault=fault).count(picture((40, 40)))


def test_centerface_finds_the_astronaut_once_and_nobody_in_an_empty_room():
    model = CenterFace(SESSIONS.open(read_model(MODELS["centerface"])), input_width=640, threshold=0.5)
    assert model.count(np.ascontiguousarray(astronaut()[:, :, ::-1])) == 1
    assert model.count(np.full((480, 640, 3), 120, np.uint8)) == 0


def test_another_file_is_not_loaded(monkeypatch, tmp_path):
    monkeypatch.setattr("drivers.camera_people.model_files.FOLDER", tmp_path)
    model = ModelFile(file="m.onnx", sha256="0" * 64)
    with pytest.raises(WrongModel, match="No such file"):
        read_model(model)
    (tmp_path / "m.onnx").write_bytes(network())
    with pytest.raises(WrongModel, match="its sha256 is"):
        read_model(model)
