"""The settings and the whole configuration: every problem at once, each with its place and mend."""

import json
import os

import pytest

from edge_agent.configuration import load_configuration
from edge_agent.settings import parse_settings, read_table
from telemetry.errors import ConfigError, Problem
from tests.edge_agent.privacy.files import write_keys

BASE = {"site": "s", "gateway": "g", "mqtt": {"url": "mqtt://[::1]:1883"}, "buffer": {"path": "/b"}}
GOOD = """
site = "demo-school"
gateway = "gw-101"
[mqtt]
url = "mqtt://[::1]:1883"
[buffer]
path = "{folder}/buffer"
[[link]]
name = "bus-1"
kind = "serial"
path = "/dev/serial/by-id/x"
[[device]]
name = "r101-air"
room = "r101"
profile = "modbus/multisensor_6in1"
link = "bus-1"
"""
LINK = '[[link]]\nname = "{name}"\nkind = "serial"\npath = "/dev/{name}"\n'
DEVICE = '[[device]]\nname = "{name}"\nroom = "r"\nprofile = "{profile}"\nlink = "{link}"\n{more}\n'


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch):
    for name in os.environ:
        if name.startswith("CAMPUS_EDGE_"):
            monkeypatch.delenv(name)


def device(name, *, profile="modbus/multisensor_6in1", link="bus-1", more=""):
    return DEVICE.format(name=name, profile=profile, link=link, more=more)


@pytest.fixture
def load(tmp_path):
    def loaded(text: str):
        path = tmp_path / "agent.toml"
        path.write_text(text.replace("{folder}", str(tmp_path)), encoding="utf-8")
        return load_configuration(path)

    return loaded


@pytest.fixture
def problems(load):
    def found(text: str) -> list[Problem]:
        with pytest.raises(ConfigError) as caught:
            load(text)
        assert all(problem.where and problem.what and problem.mend for problem in caught.value.problems)
        return caught.value.problems

    return found


def refused(**changes) -> str:
    with pytest.raises(ConfigError) as caught:
        parse_settings(BASE | changes, "f:")
    return str(caught.value)


def test_a_good_file_is_loaded_with_its_defaults(load):
    configuration = load(GOOD)
    settings = configuration.settings
    assert (settings.mqtt.host, settings.mqtt.port, settings.mqtt.tls) == ("::1", 1883, False)
    assert (settings.window_s, settings.simulated, settings.buffer.max_bytes) == (2.0, False, 2_000_000_000)
    assert configuration.keys is None
    found = configuration.devices["r101-air"]
    assert (found.period_s, found.info.profile) == (1.0, f"modbus/multisensor_6in1@{found.profile.version}")
    assert found.info.quantities["temperature"] == "temperature"


def test_a_devices_options_and_period_override_the_profiles(load):
    text = GOOD + "options = { unit = 7 }\nperiod_s = 5\n" + device("s8", profile="modbus/senseair_s8")
    devices = load(text).devices
    assert (devices["r101-air"].options, devices["r101-air"].period_s) == ({"unit": 7}, 5.0)
    assert (devices["s8"].options, devices["s8"].period_s) == ({"unit": 254}, 4.0)


@pytest.mark.parametrize(
    ("url", "host", "port", "tls"),
    [
        ("mqtt://broker", "broker", 1883, False),
        ("mqtts://broker", "broker", 8883, True),
        ("mqtts://broker:1", "broker", 1, True),
        ("mqtt://[2001:db8::1]:1884", "2001:db8::1", 1884, False),
        ("mqtt://192.0.2.1", "192.0.2.1", 1883, False),
    ],
)
def test_broker_addresses(url, host, port, tls):
    mqtt = parse_settings(BASE | {"mqtt": {"url": url}}, "f:").mqtt
    assert (mqtt.host, mqtt.port, mqtt.tls) == (host, port, tls)


@pytest.mark.parametrize(
    "url", ["broker", "http://broker", "mqtt://", "mqtt://h:port", "mqtt://h:99999", "mqtt://h:0", "mqtt://[::1", ""]
)
def test_what_is_no_broker_address_is_refused(url):
    assert "f: mqtt: url " in refused(mqtt={"url": url})


@pytest.mark.parametrize(
    "mqtt",
    [
        {"url": "mqtt://gw:geheim@host"},
        {"url": "mqtt://:geheim@host"},
        {"url": "mqtt://gw:geheim"},
        {"url": "mqtt://gw@host", "password": "geheim"},
        {"url": ["mqtt://gw:geheim@host"]},
        "mqtt://gw:geheim@host",
    ],
)
def test_a_password_is_refused_and_never_repeated(mqtt):
    text = refused(mqtt=mqtt)
    assert "geheim" not in text
    assert "mqtt" in text


def test_credentials_belong_in_a_file():
    assert "must not hold credentials: write username and password_file" in refused(mqtt={"url": "mqtt://a:b@h"})


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"mqtt": {"url": "mqtt://h", "ca_file": "/ca"}}, "write mqtts://"),
        ({"mqtt": {"url": "mqtts://h", "cert_file": "/c"}}, "cert_file and key_file go together"),
        ({"mqtt": {"url": "mqtt://h", "protocol": "3.1"}}, "f: mqtt.protocol"),
        ({"mqtt": {"url": "mqtt://h", "keepalive_s": 1}}, "f: mqtt.keepalive_s"),
        ({"mqtt": {}}, "f: mqtt.url: Field required → add the key"),
        ({"site": "a/b"}, "f: site"),
        ({"site": "学校"}, "f: site"),
        ({"gateway": ""}, "f: gateway"),
        ({"gateway": "+"}, "f: gateway"),
        ({"window_s": 0.1}, "f: window_s"),
        ({"health": {"period_s": float("inf")}}, "f: health.period_s"),
        ({"buffer": {"path": "/b", "max_bytes": 5}}, "f: buffer.max_bytes"),
        ({"log": {"level": "loud"}}, "f: log.level"),
        ({"colour": 1}, "f: colour: Extra inputs are not permitted → remove the key or correct its spelling"),
        ({"mqtt": {"url": "mqtt://h", "ulr": 1}}, "f: mqtt.ulr"),
        ({"link": [{"name": "l", "kind": "usb"}]}, "f: link.0.kind"),
        ({"link": [{"name": "l", "kind": "serial"}]}, "needs path, best a stable one below /dev/serial/by-id/"),
        ({"link": [{"name": "l", "kind": "tcp"}]}, "needs host"),
        ({"link": [{"name": "l", "kind": "tcp", "host": "h", "path": "/p", "baudrate": 9600}]}, "no path or baudrate"),
        ({"link": [{"name": "l", "kind": "serial", "path": "/p", "port": 502}]}, "takes no port"),
        ({"link": [{"name": "l", "kind": "bluetooth", "baudrate": 9600}]}, 'kind "bluetooth" takes no baudrate'),
        ({"link": [{"name": "l", "kind": "tcp", "host": "h", "adapter": "hci0"}]}, "takes no adapter"),
        ({"link": [{"name": "l", "kind": "bluetooth", "adapter": "eth0"}]}, "f: link.0.adapter"),
        ({"link": [{"name": "l", "kind": "bluetooth", "adapter": "hci1", "hci": "x"}]}, "keep one of them"),
        ({"link": [{"name": "l", "kind": "bluetooth", "connections": 0}]}, "f: link.0.connections"),
        ({"device": [{"name": "d", "room": "r", "profile": "p"}]}, "f: device.0.link"),
        ({"device": [{"name": "d", "room": "r", "profile": "p", "link": "l", "period_s": 0}]}, "f: device.0.period_s"),
    ],
)
def test_each_wrong_setting_is_named(changes, text):
    assert text in refused(**changes)


def test_the_environment_overrides_the_file(monkeypatch):
    monkeypatch.setenv("CAMPUS_EDGE_MQTT__URL", "mqtts://other:8884")
    monkeypatch.setenv("CAMPUS_EDGE_SITE", "elsewhere")
    monkeypatch.setenv("CAMPUS_EDGE_CLOCK__ASSUME_SYNCED", "true")
    monkeypatch.setenv("CAMPUS_EDGE_PROFILE_FOLDERS", json.dumps(["/profiles"]))
    settings = parse_settings(BASE | {"mqtt": {"url": "mqtt://h", "keepalive_s": 77}}, "f:")
    assert (settings.mqtt.host, settings.mqtt.port, settings.mqtt.keepalive_s) == ("other", 8884, 77)
    assert (settings.site, settings.clock.assume_synced) == ("elsewhere", True)
    assert [str(folder) for folder in settings.profile_folders] == ["/profiles"]


def test_the_environment_alone_may_give_what_the_file_lacks(monkeypatch):
    monkeypatch.setenv("CAMPUS_EDGE_MQTT__URL", "mqtt://h")
    monkeypatch.setenv("CAMPUS_EDGE_BUFFER__PATH", "/b")
    assert parse_settings({"site": "s", "gateway": "g"}, "f:").mqtt.host == "h"


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("CAMPUS_EDGE_MQTT__URL", "http://h", "url must be mqtt://"),
        ("CAMPUS_EDGE_MQTT__ULR", "mqtt://h", "mqtt.ulr"),
        ("CAMPUS_EDGE_WINDOW_S", "soon", "window_s"),
        ("CAMPUS_EDGE_MQTT", "{broken", "CAMPUS_EDGE_"),
        ("CAMPUS_EDGE_PROFILE_FOLDERS", "/profiles", "as JSON"),
    ],
)
def test_a_wrong_variable_is_a_problem_like_any_other(monkeypatch, name, value, text):
    monkeypatch.setenv(name, value)
    assert text in refused()


def test_the_sample_of_systemd_can_be_parsed():
    from pathlib import Path

    sample = Path(__file__).parents[2] / "systemd/examples/agent.toml"
    assert parse_settings(read_table(sample), "f:").site


@pytest.mark.parametrize(
    ("text", "where", "what", "mend"),
    [
        (GOOD + device("r101-air"), "[[device]] r101-air", "given twice", "its own name"),
        (GOOD + LINK.format(name="bus-1"), "[[link]] bus-1", "given twice", "its own name"),
        (GOOD + device("x", link="bus-9"), "[[device]] x: link", "no link named 'bus-9'", "use one of bus-1"),
        (
            GOOD + device("x"),
            "[[device]] x: options.unit",
            "unit 1 on link 'bus-1' is already r101-air",
            "its own unit",
        ),
        (
            GOOD + device("x", more='options = { unit = "2" }'),
            "[[device]] x: options.unit",
            "valid integer",
            "drivers/modbus/README.md",
        ),
        (
            GOOD + device("x", more="options = { unti = 2 }"),
            "[[device]] x: options.unti",
            "Unexpected",
            "correct its spelling",
        ),
        (
            GOOD + device("x", profile="modbus/bogus"),
            "[[device]] x: profile",
            "no such device profile",
            "modbus/multisensor_6in1",
        ),
        (GOOD + device("x", profile="../x"), "[[device]] x: profile", "no such device profile", "use one of"),
        (
            GOOD + device("x", profile="campus/gateway"),
            "driver 'health'",
            "no such driver",
            "use one of ble_heart_rate, camera_people, modbus, rdm6300",
        ),
        (
            GOOD + device("x", profile="rfid/rdm6300"),
            "[[device]] x: link",
            "already used by r101-air, and one of the two needs its link alone",
            "a link of its own",
        ),
        (
            GOOD + device("x", profile="modbus/airbox_tcp", more="options = { unit = 2 }"),
            "[[device]] x: link",
            "expects a tcp link, 'bus-1' is serial",
            'kind "tcp"',
        ),
        (
            GOOD + '[[link]]\nname = "n"\nkind = "tcp"\nhost = "h"\n' + device("x", link="n"),
            "[[link]] n: port",
            "is missing",
            "add port",
        ),
        (
            GOOD + LINK.format(name="bus-2").replace("/dev/bus-2", "/dev/serial/by-id/x"),
            "[[link]] bus-2: path",
            "already bus-1's",
            "on one link",
        ),
        (
            GOOD + device("x", profile="modbus/renke_rs_co2ws", more="options = { unit = 2 }"),
            "[[link]] bus-1: baudrate",
            "r101-air 9600, x 4800",
            "write it as baudrate",
        ),
        (
            GOOD + device("gw-101", more="options = { unit = 2 }"),
            "[[device]] gw-101",
            "bears this name",
            "another name",
        ),
    ],
)
def test_each_wrong_device_is_named(problems, text, where, what, mend):
    found = problems(text)
    matching = [problem for problem in found if problem.where == where]
    assert matching, found
    assert any(what in problem.what and mend in problem.mend for problem in matching), matching


def test_what_is_right_about_shared_links_is_accepted(load):
    text = (
        GOOD.replace('path = "/dev/serial/by-id/x"', 'path = "/dev/serial/by-id/x"\nbaudrate = 9600')
        + device("b", more="options = { unit = 2 }")
        + device("c", profile="modbus/renke_rs_co2ws", more="options = { unit = 3 }")
        + LINK.format(name="usb")
        + device("d", profile="rfid/rdm6300", link="usb")
        + '[[link]]\nname = "box"\nkind = "tcp"\nhost = "h"\n'
        + device("e", profile="modbus/airbox_tcp", link="box")
        + '[[link]]\nname = "converter"\nkind = "tcp"\nhost = "h"\nport = 4001\n'
        + device("f", link="converter", more='options = { framing = "rtu" }')
    )
    assert set(load(text).devices) == {"r101-air", "b", "c", "d", "e", "f"}


def test_two_readers_cannot_share_a_link(problems):
    text = GOOD + LINK.format(name="usb") + "".join(device(n, profile="rfid/rdm6300", link="usb") for n in "de")
    (problem,) = problems(text)
    assert "needs its link alone" in problem.what


def test_every_problem_of_every_section_comes_at_once(problems):
    text = (
        GOOD.replace('site = "demo-school"', 'site = "a b"').replace("mqtt://[::1]", "http://[::1]")
        + "colour = 1\n"
        + device("r101-air")
        + device("x", link="bus-9", profile="modbus/bogus")
        + device("y", more="options = { unti = 2 }")
    )
    where = " ".join(problem.where for problem in problems(text))
    for place in (
        "agent.toml: site",
        "agent.toml: mqtt",
        "agent.toml: device.0.colour",
        "[[device]] x: link",
        "[[device]] x: profile",
        "[[device]] y: options.unti",
    ):
        assert place in where


def test_files_that_cannot_be_read_are_named(tmp_path, problems):
    with pytest.raises(ConfigError, match="No such file") as caught:
        load_configuration(tmp_path / "absent.toml")
    assert "sample: systemd/examples/agent.toml" in str(caught.value)
    with pytest.raises(ConfigError, match="directory"):
        load_configuration(tmp_path)
    (problem,) = problems("site = \n")
    assert "line 1" in problem.what
    (tmp_path / "agent.toml").write_bytes(b"\xff")
    with pytest.raises(ConfigError, match="TOML"):
        load_configuration(tmp_path / "agent.toml")


@pytest.mark.parametrize(
    ("keys", "text"),
    [
        ({"site": "other"}, "the keys are of site 'other', this gateway is of 'demo-school'"),
        ({"mode": 0o644}, "others may read it (mode 0644)"),
        ({"more": "simulated = true"}, "the keys are a demo's, but the settings do not say simulated = true"),
    ],
)
def test_keys_that_do_not_fit_are_refused(tmp_path, problems, keys, text):
    path = write_keys(tmp_path / "keys.toml", "attendance", **keys)
    (problem,) = problems(GOOD + f'[privacy]\nkey_file = "{path}"\n')
    assert text in problem.what
    assert problem.where.startswith(str(path))


def test_demo_keys_are_taken_where_all_is_marked_as_simulated(tmp_path, load):
    path = write_keys(tmp_path / "keys.toml", "attendance", more="simulated = true")
    configuration = load("simulated = true\n" + GOOD + f'[privacy]\nkey_file = "{path}"\n')
    assert configuration.keys.simulated


def test_the_schools_own_profiles_are_found(tmp_path, load, problems):
    folder = tmp_path / "profiles" / "school"
    folder.mkdir(parents=True)
    profile = (
        'id = "school/box"\nversion = "1.0.0"\nname = { zh = "盒", en = "box" }\nmanufacturer = "m"\nmodel = "m"\n'
        'driver = "modbus"\nmeasurement = "environment"\n[[point]]\nname = "co2"\nquantity = "co2"\n'
        "source = { address = 1 }\n"
    )
    (folder / "box.toml").write_text(profile, encoding="utf-8")
    text = (
        'profile_folders = ["{folder}/profiles"]\n' + GOOD + device("x", profile="school/box", more="options={unit=2}")
    )
    assert load(text).devices["x"].profile.id == "school/box"
    (folder / "box.toml").write_text(profile.replace("address = 1", "adress = 1"), encoding="utf-8")
    assert any("source.adress" in problem.where for problem in problems(text))
    (folder / "box.toml").write_text(profile + "colour = 1\n", encoding="utf-8")
    (problem,) = problems(text)
    assert str(folder / "box.toml") in problem.where
    assert problem.where.startswith("[[device]] x: profile")
