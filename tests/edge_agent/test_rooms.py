"""Rooms: no camera where people undress, sleep or are ill; a camera's room should say what it is."""

import pytest

from edge_agent.catalogue import Device, build_catalogue
from edge_agent.checks import _rooms
from edge_agent.configuration import Configuration, load_configuration
from edge_agent.settings import NO_CAMERAS, DeviceSettings, LinkSettings, RoomSettings, Settings
from telemetry.errors import ConfigError
from telemetry.profile import DeviceProfile, Point, Text

CAMERA = """
id = "school/camera"
version = "1.0.0"
name = { zh = "摄像头", en = "camera" }
manufacturer = "m"
model = "m"
driver = "camera_people"
measurement = "occupancy"
[[point]]
name = "people"
quantity = "people"
class = "group"
purpose = "occupancy"
"""
CONFIG = """
site = "demo-school"
gateway = "gw-1"
profile_folders = ["{folder}/profiles"]
[mqtt]
url = "mqtt://[::1]:1883"
[buffer]
path = "{folder}/buffer"
[[room]]
name = "r1"
type = "{type}"
[[link]]
name = "eye"
kind = "tcp"
host = "::1"
port = 1
[[device]]
name = "r1-camera"
room = "r1"
profile = "{profile}"
link = "eye"
"""


def problems(tmp_path, room_type, profile="school/camera"):
    (tmp_path / "profiles" / "school").mkdir(parents=True)
    (tmp_path / "profiles" / "school" / "camera.toml").write_text(CAMERA, encoding="utf-8")
    path = tmp_path / "agent.toml"
    path.write_text(CONFIG.format(folder=tmp_path, type=room_type, profile=profile), encoding="utf-8")
    try:
        load_configuration(path)
    except ConfigError as error:
        return error.problems
    return []


@pytest.mark.parametrize("room_type", sorted(NO_CAMERAS))
def test_a_camera_is_refused_where_people_undress_sleep_or_are_ill(tmp_path, room_type):
    (problem,) = [one for one in problems(tmp_path, room_type) if "no camera" in one.what]
    assert problem.where == "[[device]] r1-camera: room"
    assert problem.what.startswith(f"'r1' is a {room_type.replace('_', ' ')}: no camera is run there")
    assert "take the camera down" in problem.mend


@pytest.mark.parametrize("room_type", ["classroom", "gym", "corridor"])
def test_elsewhere_it_is_not(tmp_path, room_type):
    assert not [one for one in problems(tmp_path, room_type) if "no camera" in one.what]


def test_air_is_measured_in_every_room(tmp_path):
    assert problems(tmp_path, "toilet", profile="modbus/airbox_tcp") == []


def test_a_type_that_is_none_is_named(tmp_path):
    (problem,) = [one for one in problems(tmp_path, "wc") if "room" in one.where]
    assert "type" in problem.where


def test_a_room_named_twice_is_named():
    rooms = [RoomSettings(name="r1", type="classroom"), RoomSettings(name="r1", type="toilet")]
    _, found = build_catalogue([], [], [], rooms)
    assert [problem.where for problem in found] == ["[[room]] r1"]


@pytest.mark.parametrize(("typed", "warned"), [([], True), ([{"name": "r1", "type": "classroom"}], False)])
def test_check_asks_what_kind_of_room_a_camera_is_in(tmp_path, typed, warned):
    profile = DeviceProfile(
        id="school/camera",
        version="1.0.0",
        name=Text(zh="摄", en="c"),
        manufacturer="m",
        model="m",
        driver="camera_people",
        measurement="occupancy",
        point=(Point(name="people", quantity="people"),),
    )
    settings = Settings(
        site="s",
        gateway="g",
        mqtt={"url": "mqtt://[::1]"},
        buffer={"path": tmp_path},
        room=typed,
        link=[LinkSettings(name="eye", kind="tcp", host="::1")],
    )
    camera = Device(
        settings=DeviceSettings(name="r1-camera", room="r1", profile="school/camera", link="eye"),
        profile=profile,
        options={},
    )
    found = list(_rooms(Configuration(settings=settings, devices={"r1-camera": camera}, keys=None)))
    assert bool(found) is warned
    assert all("what kind of room 'r1' is" in problem.what for problem in found)
