from __future__ import annotations

import stat
import time
import tomllib
from typing import TYPE_CHECKING

from edge_agent.clock import Clock
from edge_agent.configuration import load_configuration, open_documents
from simulators.demo.classroom import SCENE, cards, refusing
from simulators.demo.config import Endpoint, new_site, toml, write_agent, write_ingest
from telemetry.counters import Counters

if TYPE_CHECKING:
    from pathlib import Path

ENDPOINTS = {
    link: Endpoint(host="::1", port=5020) if devices[0].kind == "modbus-tcp" else Endpoint(path=f"/dev/{link}")
    for link, devices in SCENE.links.items()
}


def test_the_agent_takes_its_settings(tmp_path: Path) -> None:
    path = write_agent(tmp_path / "agent", new_site(1), mqtt="mqtt://[::1]:1", protocol="auto", endpoints=ENDPOINTS)
    settings = load_configuration(path).settings
    assert settings.simulated
    assert [device.name for device in settings.devices] == [device.name for device in SCENE.devices]
    assert {link.name for link in settings.links} == set(SCENE.links)


def test_only_the_owner_can_read_what_is_secret(tmp_path: Path) -> None:
    site = new_site(1)
    write_agent(tmp_path, site, mqtt="mqtt://[::1]:1", protocol="auto", endpoints={})
    write_ingest(tmp_path, site, mqtt="mqtt://[::1]:1", protocol="auto", store="influx1://me:pw@[::1]:1/db")
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert set(modes) == {"agent.toml", "keys.toml", "officer.pub", "policy.toml", "consents.toml", "ingest.toml"}
    assert set(modes.values()) == {0o600}


def test_everybody_consents_but_the_one_who_refuses(tmp_path: Path) -> None:
    site = new_site(4)
    write_agent(tmp_path, site, mqtt="mqtt://[::1]:1", protocol="auto", endpoints={})
    policy = tomllib.loads((tmp_path / "policy.toml").read_text())
    listed = tomllib.loads((tmp_path / "consents.toml").read_text())["consent"]
    assert {one["handle"] for one in listed} == {site.handle(card) for card in cards(4)} - {site.handle(refusing(4))}
    assert {one["purpose"] for one in listed} == {"attendance"}
    assert policy["valid_from"] < policy["valid_until"]
    keys = tomllib.loads((tmp_path / "keys.toml").read_text())
    assert keys["simulated"] is True
    assert bytes.fromhex(keys["keys"]["attendance"]) == site.key


def test_the_agent_believes_what_the_demos_officer_signed(tmp_path: Path) -> None:
    path = write_agent(tmp_path / "agent", new_site(1), mqtt="mqtt://[::1]:1", protocol="auto", endpoints=ENDPOINTS)
    documents = open_documents(load_configuration(path), clock=Clock(assume_synced=True), counters=Counters())
    states = {kind: str(standing.state(time.time_ns())) for kind, standing in documents.standings.items()}
    assert states == {"policy": "in_force", "consents": "in_force", "roster": "none"}
    assert len(documents.in_force.consented(time.time_ns())["attendance"]) == len(cards(1)) - 1


def test_no_raw_card_number_stands_in_any_file(tmp_path: Path) -> None:
    write_agent(tmp_path, new_site(1), mqtt="mqtt://[::1]:1", protocol="auto", endpoints=ENDPOINTS)
    text = "".join(path.read_text() for path in tmp_path.iterdir()).upper()
    assert not [card for card in cards(1) if card in text]


def test_each_run_has_a_site_and_key_of_its_own() -> None:
    assert len({(site.name, site.key) for site in (new_site(1) for _ in range(5))}) == 5


def test_toml_says_what_was_given() -> None:
    table = {"text": 'a "quoted" \\ line\nü', "number": 1, "real": 0.5, "yes": True, "list": ["a", "b"], "in": {"x": 1}}
    assert tomllib.loads(toml([("", table), ("[[item]]", {"a": 1}), ("[[item]]", {"a": 2})])) == table | {
        "item": [{"a": 1}, {"a": 2}]
    }
