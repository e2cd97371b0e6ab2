"""A whole scene: which devices stand where and hang on which link. Data that `run`, the demo and tests share."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import msgspec

from simulators.spec import NETWORKED, Capture, DeviceSpec, Kind, UnitSpec

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class SceneDevice:
    """One device: `profile` and `options` are what a gateway would be told about it."""

    name: str
    room: str
    kind: Kind
    model: str
    profile: str
    link: str
    """Devices with the same link share a process."""
    unit: int = 0
    """Modbus unit; 0 for a device that has none."""
    bands: int = 0
    """Bands around a radio; the last `unbound` of them are nobody's, and the wearer of the one before those refuses."""
    unbound: int = 0
    capture: Capture = "rtsp"
    """How a camera gives its pictures."""
    options: Mapping[str, bool | int | float | str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """Devices of a school, and the day they live through."""

    name: str
    says: str
    day: str
    """Key of `school_day.DAYS`."""
    devices: tuple[SceneDevice, ...]
    pupils: int = 60

    @property
    def links(self) -> dict[str, list[SceneDevice]]:
        """The devices of each link, in the order of the scenario."""
        links: dict[str, list[SceneDevice]] = {}
        for device in self.devices:
            links.setdefault(device.link, []).append(device)
        return links

    def specs(self, *, seed: int, data: Path | None = None, hold: bool = False) -> dict[str, DeviceSpec]:
        """Return the process of each link. With `data`: links in data/dev, journals in data/said."""
        places = {"link": str(data / "dev"), "said": str(data / "said")} if data else {}
        return {link: self._spec(link, devices, seed, places, hold) for link, devices in self.links.items()}

    def _spec(
        self, link: str, devices: list[SceneDevice], seed: int, places: Mapping[str, str], hold: bool
    ) -> DeviceSpec:
        kind = devices[0].kind
        spec = DeviceSpec(kind=kind, name=link, seed=seed, scenario=self.day, said=places.get("said", ""))
        if kind not in NETWORKED:
            spec = msgspec.structs.replace(spec, link=places.get("link", ""))
        # A card reader or a radio is its link: the process bears the device's name, which seeds what it says.
        if kind == "rdm6300":
            return msgspec.structs.replace(spec, name=devices[0].name, pupils=self.pupils, hold=hold)
        if kind == "ble-bands":
            return msgspec.structs.replace(spec, name=devices[0].name, bands=devices[0].bands, hold=hold)
        if kind == "camera":
            # It offers sound, so that a client that would take it is found out.
            return msgspec.structs.replace(
                spec,
                name=devices[0].name,
                capture=devices[0].capture,
                username=CAMERA_USER,
                password=camera_password(seed, devices[0].name),
                offers_audio=devices[0].capture == "rtsp",
            )
        units = [UnitSpec(name=device.name, unit=device.unit, model=device.model) for device in devices]
        return msgspec.structs.replace(spec, units=units)


def camera_password(seed: int, name: str) -> str:
    """Return the password of a scene's camera."""
    return hashlib.sha256(f"{seed}/{name}/password".encode()).hexdigest()[:16]


def _sensor(name: str, room: str, link: str, unit: int) -> SceneDevice:
    return SceneDevice(
        name=name,
        room=room,
        kind="modbus-rtu",
        model="multisensor_6in1",
        profile="modbus/multisensor_6in1",
        link=link,
        unit=unit,
        options={"unit": unit},
    )


def _reader(name: str, room: str, link: str) -> SceneDevice:
    return SceneDevice(name=name, room=room, kind="rdm6300", model="rdm6300", profile="rfid/rdm6300", link=link)


def _camera(name: str, room: str, link: str, capture: Capture) -> SceneDevice:
    return SceneDevice(
        name=name,
        room=room,
        kind="camera",
        model="people_counter",
        profile="camera/people_counter",
        link=link,
        capture=capture,
    )


CAMERA_USER: Final = "campus"

_CLASSROOM: Final = (
    _sensor("r101-air", "r101", "bus-1", 1),
    _sensor("r102-air", "r102", "bus-1", 2),
    SceneDevice(
        name="hall-air",
        room="hall",
        kind="modbus-tcp",
        model="airbox_tcp",
        profile="modbus/airbox_tcp",
        link="hall-box",
        unit=1,
        options={"unit": 1},
    ),
    _reader("gate-reader", "gate", "gate-usb"),
    _reader("r101-reader", "r101", "r101-usb"),
)
_GYM: Final = SceneDevice(
    name="gym-bands",
    room="g1",
    kind="ble-bands",
    model="heart_rate_service",
    profile="ble/heart_rate_service",
    link="gym-radio",
    bands=48,
    unbound=2,
)
"""45 whose wearers consent, one whose wearer refuses, two that are nobody's."""

SCENARIOS: Final[dict[str, Scenario]] = {
    "classroom": Scenario(
        name="classroom",
        says="two rooms on one RS-485 bus, a network air box in the hall, card readers at the gate and in a room",
        day="classroom",
        devices=_CLASSROOM,
    ),
    "school": Scenario(
        name="school",
        says="the classroom scene, a camera in each room (extra camera-sim), and a gym with 48 heart-rate bands"
        " around one Bluetooth adapter (extra ble-sim)",
        day="classroom",
        devices=(
            *_CLASSROOM,
            _GYM,
            _camera("r101-camera", "r101", "r101-lan", "rtsp"),
            _camera("r102-camera", "r102", "r102-lan", "mjpeg"),
        ),
    ),
}
