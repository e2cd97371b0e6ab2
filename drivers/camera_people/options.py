"""The driver's options: a profile's `[options]`, overridden by the device's; and whether the worker can run here."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

from pydantic import Field
from pydantic.dataclasses import dataclass

from drivers.camera_people.model_files import MODELS, WrongModel, read_model
from telemetry.errors import Problem
from telemetry.profile import FORBID, Number
from telemetry.sample import DataClass
from telemetry.validation import validated

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from telemetry.profile import DeviceProfile

SEE: Final = "drivers/camera_people/README.md"
LIBRARIES: Final = ("numpy", "cv2", "onnxruntime")
MODEL: Final = "centerface"
PEOPLE: Final = "people"
LIGHT: Final = "light"
POINTS: Final = {PEOPLE: ("people", DataClass.GROUP), LIGHT: ("brightness", DataClass.OPEN)}
"""Each point that the driver can give: its quantity, and whom it concerns."""


@dataclass(frozen=True, slots=True, kw_only=True, config=FORBID)
class Options:
    """How the picture is looked at, and whether the worker's records are kept for an audit."""

    input_width: Annotated[int, Field(strict=True, ge=160, le=1920)] = 640
    threshold: Annotated[Number, Field(ge=0.1, le=0.95)] = 0.5
    dark_below: Annotated[Number, Field(ge=0, le=0.5)] = 0.06
    stalled_s: Annotated[Number, Field(ge=0.5, le=8)] = 3.0
    records_file: str = ""
    records_max_bytes: Annotated[int, Field(strict=True, ge=10_000)] = 16_000_000


def parse_options(table: Mapping[str, bool | int | float | str], where: str, found: list[Problem]) -> Options | None:
    """Return the options in `table`; or none, with what is wrong added to `found`."""
    return validated(Options, dict(table), where, found, see=SEE)


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
    try:
        read_model(MODELS[MODEL])
    except WrongModel as error:
        found.append(Problem(where=f"profile {profile.id}: model", what=str(error), mend="install the package again"))
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
