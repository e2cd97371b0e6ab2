"""What a simulated camera shows: depends on the seed alone, and each one in it can be told from all others."""

from __future__ import annotations

import json
import subprocess
import sys
from itertools import combinations
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulators.build import check
from simulators.camera_picture import Studio, read_stamp, stamp
from simulators.camera_scenes import HEIGHT, MAX_PEOPLE, PROGRAMMES, WIDTH, Person, people_in, scene
from simulators.camera_video import H264, is_key, jpeg, jpeg_noise, nal_units, parameter_sets
from simulators.launch import environment
from simulators.ledger import PlannedScene, plan
from simulators.spec import DeviceSpec
from telemetry.errors import ConfigError

LESSON = PROGRAMMES["lesson"]
CAMERA = DeviceSpec(kind="camera", name="r101-camera")


def test_a_lesson_has_another_number_each_scene() -> None:
    for seed in range(1, 50):
        counts = [people_in(LESSON, seed=seed, name="c", n=n) for n in range(1, 31)]
        assert all(len(set(counts[at : at + 4])) >= 3 for at in range(27))
        assert {0, 5, 8, 2, 12} == set(counts)
    assert len({tuple(people_in(LESSON, seed=seed, name="c", n=n) for n in range(1, 6)) for seed in range(50)}) > 20


def apart(one: Person, other: Person) -> bool:
    return (
        one.x + one.side <= other.x
        or other.x + other.side <= one.x
        or one.y + one.side <= other.y
        or other.y + other.side <= one.y
    )


@pytest.mark.parametrize("programme", PROGRAMMES.values(), ids=PROGRAMMES)
def test_people_are_large_enough_apart_and_inside(programme: Any) -> None:
    for seed in range(1, 40):
        for n in range(1, 8):
            people = scene(programme, seed=seed, name="c", n=n).people
            covered = programme.covered and n % 3 == 0
            expected = 0 if covered else people_in(programme, seed=seed, name="c", n=n)
            assert len(people) == expected <= MAX_PEOPLE
            assert all(apart(one, other) for one, other in combinations(people, 2))
            assert all(person.face_width >= (16.5 if programme.lively else 24) for person in people)
            assert all(0 <= person.x <= WIDTH - person.side for person in people)
            assert all(0 <= person.y <= HEIGHT - 16 - person.side for person in people), "nobody hides the strip"


def test_the_same_seed_gives_the_same_bytes() -> None:
    def pictures(seed: int) -> list[bytes]:
        studio = Studio(seed=seed, name="c")
        shown = [scene(LESSON, seed=seed, name="c", n=n) for n in (1, 2)]
        return [studio.picture(item, number=number).tobytes() for item in shown for number in (7, 8)]

    assert pictures(1) == pictures(1)
    assert len({*pictures(1), *pictures(2)}) == 8


def test_dark_is_nearly_black_but_for_the_strip() -> None:
    studio = Studio(seed=1, name="c")
    item = scene(LESSON, seed=1, name="c", n=1)
    lit, dark = studio.picture(item, number=0xABCD), studio.picture(item, number=0xABCD, dark=True)
    assert lit.shape == dark.shape == (HEIGHT, WIDTH, 3)
    assert lit.mean() / 255 > 0.4
    assert 0 < dark.mean() / 255 < 0.05
    assert read_stamp(lit) == read_stamp(dark) == 0xABCD


@given(st.integers(0, 0xFFFF))
def test_the_number_can_be_read_back(number: int) -> None:
    picture = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    stamp(picture, number)
    assert read_stamp(picture) == number


def test_the_plan_holds_each_scene() -> None:
    spec = msgspec.structs.replace(CAMERA, scene_s=6.0)
    lines = list(plan([spec], scenario="school", seed=1, seconds=20))[1:]
    scenes = [msgspec.json.decode(line, type=PlannedScene) for line in lines]
    assert [item.n for item in scenes] == [1, 2, 3, 4]
    assert [item.people for item in scenes] == [people_in(LESSON, seed=1, name="r101-camera", n=n) for n in range(1, 5)]


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"scene": "war"}, "there is no 'war' → choose one of lesson"),
        ({"fps": 0}, "no picture would ever come"),
        ({"fps": 31}, "fps: 31 is out of range → choose 0 to 30"),
        ({"scene_s": 0.0}, "no scene would last"),
        ({"password": "pw"}, "give a username too"),
        ({"capture": "mjpeg", "offers_audio": True}, "mjpeg carries no sound → choose capture rtsp"),
    ],
)
def test_a_camera_that_cannot_be_is_refused(change: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        check(msgspec.structs.replace(CAMERA, **change))


def test_each_keyframe_can_be_started_at() -> None:
    studio, encoder = Studio(seed=1, name="c"), H264(fps=5)
    item = scene(LESSON, seed=1, name="c", n=1)
    coded = [encoder.encode(studio.picture(item, number=number), key=number == 7) for number in range(13)]
    assert [number for number, units in enumerate(coded) if is_key(units)] == [0, 5, 7, 12]
    assert {parameter_sets(units) for units in coded if is_key(units)} == {parameter_sets(coded[0])}


@given(st.lists(st.binary(min_size=1).map(lambda data: b"\x41" + data.replace(b"\0", b"\1")), max_size=5))
def test_units_are_cut_at_their_start_codes(units: list[bytes]) -> None:
    for start in (b"\0\0\1", b"\0\0\0\1"):
        assert nal_units(b"".join(start + unit for unit in units)) == units


def test_jpeg_and_what_only_begins_like_one() -> None:
    import random

    import cv2

    picture = Studio(seed=1, name="c").picture(scene(LESSON, seed=1, name="c", n=1), number=5)
    assert read_stamp(cv2.imdecode(np.frombuffer(jpeg(picture), np.uint8), cv2.IMREAD_COLOR)) == 5
    for seed in range(20):
        noise = np.frombuffer(jpeg_noise(20_000, random.Random(seed)), np.uint8)  # noqa: S311
        assert cv2.imdecode(noise, cv2.IMREAD_COLOR) is None


def test_other_kinds_load_none_of_it() -> None:
    script = (
        "import json, sys, simulators.process, simulators.cli, simulators.run, simulators.pytest_plugin\n"
        "print(json.dumps([name for name in ('numpy', 'av', 'skimage', 'aiohttp') if name in sys.modules]))"
    )
    result = subprocess.run(
        [sys.executable, "-c", script], check=True, env=environment(), capture_output=True, text=True, timeout=30
    )
    assert json.loads(result.stdout) == []
