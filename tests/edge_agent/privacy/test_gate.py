"""The gate: default deny for people, always open for air; nothing of them leaves that is not allowed."""

import ast
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydantic import TypeAdapter

from edge_agent.privacy import NOTHING, Gate, GatewayKeys, InForce
from edge_agent.privacy.documents import Consents, Policy
from telemetry.counters import Counters
from telemetry.profile import DeviceProfile, Point, Text
from telemetry.sample import Admitted, DataClass, Durability, Quality, Reason, Sample, Subject, Withheld
from tests.edge_agent.privacy.files import SITE, handle, subkey

ROOT = Path(__file__).parents[3]
NOW = int(datetime(2026, 10, 8, tzinfo=UTC).timestamp()) * 10**9
CARD = Subject(kind="card", identifier="0A0012ABCD")


def profile(*points, durability=Durability.SAMPLE):
    return DeviceProfile(
        id="test/device",
        version="1.0.0",
        name=Text(zh="测", en="test"),
        manufacturer="m",
        model="m",
        driver="modbus",
        measurement="environment",
        durability=durability,
        point=points,
    )


def point(name, data_class, purpose="environment"):
    return Point(name=name, quantity="counter", purpose=purpose, **{"class": data_class})


AIR = point("co2", "open")
PRESENCE = point("presence", "personal", "attendance")
PEOPLE = point("people", "group", "occupancy")
PULSE = point("pulse", "sensitive", "sport")
SELF = point("uptime", "ops", "operations")
MIXED = profile(AIR, PRESENCE, PEOPLE, PULSE, SELF, durability=Durability.EVENT)


def keys_for(*purposes):
    return GatewayKeys(
        schema="campus.gateway-keys/1",
        site=SITE,
        school_year="2026-2027",
        keys={purpose: subkey(purpose).hex() for purpose in purposes},
    )


def policy(*rules, consents=None, first="2026-09-01T00:00:00Z", last="2027-07-15T00:00:00Z"):
    """What is in force under these rules (class, purpose, consent) and consents (purpose → handles)."""
    heading = {"site": SITE, "serial": 1, "issued_at": "2026-10-07T20:00:00Z"}
    purposes = [
        {"name": name, "basis": "consent", "zh": "用", "en": "use"} for name in sorted({rule[1] for rule in rules})
    ]
    made = TypeAdapter(Policy).validate_python(
        {
            "schema": "campus.policy/2",
            **heading,
            "valid_from": first,
            "valid_until": last,
            "purpose": purposes,
            "rule": [
                {"class": data_class, "purpose": purpose, "consent": consent, "distance": "school"}
                for data_class, purpose, consent in rules
            ],
        }
    )
    given = [
        {
            "handle": item,
            "purpose": purpose,
            "given_by": "guardian",
            "under_14": True,
            "valid_until": "2100-01-01T00:00:00Z",
        }
        for purpose, handles in (consents or {}).items()
        for item in sorted(set(handles))
    ]
    listed = TypeAdapter(Consents).validate_python({"schema": "campus.consents/1", **heading, "consent": given})
    return InForce(made, listed, consents_max_age_h=24 * 365 * 100)


ATTENDANCE = ("personal", "attendance", True)
CONSENTED = {"attendance": [handle("attendance")]}
ALLOWED = policy(ATTENDANCE, consents=CONSENTED)


def gate(*, keys=None, rules=None, now_ns=NOW, profiles=None):
    counters = Counters()
    made = Gate(
        profiles or {"d": MIXED},
        rooms={"d": "r101"},
        keys=keys,
        in_force=lambda: NOTHING if rules is None else rules,
        now_ns=lambda: now_ns,
        counters=counters,
    )
    return made, counters


def sample(subject=CARD, **values):
    return Sample(device="d", acquired_at_ns=5, values=values, subject=subject)


BOTH = keys_for("attendance")
CLOSED = {
    "no_policy": {"keys": BOTH},
    "no_key": {"rules": ALLOWED},
    "no_key for the purpose": {"keys": keys_for("library"), "rules": ALLOWED},
    "policy_expired": {"keys": BOTH, "rules": ALLOWED, "now_ns": NOW + 365 * 86400 * 10**9},
    "policy_not_yet_valid": {"keys": BOTH, "rules": ALLOWED, "now_ns": NOW - 100 * 86400 * 10**9},
    "policy_not_yet_valid in 1970": {"keys": BOTH, "rules": ALLOWED, "now_ns": 12345},
    "class_not_allowed": {"keys": BOTH, "rules": policy(("group", "attendance", False), consents=CONSENTED)},
    "purpose_not_allowed": {"keys": BOTH, "rules": policy(("personal", "library", False), consents=CONSENTED)},
    "no_consent": {"keys": BOTH, "rules": policy(ATTENDANCE)},
    "no_consent to this purpose": {
        "keys": BOTH,
        "rules": policy(ATTENDANCE, consents={"library": CONSENTED["attendance"]}),
    },
    "no_consent of this one": {"keys": BOTH, "rules": policy(ATTENDANCE, consents={"attendance": ["0" * 32]})},
    "no_subject": {"keys": BOTH, "rules": ALLOWED, "subject": None},
}


def test_with_everything_there_a_presence_passes_as_a_handle():
    made, counters = gate(keys=BOTH, rules=ALLOWED)
    (answer,) = made.split(sample(presence=True))
    assert answer == Admitted(
        device="d",
        acquired_at_ns=5,
        data_class=DataClass.PERSONAL,
        purpose="attendance",
        durability=Durability.EVENT,
        values={"presence": True},
        bad={},
        quality=Quality.GOOD,
        handle=handle("attendance"),
    )
    assert CARD.identifier not in repr(answer)
    assert counters.snapshot() == {}


@pytest.mark.parametrize("missing", CLOSED)
def test_whatever_is_missing_closes_the_gate_for_people_and_not_for_air(missing):
    setup = dict(CLOSED[missing])
    given_sample = sample(setup.pop("subject", CARD), co2=400.0, presence=True, uptime=1.0)
    made, counters = gate(**setup)
    answers = made.split(given_sample)
    reason = missing.split()[0]
    passed = [answer for answer in answers if isinstance(answer, Admitted)]
    assert [(answer.data_class, answer.values) for answer in passed] == [
        (DataClass.OPEN, {"co2": 400.0}),
        (DataClass.OPS, {"uptime": 1.0}),
    ]
    assert all(answer.handle is None for answer in passed)
    (withheld,) = [answer for answer in answers if isinstance(answer, Withheld)]
    assert (withheld.device, withheld.data_class, str(withheld.reason)) == ("d", DataClass.PERSONAL, reason)
    assert counters.snapshot() == {f"gate.withheld.personal.{reason}": 1}


def test_nothing_at_all_still_lets_air_pass():
    made, counters = gate()
    (answer,) = made.split(sample(None, co2=400.0))
    assert answer.values == {"co2": 400.0}
    assert counters.snapshot() == {}


def test_a_sample_of_several_classes_is_split_and_nothing_is_in_two_parts():
    rules = policy(ATTENDANCE, ("group", "occupancy", False), consents=CONSENTED)
    made, _ = gate(keys=BOTH, rules=rules)
    mixed = Sample(
        device="d",
        acquired_at_ns=5,
        values={"co2": 400.0, "presence": True, "people": 31.0, "pulse": 70.0},
        bad={"uptime": Reason.DECODE},
        quality=Quality.SUSPECT,
        subject=CARD,
        resumed=True,
    )
    answers = made.split(mixed)
    parts = {answer.data_class: answer for answer in answers if isinstance(answer, Admitted)}
    assert {data_class: (part.values, part.bad) for data_class, part in parts.items()} == {
        DataClass.OPEN: ({"co2": 400.0}, {}),
        DataClass.PERSONAL: ({"presence": True}, {}),
        DataClass.GROUP: ({"people": 31.0}, {}),
        DataClass.OPS: ({}, {"uptime": Reason.DECODE}),
    }
    assert {part.handle is not None for part in parts.values() if part.data_class is DataClass.PERSONAL} == {True}
    assert {part.handle for part in parts.values() if part.data_class is not DataClass.PERSONAL} == {None}
    assert all(
        (part.quality, part.resumed, part.acquired_at_ns) == (Quality.SUSPECT, True, 5) for part in parts.values()
    )
    assert [answer.data_class for answer in answers if isinstance(answer, Withheld)] == [DataClass.SENSITIVE]


def test_the_same_class_for_two_purposes_is_two_parts_with_two_handles():
    both = profile(point("a", "personal", "attendance"), point("b", "personal", "library"))
    rules = policy(("personal", "attendance", False), ("personal", "library", False))
    made, _ = gate(keys=keys_for("attendance", "library"), rules=rules, profiles={"d": both})
    answers = made.split(sample(a=1.0, b=2.0))
    assert [(answer.purpose, answer.values, answer.handle) for answer in answers] == [
        ("attendance", {"a": 1.0}, handle("attendance")),
        ("library", {"b": 2.0}, handle("library")),
    ]


@pytest.mark.parametrize("where", ["values", "bad"])
def test_a_point_or_device_that_no_profile_knows_stays(where):
    made, counters = gate(keys=BOTH, rules=ALLOWED)
    unknown = {"values": {"face": 1.0}} if where == "values" else {"bad": {"face": Reason.DECODE}}
    for device in ("d", "stranger"):
        answers = made.split(Sample(device=device, acquired_at_ns=5, **unknown))
        assert [str(answer.reason) for answer in answers] == ["unknown_point"]
    assert counters.snapshot() == {"gate.withheld.sensitive.unknown_point": 2}


def test_what_is_in_force_is_asked_each_time():
    current = [ALLOWED]
    counters = Counters()
    made = Gate({"d": MIXED}, rooms={}, keys=BOTH, in_force=lambda: current[0], now_ns=lambda: NOW, counters=counters)
    assert isinstance(made.split(sample(presence=True))[0], Admitted)
    current[0] = NOTHING
    assert isinstance(made.split(sample(presence=True))[0], Withheld)


def test_only_the_gate_makes_admitted():
    """What the type promises to the buffer: nobody else in the programs constructs it."""
    makers = set()
    for package in ("telemetry", "device_profiles", "drivers", "edge_agent", "cloud_ingest", "simulators"):
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.ImportFrom):
                    assert all(alias.asname is None for alias in node.names if alias.name == "Admitted")
                elif isinstance(node, ast.Call):
                    called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
                    if called == "Admitted":
                        makers.add(path.relative_to(ROOT).as_posix())
    assert makers == {"edge_agent/privacy/gate.py"}
