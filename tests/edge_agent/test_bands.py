"""Bands in the agent: configured like any device, withheld by default, named to nobody."""

import sys
from datetime import UTC, datetime

import pytest

from device_profiles import load_profile
from edge_agent import checks
from edge_agent.configuration import load_configuration
from edge_agent.privacy import NOTHING, Gate
from edge_agent.registry import create_link
from edge_agent.settings import LinkSettings
from telemetry.counters import Counters
from telemetry.errors import ConfigError
from telemetry.sample import Admitted, Reason, Sample, Subject, Withheld
from tests.edge_agent.privacy.test_gate import keys_for, policy

NOW = int(datetime(2026, 10, 8, tzinfo=UTC).timestamp()) * 10**9
SERVICE = load_profile("ble/heart_rate_service")
BAND = Subject(kind="band", identifier="C40000A1B2C3")
READING = Sample(
    device="gym-bands",
    acquired_at_ns=NOW,
    values={"heart_rate": 140.0, "energy": 0.5},
    bad={"rr_interval": Reason.OUT_OF_RANGE},
    subject=BAND,
)
COUNT = Sample(device="gym-bands", acquired_at_ns=NOW, values={"bands_seen": 12.0})
CONFIG = """
site = "demo-school"
gateway = "gw-gym"
[mqtt]
url = "mqtt://[::1]:1883"
[buffer]
path = "{folder}/buffer"
[[link]]
name = "gym-radio"
kind = "bluetooth"
{link}
[[device]]
name = "gym-bands"
room = "gym"
profile = "ble/heart_rate_service"
link = "gym-radio"
[[device]]
name = "gym-mi"
room = "gym"
profile = "ble/mi_band_hr"
link = "gym-radio"
"""


def split(sample, *, rules=None, keys=None):
    gate = Gate(
        {"gym-bands": SERVICE},
        rooms={"gym-bands": "gym"},
        keys=keys,
        in_force=lambda: NOTHING if rules is None else rules,
        now_ns=lambda: NOW,
        counters=(counters := Counters()),
    )
    answers = gate.split(sample)
    assert BAND.identifier not in f"{answers}{counters.snapshot()}"
    return answers


@pytest.mark.parametrize("profile", ["ble/heart_rate_service", "ble/mi_band_hr"])
def test_nothing_of_a_band_is_open(profile):
    assert {point.data_class for point in load_profile(profile).points} == {"sensitive", "group"}


@pytest.mark.parametrize("sample", [READING, COUNT])
@pytest.mark.parametrize("keys", [None, keys_for("pe_lesson")])
def test_vitals_are_off_by_default(sample, keys):
    attendance = policy(("personal", "attendance", True))
    for rules in (None, attendance):
        (answer,) = split(sample, rules=rules, keys=keys)
        assert isinstance(answer, Withheld)


def test_with_policy_key_and_consent_a_reading_leaves_under_a_handle():
    keys = keys_for("pe_lesson")
    handle = keys.handle("pe_lesson", BAND)
    rule = ("sensitive", "pe_lesson", True)
    (answer,) = split(READING, keys=keys, rules=policy(rule))
    assert isinstance(answer, Withheld)
    (answer,) = split(READING, keys=keys, rules=policy(rule, consents={"pe_lesson": [handle]}))
    assert isinstance(answer, Admitted)
    assert (answer.handle, answer.values, answer.bad) == (handle, READING.values, READING.bad)
    (answer,) = split(COUNT, keys=keys, rules=policy(("group", "pe_lesson", False)))
    assert isinstance(answer, Admitted)
    assert answer.handle is None


def load(tmp_path, link="", more=""):
    path = tmp_path / "agent.toml"
    path.write_text(CONFIG.format(folder=tmp_path, link=link) + more)
    return load_configuration(path)


async def test_a_bluetooth_link_is_made_for_its_devices(tmp_path):
    configuration = load(tmp_path, link='adapter = "hci7"\nconnections = 5')
    assert set(configuration.devices) == {"gym-bands", "gym-mi"}
    (settings,) = configuration.settings.links
    link = create_link(settings, {}, Counters())
    assert not link.is_open
    await link.close()


@pytest.mark.parametrize(
    ("more", "text"),
    [
        ('[[link]]\nname = "again"\nkind = "bluetooth"\n', "hci0 is already gym-radio's"),
        (
            '[[device]]\nname = "x"\nroom = "gym"\nprofile = "ble/mi_band_hr"\nlink = "gym-radio"\n',
            "on link 'gym-radio' is already gym-mi",
        ),
        (
            '[[device]]\nname = "x"\nroom = "gym"\nprofile = "rfid/rdm6300"\nlink = "gym-radio"\n',
            "expects a serial link, 'gym-radio' is bluetooth",
        ),
    ],
)
def test_what_cannot_share_an_adapter_is_named(tmp_path, more, text):
    with pytest.raises(ConfigError, match=text):
        load(tmp_path, more=more)


@pytest.mark.parametrize(("library", "hci"), [("bleak", None), ("bumble", "tcp-client:[::1]:9")])
def test_a_missing_extra_stops_the_start_and_is_named(monkeypatch, library, hci):
    for name in [name for name in sys.modules if name.startswith(("drivers.links.b", "drivers.links.g"))]:
        monkeypatch.delitem(sys.modules, name)
    for name in [library, *(name for name in sys.modules if name.startswith(f"{library}."))]:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ConfigError, match="install the extra ble"):
        create_link(LinkSettings(name="l", kind="bluetooth", hci=hci), {}, Counters())


def test_an_adapter_that_is_not_there_is_warned_of(monkeypatch, tmp_path):
    monkeypatch.setattr(checks, "ADAPTERS", tmp_path)
    settings = load(tmp_path).settings
    (problem,) = checks._adapters(settings)
    assert problem.what == "hci0 is not there"
    (tmp_path / "hci0").mkdir()
    assert list(checks._adapters(settings)) == []
