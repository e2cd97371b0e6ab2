"""The driver's options: a profile's `[options]`, overridden by the device's; and whether the worker can run here."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal

from pydantic import AfterValidator, Field
from pydantic.dataclasses import dataclass

from drivers.camera_people.assignment import Assignment
from drivers.camera_people.hours import parse_hours
from drivers.camera_people.model_files import MODELS, WrongModel, read_model
from drivers.camera_people.regions import parse_regions
from telemetry.errors import Problem
from telemetry.profile import FORBID, Number
from telemetry.sample import DataClass
from telemetry.validation import validated

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from drivers.links.camera import CameraLink
    from telemetry.profile import DeviceProfile

SEE: Final = "drivers/camera_people/README.md"
LIBRARIES: Final = ("numpy", "cv2", "onnxruntime")
PEOPLE: Final = "people"
LIGHT: Final = "light"
POINTS: Final = {PEOPLE: ("people", DataClass.GROUP), LIGHT: ("brightness", DataClass.OPEN)}
"""Each point that the driver can give: its quantity, and whom it concerns."""


def _regions(text: str) -> str:
    parse_regions(text)
    return text


Regions = Annotated[str, Field(max_length=16_384), AfterValidator(_regions)]
"""So long that all regions fit, and both options into what the worker is told."""


def _hours(text: str) -> str:
    parse_hours(text)
    return text


def _odd(number: int) -> int:
    if number % 2 == 0:
        raise ValueError("the median is of an odd number of pictures")
    return number


@dataclass(frozen=True, slots=True, kw_only=True, config=FORBID)
class Options:
    """How the picture is looked at, and whether the worker's records are kept for an audit."""

    input_width: Annotated[int, Field(strict=True, ge=160, le=1920)] = 640
    method: Literal["faces", "faces_and_people"] = "faces_and_people"
    threshold: Annotated[Number, Field(ge=0.1, le=0.95)] | None = None
    people_threshold: Annotated[Number, Field(ge=0.1, le=0.95)] = MODELS["people"].thresholds["faces_and_people"]
    masks: Regions = ""
    zones: Regions = ""
    median_of: Annotated[int, Field(strict=True, ge=1, le=9), AfterValidator(_odd)] = 1
    only_in_lessons: Annotated[str, AfterValidator(_hours)] = ""
    dark_below: Annotated[Number, Field(ge=0, le=0.5)] = 0.06
    stalled_s: Annotated[Number, Field(ge=0.5, le=8)] = 3.0
    memory_mb: Annotated[int, Field(strict=True, ge=64, le=8192)] = 768
    records_file: str = ""
    records_max_bytes: Annotated[int, Field(strict=True, ge=10_000)] = 16_000_000

    @property
    def face_threshold(self) -> float:
        """How sure the face detector must be: what was measured with the method, unless it is said."""
        return MODELS["centerface"].thresholds[self.method] if self.threshold is None else self.threshold

    @property
    def models(self) -> tuple[str, ...]:
        """Names of the files that the method needs."""
        return ("centerface",) if self.method == "faces" else ("centerface", "people", "people_anchors")


def parse_options(table: Mapping[str, bool | int | float | str], where: str, found: list[Problem]) -> Options | None:
    """Return the options in `table`; or none, with what is wrong added to `found`."""
    return validated(Options, dict(table), where, found, see=SEE)


def assignment_of(options: Options, link: CameraLink, *, measure: bool = False) -> Assignment:
    """Return what a counting worker is told; with `measure` it tells faces' widths, for the check at installation.

    Raises AuthError if the password cannot be read.
    """
    login = link.login()
    return Assignment(
        url=link.url,
        capture=link.capture,
        path=link.path,
        memory_mb=options.memory_mb,
        username=login.username,
        password=login.password,
        input_width=options.input_width,
        method=options.method,
        threshold=options.face_threshold,
        people_threshold=options.people_threshold,
        masks=options.masks,
        zones=options.zones,
        median_of=1 if measure else options.median_of,
        measure=measure,
        dark_below=options.dark_below,
        stalled_s=options.stalled_s,
    )


def option_problems(profile: DeviceProfile, table: Mapping[str, bool | int | float | str], where: str) -> list[Problem]:
    """Return everything wrong with the profile's points, the device's options, and what the worker needs."""
    found: list[Problem] = []
    options = parse_options(table, where, found)
    found.extend(_points(profile))
    if options is not None and options.records_file:
        folder = Path(options.records_file).absolute().parent
        if not os.access(folder, os.W_OK):
            what = f"{folder} cannot be written"
            found.append(Problem(where=f"{where}.records_file", what=what, mend="create it, or mend its rights"))
    missing = [name for name in LIBRARIES if importlib.util.find_spec(name) is None]
    if missing:
        mend = "pip install 'campus-edge[camera]'"
        found.append(Problem(where=f"profile {profile.id}", what=f"{', '.join(missing)} not installed", mend=mend))
    for name in options.models if options is not None else ():
        try:
            read_model(MODELS[name])
        except WrongModel as error:
            mend = "install the package again"
            found.append(Problem(where=f"profile {profile.id}: model", what=str(error), mend=mend))
    return found


def _points(profile: DeviceProfile) -> Iterator[Problem]:
    for point in profile.points:
        place = f"profile {profile.id}: point {point.name}"
        quantity, wanted = POINTS.get(point.name, (None, None))
        if point.quantity != quantity:
            known = ", ".join(f"{name} ({kind})" for name, (kind, _) in POINTS.items())
            what = f"a camera has no {point.name} that is a {point.quantity}"
            yield Problem(where=place, what=what, mend=f"use {known}")
        elif point.name == PEOPLE and point.data_class is not wanted:
            what = f"its class is {point.data_class}: it says how many people are there"
            yield Problem(where=f"{place}: class", what=what, mend=f'write class = "{wanted}"')
