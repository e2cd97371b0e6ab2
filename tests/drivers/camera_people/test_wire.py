"""The driver on a simulated camera by RTSP, MJPEG and snapshots: true numbers, or bad with the right reason."""

import json

import pytest

from drivers.camera_people.record import State, decode
from telemetry.sample import Reason
from tests.drivers.camera_people.scene import PASSWORD, PATIENCE_S, watching
from tests.waiting import until

CAPTURES = ("rtsp", "mjpeg", "snapshot")
RECOVERY_S = 10.0
"""A camera that is well again is asked within two seconds; the rest is for a busy machine."""
LOGIN = {"username": "admin", "password": PASSWORD}


@pytest.mark.parametrize(
    ("capture", "login"),
    [
        ("rtsp", LOGIN),
        ("rtsp", {"offers_audio": True}),
        ("mjpeg", LOGIN),
        ("mjpeg", LOGIN | {"digest": "SHA-256"}),
        ("snapshot", LOGIN),
        ("snapshot", {}),
    ],
)
async def test_the_numbers_are_what_the_camera_showed(campus_device, tmp_path, capture, login):
    camera = campus_device("camera", capture=capture, scene_s=1.0, **login)
    records = tmp_path / "records.jsonl"
    async with watching(camera, tmp_path, records_file=str(records)) as watch:
        await until(lambda: len({sample.values.get("people") for sample in watch.samples} - {None}) >= 3, within_s=30)
        assert watch.state.state == "up"
        assert watch.wrong() == []
        values = [sample for sample in watch.samples if "people" in sample.values]
        assert all(0.3 < sample.values["light"] < 0.9 for sample in values)
        assert not {line["type"] for line in camera.said()} - {"scene"}  # nobody set up sound
        lines = [json.loads(line) for line in records.read_text().splitlines()]
    assert records.stat().st_mode & 0o777 == 0o600
    told = {line["at_ns"]: decode(bytes.fromhex(line["record"])) for line in lines}
    for sample in values:
        record = told[sample.acquired_at_ns]
        assert (record.state, record.people) == (State.COUNTED, sample.values["people"])
        assert (record.width, record.height) == (640, 480)


@pytest.mark.parametrize("capture", CAPTURES)
async def test_every_fault_has_its_reason_and_ends_in_time(campus_device, tmp_path, capture):
    camera = campus_device("camera", capture=capture, scene_s=2.0, **LOGIN)
    # A request that waits for ever is no stream that stands still: of a snapshot we know only that it does not come.
    stalled = {Reason.TIMEOUT} if capture == "snapshot" else {Reason.STALE}
    faults = {
        "stall": stalled,
        "dark": {Reason.DARK},
        "garbage": {Reason.DECODE},
        "unplug": {Reason.TIMEOUT},
        "hang": {Reason.TIMEOUT, Reason.STALE},
    }
    async with watching(camera, tmp_path) as watch:
        await watch.next_value()
        for fault, reasons in faults.items():
            camera.fault(fault)
            bad = await watch.next_bad(*reasons)
            if fault == "dark":
                assert 0 < bad.values["light"] < 0.06
                assert watch.state.state == "up"
            else:
                assert watch.state.state == "down"
                assert "light" not in bad.values
            camera.clear()
            await watch.next_value(within_s=RECOVERY_S)
        assert watch.wrong() == []
        assert watch.counters.get("device.r101-camera.worker_ends") == 0
        await until(lambda: watch.state.state == "up")


@pytest.mark.parametrize("capture", CAPTURES)
async def test_a_refused_login_is_told_once_and_never_as_a_number(campus_device, tmp_path, capture):
    camera = campus_device("camera", capture=capture, **LOGIN)
    async with watching(camera, tmp_path, password="wrong") as watch:  # noqa: S106
        await until(lambda: "refuses the login" in (watch.state.error or ""), within_s=PATIENCE_S)
        assert watch.state.error.endswith("check username and password_file")
        assert not any(sample.values for sample in watch.samples)
        await until(lambda: watch.drivers[-1].worker_pid is None)
        assert len(watch.drivers) == 1


async def test_a_camera_that_is_not_there_is_bad_and_found_when_it_comes(campus_device, tmp_path):
    camera = campus_device("camera", capture="mjpeg")
    camera.fault("unplug")
    async with watching(camera, tmp_path) as watch:
        await watch.next_bad(Reason.TIMEOUT)
        camera.clear()
        await watch.next_value(within_s=RECOVERY_S)
    assert [path.name for path in tmp_path.iterdir()] == ["password"]
