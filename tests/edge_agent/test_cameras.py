"""Cameras in the agent: configured like any device, checked before the start, counted by nobody without a policy."""

import json
import re
import socket
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

from device_profiles import load_profile
from edge_agent import checks
from edge_agent.audit import AuditLog, lines, verify
from edge_agent.camera_cli import auditing
from edge_agent.configuration import load_configuration
from edge_agent.privacy import Gate
from edge_agent.registry import create_link
from edge_agent.settings import LinkSettings
from telemetry.counters import Counters
from telemetry.errors import ConfigError
from telemetry.sample import Admitted, Reason, Sample, Withheld, WithheldReason
from tests.edge_agent.privacy.test_gate import NOTHING, policy

NOW = int(datetime(2026, 10, 8, tzinfo=UTC).timestamp()) * 10**9
CONFIG = """
site = "demo-school"
gateway = "gw-101"
[mqtt]
url = "mqtt://[::1]:1883"
[buffer]
path = "{folder}/buffer"
[[link]]
name = "lens"
kind = "camera"
{link}
[[device]]
name = "r101-camera"
room = "r101"
profile = "camera/people_counter"
link = "lens"
{more}
"""
RTSP = 'url = "rtsp://[::1]:8554/stream"'


def load(folder, link=RTSP, more=""):
    path = folder / "agent.toml"
    path.write_text(CONFIG.format(folder=folder, link=link, more=more))
    return load_configuration(path)


def test_a_camera_is_a_link_and_a_device(tmp_path):
    configuration = load(tmp_path)
    (settings,) = configuration.settings.links
    link = create_link(settings, {}, Counters())
    assert (link.url, link.capture, link.is_open) == ("rtsp://[::1]:8554/stream", "rtsp", False)
    assert configuration.devices["r101-camera"].period_s == 2.0


@pytest.mark.parametrize(
    ("link", "text"),
    [
        ("", "needs url"),
        ('url = "https://h/x"', "needs url"),
        ('url = "rtsp:///x"', "needs url"),
        ('url = "rtsp://h:x/"', "url is no address"),
        ('url = "rtsp://u:geheim@h/x"', "url must not hold credentials: write username and password_file"),
        ('url = "rtsp://@h/x"', "url must not hold credentials"),
        ('url = "rtsp://h/a b"', "write them as %20"),
        ('url = "http://h/mjpeg"', 'capture = "mjpeg"'),
        ('url = "http://h/mjpeg"\ncapture = "rtsp"', 'capture = "mjpeg"'),
        (f'{RTSP}\ncapture = "mjpeg"', 'an rtsp:// address has capture = "rtsp"'),
        (f'{RTSP}\ncapture = "onvif"', "capture"),
        (f'{RTSP}\nusername = "u"', "username and password_file go together"),
        (f'{RTSP}\npassword_file = "/x"', "username and password_file go together"),
        (f'{RTSP}\nusername = "a:b"\npassword_file = "/x"', "a username with a colon"),
        (f'{RTSP}\nhost = "h"', 'kind "camera" takes no host'),
    ],
)
def test_a_wrong_link_is_named(tmp_path, link, text):
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, link)
    assert text in str(caught.value)
    assert "geheim" not in str(caught.value)


@pytest.mark.parametrize(
    ("link", "text"),
    [
        ('capture = "file"', "needs path: the whole path"),
        ('capture = "v4l2"\npath = "video0"', "needs path: the whole path"),
        ('capture = "v4l2"\npath = "/home/x.mp4"', "needs a device, such as /dev/video0"),
        ('capture = "file"\npath = "/x.mp4"\nurl = "http://h/x"', "takes no url, username or password_file"),
        ('path = "/x.mp4"\nurl = "rtsp://h/x"', "takes no path"),
    ],
)
def test_a_wrong_local_camera_is_named(tmp_path, link, text):
    with pytest.raises(ConfigError, match=re.escape(text)):
        load(tmp_path, link)


def test_a_local_camera_has_a_path_and_check_looks_for_it(tmp_path):
    film = tmp_path / "film.mp4"
    configuration = load(tmp_path, f'capture = "file"\npath = "{film}"')
    (settings,) = configuration.settings.links
    link = create_link(settings, {}, Counters())
    assert (link.url, link.capture, link.path) == ("", "file", str(film))
    (problem,) = checks._local_camera(settings)
    assert f"{film} is not there" in str(problem)
    film.touch()
    assert list(checks._local_camera(settings)) == []


def test_other_links_take_no_camera_keys():
    with pytest.raises(ValueError, match="takes no url or capture"):
        LinkSettings(name="l", kind="serial", path="/dev/x", url="rtsp://h/x", capture="rtsp")


@pytest.mark.parametrize(
    ("more", "text"),
    [
        (
            '[[device]]\nname = "x"\nroom = "r"\nprofile = "camera/people_counter"\nlink = "lens"',
            "one of the two needs its link alone",
        ),
        (
            '[[link]]\nname = "again"\nkind = "camera"\nurl = "rtsp://[::1]:8554/stream"',
            "rtsp://[::1]:8554/stream is already lens's: a port is opened once → keep one of the two",
        ),
        ('[[device]]\nname = "x"\nroom = "r"\nprofile = "rfid/rdm6300"\nlink = "lens"', "expects a serial link"),
    ],
)
def test_what_a_camera_cannot_share_is_named(tmp_path, more, text):
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, more=more)
    assert text in str(caught.value)


def test_a_token_in_an_address_is_not_repeated(tmp_path):
    with pytest.raises(ConfigError) as caught:
        load(
            tmp_path, f'{RTSP[:-1]}?token=geheim"', f'[[link]]\nname = "b"\nkind = "camera"\n{RTSP[:-1]}?token=geheim"'
        )
    assert "is already lens's" in str(caught.value)
    assert "geheim" not in str(caught.value)


def test_check_tells_of_the_password_the_network_and_the_camera_itself(tmp_path):
    file = tmp_path / "password"
    settings = load(tmp_path, f'{RTSP}\nusername = "u"\npassword_file = "{file}"').settings
    (problem,) = checks._camera_passwords(settings)
    assert str(problem) == f"[[link]] lens: password_file: {file} cannot be read → create it, or mend its rights"
    file.write_text("x")
    file.chmod(0o644)
    (problem,) = checks._camera_passwords(settings)
    assert problem.mend == f"chmod 0600 {file}"
    file.chmod(0o600)
    assert list(checks._camera_passwords(settings)) == []
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as listener:
        there = f'url = "rtsp://[::1]:{listener.getsockname()[1]}/x"'
        (reminder,) = checks._cameras(load(tmp_path, there).settings)
    assert all(word in reminder.mend for word in ("cloud", "microphone", "recording", "password"))
    silent, _ = checks._cameras(load(tmp_path, there).settings)
    assert "does not answer" in silent.what


@pytest.mark.parametrize(
    "sample",
    [
        Sample(device="cam", acquired_at_ns=NOW, values={"people": 12.0, "light": 0.5}),
        Sample(device="cam", acquired_at_ns=NOW, values={"light": 0.01}, bad={"people": Reason.DARK}),
    ],
)
def test_without_a_policy_only_the_light_leaves(sample):
    profile = load_profile("camera/people_counter")

    def split(rules):
        gate = Gate(
            {"cam": profile},
            rooms={"cam": "r101"},
            keys=None,
            in_force=lambda: rules,
            now_ns=lambda: NOW,
            counters=Counters(),
        )
        answers = gate.split(sample)
        kept = [answer.reason for answer in answers if isinstance(answer, Withheld)]
        return kept, {
            name for answer in answers if isinstance(answer, Admitted) for name in (*answer.values, *answer.bad)
        }

    assert split(NOTHING) == ([WithheldReason.NO_POLICY], {"light"})
    assert split(policy(("group", "occupancy", False))) == ([], {"people", "light"})


def test_what_the_aiming_view_does_stands_in_the_gateways_audit_log(tmp_path, capsys):
    settings = SimpleNamespace(privacy_dir=tmp_path / "privacy")
    agent = AuditLog(settings.privacy_dir, counters=Counters())
    agent.append("started", {})
    write = auditing(settings)
    write({"event": "camera.aim.opened", "camera": "r101-camera", "who": "li", "why": "new mount"})
    agent.append("stopped", {})
    entries = verify(lines(settings.privacy_dir), [agent.head])
    assert entries.findings == ()
    written = [json.loads(line) for line in lines(settings.privacy_dir)]
    assert [entry["event"] for entry in written] == ["started", "camera.aim.opened", "stopped"]
    assert written[1]["detail"] == {"camera": "r101-camera", "who": "li", "why": "new mount"}
    assert "camera.aim.opened" in capsys.readouterr().err


def test_nobody_looks_where_nothing_can_be_audited(tmp_path):
    write = auditing(SimpleNamespace(privacy_dir=tmp_path / "privacy"))
    (tmp_path / "privacy" / "audit.jsonl").mkdir()
    with pytest.raises(OSError, match="nobody may look"):
        write({"event": "camera.aim.opened"})
