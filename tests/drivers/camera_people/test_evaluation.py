"""Evaluation: numbers only, from pictures that only a confined worker decodes; clear words for what is wrong."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.camera_people.evaluation import Job, read_job, summary
from drivers.camera_people.scores import SCORE_SIZE, Fate, Score, pack_picture, pack_score, unpack_score
from drivers.camera_people.truth import Truth, parse_truth
from simulators.camera_picture import Studio
from simulators.camera_scenes import PROGRAMMES, scene
from telemetry.errors import ConfigError, ProtocolError

AGENT = str(Path(sys.executable).parent / "edge-agent")


def run(*words):
    return subprocess.run([AGENT, *map(str, words)], check=False, capture_output=True, text=True, timeout=110)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    studio = Studio(seed=4, name="e")
    counts, boxes = ["file,count"], ["file,x,y,w,h"]
    for n in range(1, 6):
        shown = scene(PROGRAMMES["lesson"], seed=4, name="e", n=n)
        cv2.imwrite(str(folder / f"{n}.png"), np.ascontiguousarray(studio.picture(shown, number=0)[:, :, ::-1]))
        counts.append(f"{n}.png,{len(shown.people)}")
        boxes += [f"{n}.png,,,,"] if not shown.people else []
        for person in shown.people:
            face = person.face_width
            boxes.append(f"{n}.png,{person.x + (person.side - face) / 2},{person.y + 0.2 * person.side},{face},{face}")
    (folder / "counts.csv").write_text("\n".join(counts))
    (folder / "boxes.csv").write_text("\n".join(boxes))
    return folder


def test_pictures_with_boxes_are_evaluated_in_numbers(pictures):
    before = sorted(pictures.iterdir())
    done = run("camera", "evaluate", pictures, "--csv", pictures / "boxes.csv", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["pictures"], found["people_true"], found["people_counted"]) == (5, 27, 27)
    assert (found["mean_absolute_error"], found["mean_relative_error"], found["recall"]) == (0, 0, 1)
    assert (found["coverage"], found["wholly_covered"], found["people_in_empty_pictures"]) == (1, 1, 0)
    assert found["residual_detections"] == {"faces": 0, "people": 0}
    assert 0 < found["milliseconds"]["median"] <= found["milliseconds"]["worst"]
    assert sorted(pictures.iterdir()) == before


def test_counts_alone_and_pictures_that_are_none(pictures, tmp_path):
    for name in ("1.png", "2.png"):
        (tmp_path / name).write_bytes((pictures / name).read_bytes())
    (tmp_path / "bad.jpg").write_bytes(b"\xff\xd8\xff no picture")
    cv2.imwrite(str(tmp_path / "night.png"), np.full((96, 128, 3), 5, np.uint8))
    cv2.imwrite(str(tmp_path / "hand.png"), np.full((96, 128, 3), 90, np.uint8))
    done = run("camera", "evaluate", tmp_path, "--method", "faces", "--json")
    found = json.loads(done.stdout)
    assert found["not_counted"] == {"dark": 1, "undecodable": 1, "covered": 1}
    assert "mean_absolute_error" not in found
    assert found["people_counted"] > 0
    text = run("camera", "evaluate", tmp_path, "--method", "faces").stdout
    assert "not counted  dark 1, undecodable 1, covered 1" in text


@pytest.mark.parametrize(
    ("table", "complaint"),
    [
        ("", "the file is empty"),
        ("1.png,2,3", "line 1 has 3 columns"),
        ("file,count\n1.png,many", "line 2: 'many' is no number of people"),
        ("1.png,1\n1.png,2", "line 2: 1.png stands there twice"),
        ("file,x,y,w,h\n1.png,1,2,0,4", "line 2: 1,2,0,4 is no box"),
        ("file,x,y,w,h\n1.png,1,2", "line 2: 3 columns, not 5"),
        ("../1.png,3", "is no name of a file below the folder"),
        ("9.png,3", "9.png"),
        ("file,count", "no line"),
    ],
)
def test_a_wrong_table_is_told_with_its_line(pictures, tmp_path, table, complaint):
    path = tmp_path / "truth.csv"
    path.write_text(table)
    with pytest.raises(ConfigError) as caught:
        read_job(pictures, path)
    assert complaint in str(caught.value.problems[0])


def test_a_folder_that_is_not_there_or_empty_is_told(tmp_path):
    for folder, complaint in ((tmp_path / "none", "there is no such folder"), (tmp_path, "there is no picture in it")):
        done = run("camera", "evaluate", folder)
        assert (done.returncode, done.stdout) == (78, "")
        assert complaint in done.stderr
    assert run("camera", "evaluate", tmp_path, "-o", "zones=5").returncode == 78
    assert run("camera", "evaluate", tmp_path, "-o", "zones").returncode == 2


def test_errors_are_summed_up():
    truths = (Truth(people=10), Truth(people=20), Truth(people=0), Truth(people=5))
    job = Job(pictures=(Path(),) * 4, truths=truths, boxed=False)
    scores = [Score(fate=Fate.COUNTED, people=people, micros=1000) for people in (9, 24, 1)] + [Score(fate=Fate.DARK)]
    found = summary(scores, job)
    assert found["mean_absolute_error"] == 2
    assert found["mean_relative_error"] == pytest.approx((0.1 + 0.2) / 2)
    assert (found["bias"], found["people_in_empty_pictures"], found["not_counted"]) == (round(4 / 3, 4), 1, {"dark": 1})
    assert found["with_16_and_more"]["mean_relative_error"] == 0.2


@given(st.text(max_size=60))
def test_any_text_is_a_table_or_refused(text):
    try:
        truths, _ = parse_truth(text)
    except ValueError:
        return
    assert all(truth.people >= 0 for truth in truths.values())


@given(st.binary(min_size=SCORE_SIZE, max_size=SCORE_SIZE) | st.binary(max_size=64))
def test_any_bytes_are_a_score_or_refused(data):
    try:
        score = unpack_score(data)
    except ProtocolError:
        return
    assert unpack_score(pack_score(score)) == score


def test_a_picture_that_is_too_large_is_not_sent():
    with pytest.raises(ValueError, match="0 bytes"):
        pack_picture(b"", [])


def test_a_worker_that_ends_is_told(monkeypatch, pictures):
    from drivers.camera_people import evaluation
    from drivers.camera_people.options import Options
    from telemetry.errors import DeviceUnavailable

    monkeypatch.setattr(evaluation, "MODULE", "this")
    with pytest.raises(DeviceUnavailable, match="the evaluating worker"):
        asyncio.run(evaluation.evaluate(read_job(pictures, None), Options()))
