"""The agent's side without a camera: what a record becomes, what is not believed, options, and the audit file."""

import dataclasses
import importlib.util
import json
import time

import pytest

from device_profiles import load_profile
from drivers.camera_people import options as options_module
from drivers.camera_people.driver import create, link_address, problems
from drivers.camera_people.record import Record, State, encode
from drivers.camera_people.recording import Recorder
from drivers.links.camera import CameraLink
from telemetry.counters import Counters
from telemetry.errors import AuthError, ConfigError, DeviceUnavailable, ProtocolError
from telemetry.sample import DataClass, Reason
from tests.drivers.helpers import context

PROFILE = "camera/people_counter"
SEEN = {"brightness": 0.5, "width": 640, "height": 480}


class FakeKeeper:
    def __init__(self, *answers):
        self.answers = list(answers)
        self.distrusted = 0

    async def record(self, **_):
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def distrust(self):
        self.distrusted += 1


def driver_of(*answers, counters=None, **options):
    link = CameraLink("lens", Counters(), url="rtsp://h/s", capture="rtsp")
    driver = create(context("cam", PROFILE, counters, **options), link)
    driver._keeper = FakeKeeper(*answers)
    return driver


def record(state=State.COUNTED, *, age_s=0.5, sequence=1, **more):
    seen = SEEN | {"captured_ns": time.monotonic_ns() - int(age_s * 1e9)} if state in {1, 2, 7, 9, 10} else {}
    return encode(
        Record(
            state=state,
            sequence=sequence,
            **seen,
            **({"people": 12, "looks": 1} if state is State.COUNTED else {}),
            **more,
        )
    )


async def test_a_counted_record_is_a_sample_with_the_pictures_time():
    driver = driver_of(record())
    sample = await driver.read()
    assert (sample.device, sample.values, sample.bad) == ("cam", {"people": 12.0, "light": 0.5}, {})
    assert 0.5e9 <= time.time_ns() - sample.acquired_at_ns < 10e9
    assert driver._link.is_open


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        (State.DARK, Reason.DARK),
        (State.COVERED, Reason.COVERED),
        (State.SETTLING, Reason.WARMING_UP),
        (State.MODEL_FAULT, Reason.SENSOR_FAULT),
    ],
)
async def test_a_picture_that_tells_nothing_about_people_still_tells_its_light(state, reason):
    sample = await driver_of(record(state)).read()
    assert (sample.values, sample.bad) == ({"light": 0.5}, {"people": reason})


@pytest.mark.parametrize(
    ("state", "error", "reason"),
    [
        (State.STALLED, DeviceUnavailable, Reason.STALE),
        (State.UNREACHABLE, DeviceUnavailable, None),
        (State.WAITING, DeviceUnavailable, None),
        (State.UNDECODABLE, ProtocolError, None),
        (State.REFUSED, AuthError, None),
    ],
)
async def test_no_picture_is_an_error_with_its_reason(state, error, reason):
    driver = driver_of(record(state))
    with pytest.raises(error, match="lens") as caught:
        await driver.read()
    assert getattr(caught.value, "reason", None) is reason
    assert not driver._link.is_open


@pytest.mark.parametrize(
    "made",
    [
        lambda: bytes(48),
        lambda: b"short",
        lambda: record()[:-1] + bytes([record()[-1] ^ 1]),
        lambda: record(age_s=-5),
        lambda: record(age_s=61),
    ],
    ids=["zeros", "short", "sum", "future", "old"],
)
async def test_what_no_sound_worker_says_ends_it_and_is_no_number(made):
    counters = Counters()
    driver = driver_of(made(), counters=counters)
    with pytest.raises(DeviceUnavailable) as caught:
        await driver.read()
    assert caught.value.reason is Reason.SENSOR_FAULT
    assert driver._keeper.distrusted == 1
    assert counters.snapshot() == {"device.cam.unsound_records": 1}


async def test_the_workers_counts_are_added_up_over_workers():
    counters = Counters()
    driver = driver_of(
        record(frames=10, skipped=7, sequence=1),
        record(frames=15, skipped=9, sequence=2, undecodable=1),
        record(frames=4, reopened=1, sequence=1),
        record(frames=2, reopened=1, sequence=2),
        counters=counters,
    )
    for _ in range(3):
        await driver.read()
    assert counters.snapshot() == {
        "device.cam.frames": 19,
        "device.cam.skipped_frames": 9,
        "device.cam.undecodable_frames": 1,
        "device.cam.reopened": 1,
    }


async def test_every_record_is_kept_as_it_came(tmp_path):
    path = tmp_path / "records.jsonl"
    answers = [record(), record(State.DARK, sequence=2), record(State.STALLED, sequence=3)]
    driver = driver_of(*answers, records_file=str(path))
    samples = [await driver.read() for _ in range(2)]
    with pytest.raises(DeviceUnavailable):
        await driver.read()
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [bytes.fromhex(line["record"]) for line in lines] == answers
    assert [line["at_ns"] for line in lines[:2]] == [sample.acquired_at_ns for sample in samples]
    assert path.stat().st_mode & 0o777 == 0o600


def test_the_audit_file_is_bounded_and_its_failure_stops_nothing(tmp_path, caplog):
    counters = Counters()
    recorder = Recorder(str(tmp_path / "r"), max_bytes=1000, device="cam", counters=counters)
    for number in range(50):
        recorder.append(number, bytes(48))
    kept = [json.loads(line)["at_ns"] for name in ("r.1", "r") for line in (tmp_path / name).read_text().splitlines()]
    assert kept == list(range(50 - len(kept), 50))
    assert all(path.stat().st_size < 1200 for path in tmp_path.iterdir())
    lost = Recorder("/absent/r", max_bytes=1000, device="cam", counters=counters)
    for _ in range(3):
        lost.append(1, bytes(48))
    assert counters.snapshot() == {"device.cam.unrecorded": 3}
    assert len(caplog.records) == 1


def test_the_shipped_profile_is_sound():
    profile = load_profile(PROFILE)
    assert problems(profile, dict(profile.options), "options") == []
    assert {point.name: point.data_class for point in profile.points} == {"people": "group", "light": "open"}
    assert link_address({}) is None


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"bogus": 1}, "bogus"),
        ({"threshold": 2.0}, "threshold"),
        ({"input_width": "640"}, "input_width"),
        ({"records_file": "/absent/records"}, "/absent cannot be written"),
    ],
)
def test_a_wrong_option_is_named(options, text):
    (problem,) = problems(load_profile(PROFILE), options, "options")
    assert text in str(problem)
    if "cannot be written" not in text:
        with pytest.raises(ConfigError, match=text):
            driver_of(**options)


def test_points_that_a_camera_has_not_or_of_another_class_are_named():
    people, light = load_profile(PROFILE).points
    for point, text in (
        (replaced(people, name="heads"), "no heads"),
        (replaced(light, quantity="illuminance"), "no light that is a illuminance"),
        (replaced(people, data_class=DataClass.OPEN), 'write class = "group"'),
    ):
        profile = replaced(load_profile(PROFILE), points=(point,))
        (problem,) = problems(profile, {}, "options")
        assert text in str(problem)


def replaced(record, **changes):
    """As dataclasses.replace, which an alias of pydantic's defeats."""
    made = object.__new__(type(record))
    for field in dataclasses.fields(record):
        object.__setattr__(made, field.name, changes.get(field.name, getattr(record, field.name)))
    return made


def test_missing_libraries_and_another_model_are_named(monkeypatch, tmp_path):
    profile = load_profile(PROFILE)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "onnxruntime" else name)
    (problem,) = problems(profile, {}, "options")
    assert "onnxruntime not installed → pip install 'campus-edge[camera]'" in str(problem)
    monkeypatch.undo()
    model = dataclasses.replace(options_module.MODELS["centerface"], sha256="0" * 64)
    monkeypatch.setitem(options_module.MODELS, "centerface", model)
    (problem,) = problems(profile, {}, "options")
    assert "its sha256 is a7d171fd83b3…, not 000000000000…" in str(problem)


def test_the_password_is_read_anew_and_never_shown(tmp_path):
    file = tmp_path / "password"
    link = CameraLink("lens", Counters(), url="rtsp://h/s", capture="rtsp", username="u", password_file=file)
    for text, told in (("geheim\r\n", "geheim"), ("neu ", "neu ")):
        file.write_text(text)
        assert link.login().password == told
    assert "neu" not in repr(link.login())
    for content in (b"\xff", b"x" * 2000):
        file.write_bytes(content)
        with pytest.raises(AuthError, match="password_file") as caught:
            link.login()
        assert "xx" not in str(caught.value)
    file.unlink()
    with pytest.raises(AuthError, match="No such file"):
        link.login()
