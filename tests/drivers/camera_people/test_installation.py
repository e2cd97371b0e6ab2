"""Check at installation, and hours: numbers from a real worker, and no worker when nobody may look."""

from datetime import datetime

import pytest

from drivers.camera_people.installation import Installation, check_installation, summed
from drivers.camera_people.options import Options
from drivers.camera_people.record import Record, State
from drivers.links.camera import CameraLink
from telemetry.counters import Counters
from telemetry.sample import Reason
from tests.drivers.camera_people.scene import watching
from tests.waiting import until


def link_of(camera):
    return CameraLink("lens", Counters(), url=camera.url, capture=camera.spec.capture)


async def test_faces_are_measured_as_numbers(campus_device):
    camera = campus_device("camera", capture="mjpeg", scene="full", scene_s=60.0)
    found = await check_installation(Options(method="faces"), link_of(camera), looks=3)
    assert (found.looks, found.counted, found.people, found.width, found.height) == (3, 3, 15, 640, 480)
    assert 20 < found.narrowest_px < found.widest_px < 60
    assert found.problem is None


async def test_an_empty_room_asks_for_somebody(campus_device):
    camera = campus_device("camera", capture="mjpeg", scene="empty", scene_s=60.0)
    found = await check_installation(Options(method="faces"), link_of(camera), looks=2)
    assert "no face was seen" in found.problem


def record(state=State.COUNTED, **more):
    seen = {"brightness": 0.5, "width": 640, "height": 480, "captured_ns": 1}
    return Record(state=state, sequence=1, **(seen if state in {1, 2, 7, 9} else {}), **more)


def test_faces_that_are_too_small_are_told_with_what_helps():
    found = summed([record(people=12, looks=1, narrowest_px=px, widest_px=40) for px in (9, 12, 11)])
    assert found.narrowest_px == 11
    assert "11 px wide, less than 16" in found.problem


@pytest.mark.parametrize("state", [State.DARK, State.COVERED, State.UNREACHABLE])
def test_without_a_count_the_reason_is_told(state):
    found = summed([record(state)] * 2)
    assert isinstance(found, Installation)
    assert found.people is None
    assert state.name.lower() in found.problem


async def test_outside_its_hours_nobody_looks(campus_device, tmp_path):
    camera = campus_device("camera", capture="mjpeg", scene_s=60.0)
    day = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
    tomorrow = day[(datetime.now().astimezone().weekday() + 2) % 7]
    async with watching(camera, tmp_path, only_in_lessons=f"{tomorrow} 00:00-24:00") as watch:
        await until(lambda: len(watch.samples) >= 2)
        assert watch.pid is None
    assert all(sample.bad == dict.fromkeys(("light", "people"), Reason.OUTSIDE_HOURS) for sample in watch.samples)
    assert not any(sample.values for sample in watch.samples)


async def test_in_its_hours_it_is_counted_and_a_median_settles(campus_device, tmp_path):
    camera = campus_device("camera", capture="mjpeg", scene="full", scene_s=60.0)
    # Patient, since each look that fails on a busy machine lets the median begin anew.
    patient = {"deadline_s": 5.0, "stalled_s": 5.0}
    async with watching(camera, tmp_path, only_in_lessons="Mon-Sun 00:00-24:00", median_of=5, **patient) as watch:
        sample = await watch.next_value()
        assert sample.values["people"] == 15
    before = watch.samples[: watch.samples.index(sample)]
    assert [item.bad.get("people") for item in before].count(Reason.WARMING_UP) == 2


async def test_a_covered_lens_is_covered_and_never_zero(campus_device, tmp_path):
    camera = campus_device("camera", capture="snapshot", scene="covered", scene_s=1.5)
    async with watching(camera, tmp_path) as watch:
        sample = await watch.next_bad(Reason.COVERED)
        assert "light" in sample.values
        await watch.next_value()
    assert {sample.values.get("people") for sample in watch.samples} <= {None, 5.0, 12.0}
    assert any(line.get("fault") == "covered" for line in camera.said())
