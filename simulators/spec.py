"""What a simulated device process is told to be, and what it answers when it is ready: both travel as one JSON line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

import msgspec

from simulators.camera_auth import Algorithm

if TYPE_CHECKING:
    from collections.abc import Sequence

Kind = Literal["rdm6300", "modbus-rtu", "modbus-tcp", "ble-bands", "camera"]

KINDS: Final[dict[str, str]] = {
    "rdm6300": "125 kHz card reader on a serial line: 14-byte frames, every 65 ms while a card lies there",
    "modbus-rtu": "sensors on one RS-485 bus: many units, silent where there is none",
    "modbus-tcp": "a sensor box on the network: MBAP, several requests at once, few connections",
    "ble-bands": "heart-rate bands around a virtual Bluetooth adapter: adverts and GATT; HCI over TCP (extra ble-sim)",
    "camera": "a camera in front of a class: RTSP (H.264), motion JPEG or snapshots (extra camera-sim)",
}


NETWORKED: Final = ("modbus-tcp", "ble-bands", "camera")
"""Kinds that are reached by an address, not by a port."""

Capture = Literal["rtsp", "mjpeg", "snapshot"]

CAMERA_URLS: Final[dict[Capture, tuple[str, str]]] = {
    "rtsp": ("rtsp", "/stream"),
    "mjpeg": ("http", "/mjpeg"),
    "snapshot": ("http", "/snapshot.jpg"),
}
"""Scheme and path of each kind of camera."""


class UnitSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One Modbus unit behind a link."""

    name: str
    unit: int
    model: str


DEFAULT_MODELS: Final[dict[str, str]] = {"modbus-rtu": "multisensor_6in1", "modbus-tcp": "airbox_tcp"}


def default_units(kind: str, name: str, *, units: Sequence[int], model: str = "") -> list[UnitSpec]:
    """Return the units of a link called `name`: a single one bears its name, several are NAME-UNIT; none for cards."""
    if kind not in DEFAULT_MODELS:
        return []
    model = model or DEFAULT_MODELS[kind]
    return [UnitSpec(name=name if len(units) == 1 else f"{name}-{unit}", unit=unit, model=model) for unit in units]


class DeviceSpec(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """One device process: a card reader, an RS-485 bus with its units, a TCP box, a radio, a camera."""

    kind: Kind
    name: str
    """Of the link; a card reader's own name."""
    units: list[UnitSpec] = []
    seed: int = 1
    scenario: str = "classroom"
    step_s: float = 480.0
    """Scenario seconds that pass with each measurement."""
    seconds: float = 0.0
    """Stop by itself after this time; 0: on SIGTERM only."""
    baudrate: int = 0
    """0: the model's own."""
    link: str = ""
    """Stable symlink to the port; a directory gets one named after the device; empty: in a private directory."""
    host: str = "::1"
    port: int = 0
    max_connections: int = 4
    said: str = ""
    """Journal: a `.jsonl` file, or a directory that gets one file a device; empty: none."""
    control: str = ""
    """Path of the control socket; empty: in a private directory."""
    corrupt: float = 0.0
    """Probability that a byte on the wire is damaged, from the start."""
    drop: float = 0.0
    """Probability that a byte on the wire is lost, from the start."""
    pupils: int = 0
    """Size of the seeded card schedule's pool; 0: only cards given on the control socket."""
    bands: int = 0
    """Bands that say their heart rate in adverts."""
    gatt_bands: int = 0
    """Bands that must be connected to."""
    band_format: Literal["heart_rate_service", "mi_band"] = "heart_rate_service"
    period_s: float = 1.0
    """Between two measurements of a band."""
    capture: Capture = "rtsp"
    """How a camera's pictures are had."""
    scene: str = "lesson"
    """Key of `camera_scenes.PROGRAMMES`."""
    scene_s: float = 6.0
    """How long a camera shows each scene."""
    fps: int = 5
    username: str = ""
    """Empty: a camera asks for no password."""
    password: str = ""
    digest: Algorithm = "MD5"
    """What a camera's login is hashed with."""
    offers_audio: bool = False
    """The camera (rtsp) offers sound too; the journal tells of each client that sets it up."""
    hold: bool = False
    """Play the card schedule, or let the bands speak, only when the control socket says `start`."""


class Ready(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Printed once, when the device can be talked to."""

    kind: str
    name: str
    endpoint: str
    """The port's path now (it changes on replug: open `link`), or host:port."""
    control: str
    pid: int
    devices: list[str]
    link: str = ""
    host: str = ""
    port: int = 0
    url: str = ""
    """Of a camera; name and password are not in it."""
