"""The truth, twice: the plan, equal byte for byte for the same seed; and the journal of what was really said."""

from __future__ import annotations

import math
import os
from itertools import takewhile
from typing import TYPE_CHECKING, Final

import msgspec

from simulators.bands import Band
from simulators.camera_scenes import PROGRAMMES, people_in
from simulators.cards import Presence, presences
from simulators.registers import MODELS
from simulators.school_day import SchoolDay

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from io import FileIO
    from pathlib import Path

    from simulators.spec import DeviceSpec

SCHEMA: Final = "campus.ledger/1"


class PlanHead(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="plan"):
    """First line of the plan."""

    schema: str
    scenario: str
    seed: int
    seconds: float


class PlannedMeasurement(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="env"):
    """What a device says at sequence `seq` while no fault alters it."""

    device: str
    seq: int
    values: dict[str, float]


class PlannedPresence(Presence, frozen=True, kw_only=True, tag_field="type", tag="card"):
    """A planned presence at one reader."""

    device: str


class SaidMeasurement(msgspec.Struct, frozen=True, kw_only=True):
    """One reply that carried values. A sequence may be said again (a retry, a stall): one delivery is enough."""

    device: str
    seq: int
    at_ns: int
    """UTC when the last byte had left."""
    values: dict[str, float]
    """Points the reply covered, in canonical units, as the device can say them; `sequence` where the model has one."""
    delivered: bool
    """Every byte reached an open port or connection unharmed."""
    fault: str | None


class SaidPresence(msgspec.Struct, frozen=True, kw_only=True):
    """One card presence, written at its end."""

    device: str
    n: int
    card: str
    first_ns: int
    """UTC when the first frame began."""
    confirmed_ns: int | None
    """UTC when the second clean frame had been written to one opening of the port; none if it never was."""
    last_ns: int
    """UTC when the last frame had left."""
    opened_ns: int | None
    """UTC when the port was opened by who had it open last, or when that one last threw away what lay in it."""
    frames: int
    delivered: bool
    refuses: bool
    fault: str | None
    """What befell the first frame that was not clean."""


class PlannedBeat(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="band"):
    """Measurement `n` of a band."""

    device: str
    band: str
    n: int
    values: dict[str, float]


class SaidBeat(msgspec.Struct, frozen=True, kw_only=True):
    """One advert or notification of a band."""

    device: str
    """The radio."""
    band: str
    identifier: str
    """The static id that it sent, upper-case hex."""
    n: int
    at_ns: int
    """UTC when it was sent."""
    values: dict[str, float]
    delivered: bool
    """It was handed to a gateway that scanned, or had subscribed."""
    fault: str | None


class PlannedScene(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="scene"):
    """How many people scene `n` of a camera shows."""

    device: str
    n: int
    people: int


class SaidScene(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="scene"):
    """What a camera shows from `at_ns` on, until its next line: written when scene, light or fault change."""

    device: str
    n: int
    people: int
    """In front of the camera, whether or not a fault keeps them from being seen."""
    dark: bool
    fault: str | None
    """Why nobody can tell how many people there are (the worst reason, if several); `off` in the last line."""
    at_ns: int
    """UTC, before the first picture of it leaves."""


class SaidAudioSetup(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="audio_setup"):
    """A client set up a camera's sound: something that no client of ours may do."""

    device: str
    at_ns: int


Planned = PlanHead | PlannedMeasurement | PlannedPresence | PlannedBeat | PlannedScene
"""A line of the plan."""


def plan(specs: Iterable[DeviceSpec], *, scenario: str, seed: int, seconds: float) -> Iterator[bytes]:
    """Yield the plan's lines for `seconds` at one measurement a second: no wall time, process or path is in it."""
    yield _line(PlanHead(schema=SCHEMA, scenario=scenario, seed=seed, seconds=seconds))
    for spec in specs:
        for unit in spec.units:
            model = MODELS[unit.model]
            day = SchoolDay(seed=spec.seed, device=unit.name, scenario=spec.scenario, step_s=spec.step_s)
            for number in range(1, int(seconds) + 1):
                values = model.truths(day.measurement(number), number)
                yield _line(PlannedMeasurement(device=unit.name, seq=number, values=values))
        planned = presences(seed=spec.seed, reader=spec.name, pupils=spec.pupils if spec.kind == "rdm6300" else 0)
        for band in bands_of(spec):
            for number in range(1, int(seconds / spec.period_s) + 1):
                yield _line(PlannedBeat(device=spec.name, band=band.name, n=number, values=band.beat(number).values))
        for number in range(1, scenes_within(spec, seconds) + 1):
            people = people_in(PROGRAMMES[spec.scene], seed=spec.seed, name=spec.name, n=number)
            yield _line(PlannedScene(device=spec.name, n=number, people=people))
        for presence in takewhile(lambda item: item.offset_s < seconds, planned):
            yield _line(PlannedPresence(device=spec.name, **msgspec.structs.asdict(presence)))


def bands_of(spec: DeviceSpec) -> list[Band]:
    """Return the bands of a radio: those that advertise, then those for GATT."""
    return [
        Band(seed=spec.seed, name=f"{spec.name}-{number:02d}") for number in range(1, spec.bands + spec.gatt_bands + 1)
    ]


def scenes_within(spec: DeviceSpec, seconds: float) -> int:
    """Return how many scenes a camera begins within `seconds`; 0 for what is no camera."""
    return math.ceil(seconds / spec.scene_s) if spec.kind == "camera" else 0


def write_plan(path: Path, specs: Iterable[DeviceSpec], *, scenario: str, seed: int, seconds: float) -> None:
    """Write the plan to `path`. Raises FileExistsError rather than mixing two runs."""
    with path.open("xb") as file:
        file.writelines(plan(specs, scenario=scenario, seed=seed, seconds=seconds))


class Journal:
    """A device's file of what it said, flushed line by line; an empty path writes nothing."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._file: FileIO | None = None
        self._draft: FileIO | None = None
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("xb", buffering=0)

    def write(self, said: SaidMeasurement | SaidPresence | SaidBeat | SaidScene | SaidAudioSetup) -> None:
        """Add one line; it is with the kernel when this returns."""
        if self._file is not None:
            self._file.write(_line(said))
        if self._draft is not None:
            self._draft.truncate(0)

    def draft(self, said: SaidPresence) -> None:
        """Note what its line will say if this process is killed before it can write it."""
        if self._path is None:
            return
        if self._draft is None:
            self._draft = _draft(self._path).open("xb", buffering=0)
        self._draft.truncate(0)
        os.pwrite(self._draft.fileno(), _line(said), 0)

    def close(self) -> None:
        """Close the file and let go of the draft; it may be closed twice."""
        if self._file is not None:
            self._file.close()
        if self._draft is not None and self._path is not None:
            self._draft.close()
            _draft(self._path).unlink(missing_ok=True)


_encoder = msgspec.json.Encoder()


def _line(record: msgspec.Struct) -> bytes:
    return _encoder.encode(record) + b"\n"


def read_measurements(path: Path) -> list[SaidMeasurement]:
    """Return the lines of a sensor's journal."""
    return [msgspec.json.decode(line, type=SaidMeasurement) for line in _lines(path)]


def read_presences(path: Path) -> list[SaidPresence]:
    """Return the lines of a card reader's journal, and the one that it was killed before writing."""
    ended = [msgspec.json.decode(line, type=SaidPresence) for line in _lines(path)]
    drafts = [msgspec.json.decode(line, type=SaidPresence) for line in _lines(_draft(path))]
    return ended + [draft for draft in drafts if draft.n not in {said.n for said in ended}]


def read_beats(path: Path) -> list[SaidBeat]:
    """Return the lines of a radio's journal."""
    return [msgspec.json.decode(line, type=SaidBeat) for line in _lines(path)]


def read_camera(path: Path) -> list[SaidScene | SaidAudioSetup]:
    """Return the lines of a camera's journal."""
    decoder = msgspec.json.Decoder(SaidScene | SaidAudioSetup)
    return [decoder.decode(line) for line in _lines(path)]


def read_plan(path: Path) -> list[Planned]:
    """Return the lines of a plan."""
    decoder = msgspec.json.Decoder(Planned)
    return [decoder.decode(line) for line in _lines(path)]


def _draft(path: Path) -> Path:
    return path.with_name(f"{path.name}.draft")


def _lines(path: Path) -> list[bytes]:
    """Return the whole lines of `path`: a last one still being written is left out."""
    data = path.read_bytes() if path.exists() else b""
    return data[: data.rfind(b"\n") + 1].splitlines()
