"""Gateways as their own messages tell of them: honest, hostile, silent."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud_ingest.console.documents import MOST_BYTES
from cloud_ingest.console.model import AuditView, DeviceState, DocumentState, DropKind
from tests.cloud_ingest.console.stored import NS, SITE, WEDNESDAY, Clock, handle
from tests.cloud_ingest.console.told import device, devices, encoded, fleet_of, health, standing, status, topic


def test_what_a_gateway_tells_is_what_is_shown() -> None:
    clock = Clock()
    fleet, _ = fleet_of(clock)
    fleet.hear(topic("status"), status(), retained=True)
    described = devices(device(), device("r101-cards", measurement="attendance", state="down"))
    fleet.hear(topic("devices"), described, retained=True)
    clock.advance(1)
    fleet.hear(topic("health"), health(), retained=False)
    clock.advance(2)
    (view,) = fleet.views()
    assert (view.site, view.gateway, view.online, view.clock_synced) == (SITE, "gw-101", True, True)
    assert (view.last_contact_age_s, view.uptime_s) == (2.0, 12.5)
    assert (view.backlog_batches, view.backlog_values, view.backlog_bytes) == (3, 120, 4096)
    assert (view.oldest_age_s, view.hours_left) == (2.5, 812.5)
    assert [(drop.counter, drop.kind, drop.count) for drop in view.drops] == [
        ("gate.withheld.personal.no_consent", DropKind.WITHHELD, 2)
    ]
    air, cards = view.devices
    assert (air.name, air.room, air.state, air.last_sample_age_s) == ("r101-air", "r101", DeviceState.UP, 2.6)
    assert (cards.state, cards.last_sample_age_s) == (DeviceState.DOWN, None)
    assert fleet.rooms_of(SITE) == {"r101": True}
    assert fleet.sites() == {SITE}


def test_the_later_of_two_messages_says_how_a_device_is() -> None:
    clock = Clock()
    fleet, _ = fleet_of(clock)
    fleet.hear(topic("devices"), devices(device(state="up")), retained=True)
    clock.advance(1)
    down = {"r101-air": {"state": "down", "last_sample_age_s": 9.0, "error": "timed out"}}
    fleet.hear(topic("health"), health(devices=down), retained=False)
    assert fleet.views()[0].devices[0].state is DeviceState.DOWN
    clock.advance(1)
    fleet.hear(topic("devices"), devices(device(state="up")), retained=False)
    assert fleet.views()[0].devices[0].state is DeviceState.UP


def test_a_last_will_and_retained_messages_are_no_contact() -> None:
    clock = Clock()
    fleet, _ = fleet_of(clock)
    fleet.hear(topic("status"), status(at_ns=WEDNESDAY - 600 * NS), retained=True)
    assert fleet.views()[0].last_contact_age_s == 600
    fleet.hear(topic("health"), health(), retained=False)
    clock.advance(30)
    fleet.hear(topic("status"), status("offline", at_ns=WEDNESDAY - 600 * NS), retained=False)
    (view,) = fleet.views()
    assert (view.online, view.last_contact_age_s) == (False, 30)


def test_a_gateway_that_only_the_store_knows_is_shown_with_its_rows_time() -> None:
    clock = Clock()
    fleet, _ = fleet_of(clock)
    row = {"time_ns": WEDNESDAY - 7200 * NS, "site": SITE, "gateway": "gw-9", "device": "gw-9", "uptime": 5.0}
    fleet.note_rows([row, row | {"gateway": "a/b"}, row | {"gateway": handle(1)}, row | {"site": None}])
    (view,) = fleet.views()
    assert (view.gateway, view.online, view.last_contact_age_s, view.uptime_s) == ("gw-9", None, 7200, None)


def test_a_clock_that_runs_ahead_says_nothing_of_the_last_contact() -> None:
    fleet, _ = fleet_of(Clock())
    fleet.hear(topic("status"), status(at_ns=WEDNESDAY + 86_400 * NS), retained=True)
    assert fleet.views()[0].last_contact_age_s is None


def test_an_empty_retained_message_removes_a_gateway() -> None:
    fleet, _ = fleet_of(Clock())
    fleet.hear(topic("status"), status(), retained=True)
    fleet.hear(topic("devices"), devices(device()), retained=True)
    fleet.hear(topic("devices"), b"", retained=False)
    assert fleet.views()[0].devices == ()
    assert fleet.device(SITE, "r101", "r101-air") is None
    fleet.hear(topic("status"), b"", retained=False)
    assert fleet.views() == ()
    assert fleet.sites() == frozenset()


BAD = [
    b"\xff\xfe",
    b"{}",
    b"[" * 100_000,
    b'"x"',
    health()[:-1],
    health(schema="campus.health/2"),
    health(gateway="gw-102"),
    health(uptime_s=-1),
    health(uptime_s="5"),
    health(counters={"gate.withheld.x": -1}),
    health(counters={"gate.withheld.x": 10**30}),
    health(buffer={"batches": 1.5}),
    health(devices={"a": {"state": "on fire"}}),
    health(padding="x" * MOST_BYTES),
    encoded({"schema": "campus.health/1"}),
]


@pytest.mark.parametrize("payload", BAD, ids=range(len(BAD)))
def test_hostile_health_is_counted_and_dropped(payload: bytes) -> None:
    fleet, counters = fleet_of(Clock())
    fleet.hear(topic("health"), payload, retained=False)
    assert fleet.views() == ()
    assert counters.get("console.bad_documents") == 1
    fleet.hear(topic("health"), health(), retained=False)
    fleet.hear(topic("health"), payload, retained=False)
    assert fleet.views()[0].uptime_s == 12.5


def test_how_the_documents_stand_is_what_is_shown() -> None:
    clock = Clock()
    fleet, _ = fleet_of(clock)
    fleet.hear(topic("health"), health(), retained=False)
    (view,) = fleet.views()
    assert [(one.kind, one.state, one.serial) for one in view.documents] == [
        ("policy", DocumentState.IN_FORCE, 7),
        ("consents", DocumentState.IN_FORCE, 7),
        ("roster", DocumentState.NONE, None),
    ]
    assert (view.documents[0].issued_age_s, view.documents[0].valid_for_s, view.documents[0].problem) == (
        3600,
        7200,
        None,
    )
    assert (view.audit, view.audit_broken, view.gate_problem) == (AuditView(entries=12, digest="8f0b19ae"), False, None)
    # A gateway that fell silent while they ran out.
    clock.advance(7201)
    states = [one.state for one in fleet.views()[0].documents]
    assert states == [DocumentState.EXPIRED, DocumentState.TOO_OLD, DocumentState.NONE]
    refused = standing("refused", text=f"refused: {handle(7)} is not trusted here")
    fleet.hear(topic("health"), health(documents={"policy": refused}, audit=None), retained=False)
    (view,) = fleet.views()
    (policy,) = view.documents
    assert (policy.state, policy.problem) == (DocumentState.REFUSED, "refused: … is not trusted here")
    assert (view.audit, view.audit_broken) == (None, True)


def test_an_older_gateway_tells_of_no_documents() -> None:
    fleet, _ = fleet_of(Clock())
    told = json.loads(health())
    del told["documents"], told["audit"]
    fleet.hear(topic("health"), encoded(told), retained=False)
    (view,) = fleet.views()
    assert (view.documents, view.audit, view.audit_broken) == ((), None, False)


ODD = [
    None,
    [],
    "in force",
    {"policy": "in_force"},
    {"lunch": standing()},
    {handle(1): standing()},
]


@pytest.mark.parametrize("told", ODD, ids=range(len(ODD)))
def test_standings_that_are_none_cost_nothing_else(told: Any) -> None:
    fleet, counters = fleet_of(Clock())
    fleet.hear(topic("health"), health(documents=told, audit={"n": -1, "hash": "x"}), retained=False)
    (view,) = fleet.views()
    assert (view.documents, view.audit, view.audit_broken, view.uptime_s) == ((), None, False, 12.5)
    assert counters.get("console.bad_documents") == 0


@pytest.mark.parametrize("state", ["suspended", "", 7, None, ["in_force"], handle(3)])
def test_a_state_that_is_not_known_is_told_as_such(state: Any) -> None:
    fleet, _ = fleet_of(Clock())
    odd = standing(state, serial=True, issued_at_ns="yesterday", valid_until_ns=-5, text=handle(3) + "x" * 999)
    fleet.hear(topic("health"), health(documents={"policy": odd}), retained=False)
    (policy,) = fleet.views()[0].documents
    assert policy.state is DocumentState.UNKNOWN
    assert (policy.serial, policy.issued_age_s, policy.valid_for_s) == (None, None, None)
    assert policy.problem == "…" + "x" * 199


@pytest.mark.parametrize("until_ns", [253_402_300_799 * NS, 10**40, 1e300])
def test_a_policy_without_end_is_in_force(until_ns: float) -> None:
    fleet, _ = fleet_of(Clock())
    fleet.hear(topic("health"), health(documents={"policy": standing(valid_until_ns=until_ns)}), retained=False)
    (policy,) = fleet.views()[0].documents
    assert policy.state is DocumentState.IN_FORCE
    assert policy.valid_for_s is not None
    assert policy.valid_for_s > 1e9


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)


@given(st.sampled_from(["status", "health", "devices"]), st.binary(max_size=300) | json_values)
def test_any_bytes_are_survived(channel: str, said: Any) -> None:
    payload = said if isinstance(said, bytes) else json.dumps(said).encode()
    fleet, _ = fleet_of(Clock())
    fleet.hear(topic(channel), payload, retained=False)
    fleet.views()


@given(st.dictionaries(st.sampled_from(list(json.loads(health()))), json_values, min_size=1, max_size=3))
def test_any_health_with_wrong_parts_is_survived(wrong: dict[str, Any]) -> None:
    fleet, _ = fleet_of(Clock())
    fleet.hear(topic("health"), health(**wrong), retained=False)
    msgspec.json.encode(fleet.views())


@given(st.dictionaries(st.sampled_from(["policy", "consents", "roster", "x"]), json_values), json_values)
def test_any_standings_are_survived(documents: dict[str, Any], audit: Any) -> None:
    fleet, _ = fleet_of(Clock())
    parts = [{**standing(), "state": document, "serial": document} for document in documents.values()]
    fleet.hear(topic("health"), health(documents=documents, audit=audit), retained=False)
    fleet.hear(topic("health"), health(documents=dict(zip(documents, parts, strict=True))), retained=False)
    msgspec.json.encode(fleet.views())


@pytest.mark.parametrize(
    "name", ["campus/v1/a/b", "campus/v1/a b/gw/health", f"campus/v1/{handle(3)}/gw/health", "x/y/z/gw/health", ""]
)
def test_strange_topics_are_counted_and_dropped(name: str) -> None:
    fleet, counters = fleet_of(Clock())
    fleet.hear(name, health(), retained=False)
    assert (fleet.views(), counters.get("console.bad_topics")) == ((), 1)


def test_neither_gateways_nor_devices_grow_without_end() -> None:
    fleet, counters = fleet_of(Clock(), most=3)
    for n in range(5):
        fleet.hear(topic("status", f"gw-{n}"), status(), retained=True)
    assert len(fleet.views()) == 3
    assert counters.get("console.gateways_too_many") == 2
    many = [{**device(f"d{n}"), "points": []} for n in range(1200)]
    fleet.hear(topic("devices", "gw-0"), devices(*many, gateway="gw-0"), retained=True)
    assert len(fleet.views()[0].devices) == 500
    reports = {f"d{n}": {"state": "up"} for n in range(1200)}
    names = {f"gate.withheld.personal.x{n}": 1 for n in range(500)}
    fleet.hear(topic("health", "gw-1"), health("gw-1", devices=reports, counters=names), retained=False)
    assert (len(fleet.views()[1].devices), len(fleet.views()[1].drops)) == (500, 40)


def test_no_pseudonym_passes_in_any_text() -> None:
    fleet, _ = fleet_of(Clock())
    secret = handle(0xFEED)
    fleet.hear(
        topic("devices"), devices(device(secret), device("ok", room=secret), device(profile=secret)), retained=True
    )
    said = health(
        version=secret,
        gate_closed_for_people=f"key of {secret} is old",
        devices={secret: {"state": "up"}, "d": {"state": "down", "error": f"card {secret} unreadable " + "x" * 999}},
        counters={f"gate.withheld.personal.{secret}": 5, f"buffer.dropped_values.{secret}": 1},
    )
    fleet.hear(topic("health"), said, retained=False)
    shown = msgspec.json.encode(fleet.views()).decode()
    assert secret not in shown
    assert "card … unreadable" in shown
    assert len(shown) < 2000


def test_dropped_values_stand_before_what_was_withheld_on_purpose() -> None:
    fleet, _ = fleet_of(Clock())
    counters = {
        "gate.withheld.sensitive.no_policy": 900,
        "buffer.dropped_values.samples": 7,
        "link.bt0.dropped_adverts": 8,
        "publisher.slow_ack": 3,
        "buffer.dropped_values.events": 0,
        "report.suppressed_values": 5000,
    }
    fleet.hear(topic("health"), health(counters=counters), retained=False)
    drops = fleet.views()[0].drops
    assert [drop.count for drop in drops if drop.kind is DropKind.DROPPED] == [8, 7]
    assert [drop.kind for drop in drops[:2]] == [DropKind.DROPPED] * 2
    assert {drop.counter for drop in drops} == set(list(counters)[:4])
