from __future__ import annotations

import stat
import time
import tomllib
from typing import TYPE_CHECKING, Any

import pytest

from drivers.ble_heart_rate.bindings import load_bindings
from edge_agent.clock import Clock
from edge_agent.configuration import load_configuration, open_documents
from edge_agent.privacy.keys import load_keys
from simulators.demo.config import link_settings, new_site, toml, write_agent, write_ingest
from simulators.demo.scene import make_scene
from telemetry.counters import Counters
from telemetry.sample import Subject

if TYPE_CHECKING:
    from pathlib import Path

    from simulators.demo.config import Site
    from simulators.demo.scene import Scene

NOW_NS = 1_800_000_000 * 10**9
SCENES = ["classroom", "school"]


def written(folder: Path, scene: Scene, site: Site, **change: Any) -> Path:
    answer = {"host": "::1", "port": 5020, "endpoint": "tcp-client:::1:5020", "url": "http://[::1]:5020/mjpeg"}
    links = {
        link: link_settings(devices[0], answer | {"link": f"/dev/{link}"})
        for link, devices in scene.scenario.links.items()
    }
    # A camera's address tells how it gives its pictures.
    links = {
        name: told | ({"url": "rtsp://[::1]:5020/stream"} if told.get("capture") == "rtsp" else {})
        for name, told in links.items()
    }
    return write_agent(folder, scene, site, mqtt="mqtt://[::1]:1", protocol="auto", links=links, **change)


@pytest.mark.parametrize("name", SCENES)
def test_the_agent_takes_its_settings(tmp_path: Path, name: str) -> None:
    scene = make_scene(name, seed=1)
    settings = load_configuration(written(tmp_path / "agent", scene, new_site(1))).settings
    assert settings.simulated
    assert [device.name for device in settings.devices] == [device.name for device in scene.scenario.devices]
    assert {link.name for link in settings.links} == set(scene.scenario.links)


def test_only_the_owner_can_read_what_is_secret(tmp_path: Path) -> None:
    site = new_site(1)
    written(tmp_path, make_scene("school", seed=1), site)
    write_ingest(tmp_path, site, mqtt="mqtt://[::1]:1", protocol="auto", store="influx1://me:pw@[::1]:1/db")
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.rglob("*.*") if path.is_file()}
    given = {"agent.toml", "keys.toml", "officer.pub", "policy.toml", "consents.toml", "gym-bands.toml"}
    assert set(modes) == given | {"r101-camera.password", "r102-camera.password", "ingest.toml"}
    assert set(modes.values()) == {0o600}


def test_everybody_consents_but_those_who_refuse(tmp_path: Path) -> None:
    site, scene = new_site(4), make_scene("school", seed=4)
    written(tmp_path, scene, site)
    policy = tomllib.loads((tmp_path / "policy.toml").read_text())
    listed = tomllib.loads((tmp_path / "consents.toml").read_text())["consent"]
    attendance, lesson = (
        {one["handle"] for one in listed if one["purpose"] == purpose} for purpose in ("attendance", "pe_lesson")
    )
    assert attendance == {site.card(card) for card in scene.cards} - {site.card(scene.refusing_card)}
    assert len(lesson) == 45
    assert lesson == {site.band(wearer.identifier) for wearer in scene.bands[:45]}
    assert [wearer.withheld for wearer in scene.bands[45:]] == ["no_consent", "unbound", "unbound"]
    assert policy["valid_from"] < policy["valid_until"]
    keys = tomllib.loads((tmp_path / "keys.toml").read_text())
    assert keys["simulated"] is True
    assert {purpose: bytes.fromhex(key) for purpose, key in keys["keys"].items()} == site.keys


def test_the_agent_computes_the_same_handles_and_knows_who_is_bound(tmp_path: Path) -> None:
    site, scene = new_site(4), make_scene("school", seed=4)
    written(tmp_path, scene, site)
    keys = load_keys(tmp_path / "keys.toml")
    wearer = scene.bands[0]
    assert keys.handle("pe_lesson", Subject(kind="band", identifier=wearer.identifier)) == site.band(wearer.identifier)
    bound = load_bindings(str(tmp_path / "bindings" / "gym-bands.toml"))
    assert bound == {wearer.identifier for wearer in scene.bands if wearer.bound}
    assert len(bound) == 46


@pytest.mark.parametrize("vitals", [True, False])
def test_the_agent_believes_what_the_demos_officer_signed(tmp_path: Path, vitals: bool) -> None:
    scene = make_scene("school", seed=1)
    path = written(tmp_path / "agent", scene, new_site(1), vitals=vitals)
    documents = open_documents(load_configuration(path), clock=Clock(assume_synced=True), counters=Counters())
    states = {kind: str(standing.state(time.time_ns())) for kind, standing in documents.standings.items()}
    assert states == {"policy": "in_force", "consents": "in_force", "roster": "none"}
    consented = documents.in_force.consented(time.time_ns())
    assert {purpose: len(who) for purpose, who in consented.items()} == {
        "attendance": len(scene.cards) - 1,
        "pe_lesson": 45,
    }
    policy = tomllib.loads((tmp_path / "agent" / "policy.toml").read_text())
    ruled = {(rule["class"], rule["purpose"]) for rule in policy["rule"]}
    lesson = {("sensitive", "pe_lesson"), ("group", "pe_lesson")}
    assert ruled == {("personal", "attendance"), ("group", "occupancy")} | (lesson if vitals else set())


def test_no_raw_number_stands_in_any_file_but_the_bindings(tmp_path: Path) -> None:
    scene = make_scene("school", seed=1)
    written(tmp_path, scene, new_site(1))
    text = "".join(path.read_text() for path in tmp_path.iterdir() if path.is_file()).upper()
    numbers = [*scene.cards, *(wearer.identifier for wearer in scene.bands)]
    assert not [number for number in numbers if number in text]


def test_each_run_has_a_site_and_keys_of_its_own() -> None:
    assert len({(site.name, *site.keys.values()) for site in (new_site(1) for _ in range(5))}) == 5


def test_toml_says_what_was_given() -> None:
    table = {"text": 'a "quoted" \\ line\nü', "number": 1, "real": 0.5, "yes": True, "list": ["a", "b"], "in": {"x": 1}}
    assert tomllib.loads(toml([("", table), ("[[item]]", {"a": 1}), ("[[item]]", {"a": 2})])) == table | {
        "item": [{"a": 1}, {"a": 2}]
    }
