"""From a DeviceSpec to the device: checks what is asked for and puts cable, units and journals together."""

from __future__ import annotations

import random
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol, runtime_checkable

from simulators.camera_scenes import PROGRAMMES
from simulators.cards import presences
from simulators.ledger import Journal, bands_of
from simulators.modbus import Unit
from simulators.modbus_rtu import RtuBus
from simulators.modbus_tcp import TcpBox
from simulators.rdm6300 import CardReader
from simulators.registers import MODELS
from simulators.school_day import DAYS, SchoolDay
from simulators.wire import PtyCable
from telemetry.errors import ConfigError, Problem
from telemetry.topics import NAME

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterator, Sequence

    from simulators.faults import Faults
    from simulators.spec import DeviceSpec, UnitSpec
    from telemetry.counters import Counters

READER_BAUDRATE: Final = 9600
MAX_UNIT: Final = 255
_LIMITS: Final = {
    "corrupt": 1,
    "drop": 1,
    "step_s": 86400,
    "seconds": 10_000_000,
    "port": 65535,
    "pupils": 10_000,
    "baudrate": 4_000_000,
    "max_connections": 1000,
    "bands": 500,
    "gatt_bands": 20,
    "period_s": 3600,
    "scene_s": 86400,
    "fps": 30,
}


UNITLESS: Final = ("rdm6300", "ble-bands", "camera")


class Device(Protocol):
    """What a device process runs: a bus, a box, a card reader, a radio or a camera."""

    @property
    def endpoint(self) -> str:
        """The port's path, or host:port."""
        ...

    @property
    def devices(self) -> dict[str, int]:
        """Each device and how many measurements it has latched, or presences ended."""
        ...

    @property
    def points(self) -> set[str]:
        """Points that can drift."""
        ...

    @property
    def is_open(self) -> bool:
        """Whether somebody has the port open or is connected."""
        ...

    async def start(self, group: asyncio.TaskGroup) -> None:
        """Be there and answer. Raises OSError if port or address cannot be had."""
        ...

    def faults_changed(self) -> None:
        """Look at the faults again."""
        ...

    def close(self) -> None:
        """Go away and complete the journals."""
        ...


@runtime_checkable
class Scheduled(Protocol):
    """A device that can be told to wait with what it says: a card reader, a radio."""

    def begin(self) -> None:
        """Begin now."""
        ...


def check(spec: DeviceSpec) -> None:
    """Raise ConfigError naming everything that is wrong with `spec`."""
    problems = list(_problems(spec))
    if problems:
        raise ConfigError(problems)


def _problems(spec: DeviceSpec) -> Iterator[Problem]:
    for name in [spec.name, *(unit.name for unit in spec.units)]:
        if not NAME.fullmatch(name):
            yield Problem(where="name", what=f"{name!r} is not a name", mend="use letters, digits, '-', '_' and '.'")
    unitless = spec.kind in UNITLESS
    if unitless and spec.units:
        yield Problem(where="units", what=f"{spec.kind} has none", mend="leave units out")
    if spec.kind == "ble-bands" and not spec.period_s:
        yield Problem(where="period_s", what="bands would never pause", mend="choose a second or so")
    if spec.kind == "camera":
        yield from _camera_problems(spec)
    if not unitless and not spec.units:
        yield Problem(where="units", what=f"{spec.kind} needs at least one", mend="give a unit, such as 1")
    yield from _unit_problems(spec.units)
    if spec.scenario not in DAYS:
        known = ", ".join(DAYS)
        yield Problem(where="scenario", what=f"there is no {spec.scenario!r}", mend=f"choose one of {known}")
    for field, most in _LIMITS.items():
        if not 0 <= getattr(spec, field) <= most:
            yield Problem(where=field, what=f"{getattr(spec, field)} is out of range", mend=f"choose 0 to {most:g}")


def _camera_problems(spec: DeviceSpec) -> Iterator[Problem]:
    if spec.scene not in PROGRAMMES:
        known = ", ".join(PROGRAMMES)
        yield Problem(where="scene", what=f"there is no {spec.scene!r}", mend=f"choose one of {known}")
    if not spec.fps:
        yield Problem(where="fps", what="no picture would ever come", mend="choose 1 to 30")
    if not spec.scene_s:
        yield Problem(where="scene_s", what="no scene would last", mend="choose some seconds")
    if spec.password and not spec.username:
        yield Problem(where="password", what="there is no user for it", mend="give a username too")
    if spec.offers_audio and spec.capture != "rtsp":
        yield Problem(where="offers_audio", what=f"{spec.capture} carries no sound", mend="choose capture rtsp")


def _unit_problems(units: Sequence[UnitSpec]) -> Iterator[Problem]:
    if len({unit.name for unit in units}) < len(units) or len({unit.unit for unit in units}) < len(units):
        yield Problem(where="units", what="a name or number is there twice", mend="make each unit's own")
    for unit in units:
        if unit.model not in MODELS:
            known = ", ".join(MODELS)
            yield Problem(where=f"units.{unit.name}", what=f"no model {unit.model!r}", mend=f"choose one of {known}")
        if not 1 <= unit.unit <= MAX_UNIT:
            yield Problem(where=f"units.{unit.name}", what=f"no unit {unit.unit}", mend=f"choose 1 to {MAX_UNIT}")


def link_path(spec: DeviceSpec, private: Path) -> Path:
    """Return the path of the port's stable link; raises ConfigError if something else stands there."""
    path = Path(spec.link).absolute() if spec.link else private
    if path.is_dir() and not path.is_symlink():
        path /= f"usb-campus-sim-{spec.name}"
    if path.exists() and not path.is_symlink():
        mend = "choose another path, or remove it yourself"
        raise ConfigError([Problem(where=str(path), what="is there and not a link of ours", mend=mend)])
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


class Journals:
    """Opens each device's journal; several devices share one `.jsonl` file."""

    def __init__(self, said: str) -> None:
        self._said = Path(said) if said else None
        self._open: dict[Path, Journal] = {}

    def of(self, device: str) -> Journal:
        """Return the device's journal. Raises ConfigError if its file is there already: truths are never mixed."""
        if self._said is None:
            return Journal(None)
        path = self._said if self._said.suffix == ".jsonl" else self._said / f"{device}.jsonl"
        if path not in self._open:
            try:
                self._open[path] = Journal(path)
            except FileExistsError as error:
                mend = "it is the journal of another run: remove it, or choose another place"
                raise ConfigError([Problem(where=str(path), what="is there already", mend=mend)]) from error
        return self._open[path]

    def close(self) -> None:
        """Close all."""
        for journal in self._open.values():
            journal.close()


def build(spec: DeviceSpec, *, link: Path, faults: Faults, journals: Journals, counters: Counters) -> Device:
    """Return the device of a checked `spec`, not yet started. Raises ConfigError if a library for it is missing."""
    if spec.kind == "ble-bands":
        return _radio(spec, faults=faults, journals=journals, counters=counters)
    rng = random.Random(f"{spec.seed}/{spec.name}/wire")
    if spec.kind == "camera":
        return _camera(spec, rng=rng, faults=faults, journal=journals.of(spec.name), counters=counters)
    if spec.kind == "rdm6300":
        return CardReader(
            name=spec.name,
            cable=PtyCable(
                baudrate=spec.baudrate or READER_BAUDRATE, link=link, rng=rng, faults=faults, counters=counters
            ),
            planned=presences(seed=spec.seed, reader=spec.name, pupils=spec.pupils),
            hold=spec.hold,
            faults=faults,
            journal=journals.of(spec.name),
            counters=counters,
        )
    units = {
        unit.unit: Unit(
            name=unit.name,
            model=MODELS[unit.model],
            day=SchoolDay(seed=spec.seed, device=unit.name, scenario=spec.scenario, step_s=spec.step_s),
            faults=faults,
            journal=journals.of(unit.name),
        )
        for unit in spec.units
    }
    if spec.kind == "modbus-tcp":
        return TcpBox(
            host=spec.host,
            port=spec.port,
            max_connections=spec.max_connections,
            units=units,
            faults=faults,
            counters=counters,
            rng=rng,
        )
    baudrate = spec.baudrate or MODELS[spec.units[0].model].baudrate
    cable = PtyCable(baudrate=baudrate, link=link, rng=rng, faults=faults, counters=counters)
    return RtuBus(cable=cable, units=units, faults=faults, counters=counters)


def _radio(spec: DeviceSpec, *, faults: Faults, journals: Journals, counters: Counters) -> Device:
    try:
        from simulators.band_radio import BandRadio  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise ConfigError([Problem(where="kind", what=str(error), mend="install the extra ble-sim")]) from error
    bands = bands_of(spec)
    return BandRadio(
        name=spec.name,
        host=spec.host,
        port=spec.port,
        bands=bands[: spec.bands],
        gatt_bands=bands[spec.bands :],
        form=spec.band_format,
        period_s=spec.period_s,
        hold=spec.hold,
        faults=faults,
        journal=journals.of(spec.name),
        counters=counters,
    )


def _camera(spec: DeviceSpec, *, rng: random.Random, faults: Faults, journal: Journal, counters: Counters) -> Device:
    try:
        from simulators.camera_build import camera_of  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise ConfigError([Problem(where="kind", what=str(error), mend="install the extra camera-sim")]) from error
    return camera_of(spec, rng=rng, faults=faults, journal=journal, counters=counters)
