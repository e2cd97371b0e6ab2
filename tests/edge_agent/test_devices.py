"""The document on `devices`: names, rooms, models and states; published at once and when a state changes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from edge_agent import devices as module
from edge_agent.catalogue import build_catalogue
from edge_agent.clock import Clock
from edge_agent.collector import DeviceState
from edge_agent.devices import Devices, show
from edge_agent.settings import DeviceSettings, LinkSettings, parse_settings
from telemetry.errors import DeviceUnavailable
from tests.docs.test_asyncapi import MESSAGES, matches
from tests.drivers.helpers import running
from tests.waiting import until

if TYPE_CHECKING:
    import pytest

LINKS = [
    LinkSettings(name="bus", kind="serial", path="/dev/ttyX"),
    LinkSettings(name="reader", kind="serial", path="/dev/ttyY"),
]
DEVICES = [
    DeviceSettings(name="air", room="r101", profile="modbus/multisensor_6in1", link="bus", options={"unit": 3}),
    DeviceSettings(name="cards", room="r102", profile="rfid/rdm6300", link="reader"),
]


def made() -> tuple[Devices, dict[str, DeviceState]]:
    found, problems = build_catalogue(DEVICES, LINKS, [])
    assert not problems
    states = {name: DeviceState(device=name) for name in found}
    settings = parse_settings(
        {"site": "s", "gateway": "g", "mqtt": {"url": "mqtt://h"}, "buffer": {"path": "b"}, "simulated": True}, "f:"
    )
    return Devices(settings, devices=found, states=states, clock=Clock(assume_synced=True)), states


def test_the_document_is_what_asyncapi_describes() -> None:
    devices, states = made()
    states["air"].sampled()
    states["cards"].down(DeviceUnavailable("link reader: no such port"))
    document = json.loads(json.dumps(devices.document()))
    assert matches(MESSAGES["devices"]["payload"], document)
    air, cards = document["devices"]
    assert (air["name"], air["room"], air["measurement"], air["state"]) == ("air", "r101", "environment", "up")
    assert air["profile"].startswith("modbus/multisensor_6in1@")
    assert {"name": "co2", "quantity": "co2", "unit": "ppm"} in air["points"]
    assert air["period_s"] == 1.0
    assert (cards["name"], cards["measurement"], cards["state"]) == ("cards", "attendance", "down")
    assert (document["site"], document["gateway"], document["simulated"]) == ("s", "g", True)


async def test_it_is_published_at_once_and_when_a_state_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOOK_EVERY_S", 0.002)
    devices, states = made()
    documents: list[dict[str, Any]] = []
    async with running(show(devices, documents.append)):
        await until(lambda: bool(documents))
        states["air"].sampled()
        await until(lambda: len(documents) == 2)
        states["air"].sampled()  # up before, up now
        states["cards"].down(DeviceUnavailable("gone"))
        await until(lambda: len(documents) == 3)
    seen = [[device["state"] for device in document["devices"]] for document in documents]
    assert seen == [["starting", "starting"], ["up", "starting"], ["up", "down"]]
