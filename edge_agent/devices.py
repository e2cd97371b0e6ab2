"""The retained document on `devices`: what a gateway has and what answers. For display only: no data wait for it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from telemetry.quantities import QUANTITIES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from edge_agent.catalogue import Device
    from edge_agent.clock import Clock
    from edge_agent.collector import DeviceState
    from edge_agent.settings import Settings
    from telemetry.profile import Point

SCHEMA: Final = "campus.devices/1"
LOOK_EVERY_S: Final = 1.0
"""A device that flaps makes at most one message in this time."""


class Devices:
    """What is configured, with each device's state of the moment."""

    def __init__(
        self, settings: Settings, *, devices: Mapping[str, Device], states: Mapping[str, DeviceState], clock: Clock
    ) -> None:
        self._settings = settings
        self._fixed = {name: _described(device) for name, device in devices.items()}
        self._states = states
        self._clock = clock

    def states(self) -> dict[str, str | float | None]:
        """Return each device's state: `up`, `down` or `starting`."""
        return {name: self._states[name].document()["state"] for name in self._fixed}

    def document(self) -> dict[str, Any]:
        """Return the document; holds no value that a device measured."""
        states = self.states()
        return {
            "schema": SCHEMA,
            "site": self._settings.site,
            "gateway": self._settings.gateway,
            "at_ns": self._clock.now_ns(),
            "simulated": self._settings.simulated,
            "devices": [{"name": name, **fixed, "state": states[name]} for name, fixed in self._fixed.items()],
        }


def _described(device: Device) -> dict[str, Any]:
    profile = device.profile
    return {
        "room": device.settings.room,
        "profile": profile.reference,
        "measurement": profile.measurement,
        "period_s": device.period_s,
        "points": [_point(point) for point in profile.points],
    }


def _point(point: Point) -> dict[str, Any]:
    described: dict[str, Any] = {
        "name": point.name,
        "quantity": point.quantity,
        "unit": QUANTITIES[point.quantity].unit,
    }
    if point.report is not None:
        described["at_least_every_s"] = point.report.at_least_every_s
    return described


async def show(devices: Devices, publish: Callable[[dict[str, Any]], None]) -> None:
    """Publish the document at once and when a device's state has changed, until cancelled."""
    shown = None
    while True:
        states = devices.states()
        if states != shown:
            shown = states
            publish(devices.document())
        await asyncio.sleep(LOOK_EVERY_S)
