"""The driver's options: a profile's `[options]`, overridden by the device's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final, Literal, Self

from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass

from telemetry.errors import Problem
from telemetry.profile import FORBID, Number
from telemetry.sample import DataClass
from telemetry.validation import validated

if TYPE_CHECKING:
    from collections.abc import Mapping

    from telemetry.profile import DeviceProfile

SEE: Final = "drivers/ble_heart_rate/README.md"
BANDS: Final = "bands_seen"
POINTS: Final[dict[str, str]] = {
    "heart_rate": "heart_rate",
    "rr_interval": "duration",
    "energy": "energy",
    "battery": "battery",
    BANDS: "counter",
}
"""Each point that the driver can give, and its quantity."""


@dataclass(frozen=True, slots=True, kw_only=True, config=FORBID)
class Options:
    """How bands say their heart rate, how they are told apart, and who is bound to one."""

    format: Literal["mi_band", "heart_rate_service"]
    identity: Literal["tail", "name"] = "tail"
    """Where the static id of a `heart_rate_service` band stands: behind the measurement, or in its name."""
    id_bytes: Annotated[int, Field(strict=True, ge=2, le=16)] = 6
    gatt: Annotated[bool, Field(strict=True)] = False
    """Connect to the bound bands, in turn, instead of reading their adverts."""
    turn_s: Annotated[Number, Field(ge=1, le=3600)] = 30.0
    silent_s: Annotated[Number, Field(ge=1, le=60)] = 5.0
    bindings: Literal["file", "roster"] = "file"
    """Who says which bands are somebody's: the file here, or the officer's roster, by which the gate decides."""
    bindings_file: str = ""
    """The bands that are somebody's; without it nobody is bound, and bands are only counted."""
    repeat_s: Annotated[Number, Field(ge=0, le=10)] = 0.4
    seen_every_s: Annotated[Number, Field(ge=1, le=3600)] = 10.0

    @model_validator(mode="after")
    def _connectable(self) -> Self:
        if self.gatt and self.format != "heart_rate_service":
            raise ValueError("gatt needs format heart_rate_service: a Mi Band's broadcast cannot be connected to")
        if self.bindings == "roster" and self.bindings_file:
            raise ValueError('bindings = "roster" takes no bindings_file: the roster says whose a band is')
        if self.bindings == "roster" and self.gatt:
            raise ValueError("gatt needs a bindings_file: nobody connects to a stranger's band")
        return self


def parse_options(table: Mapping[str, bool | int | float | str], where: str, found: list[Problem]) -> Options | None:
    """Return the options in `table`; or none, with what is wrong added to `found`."""
    return validated(Options, dict(table), where, found, see=SEE)


def option_problems(profile: DeviceProfile, table: Mapping[str, bool | int | float | str], where: str) -> list[Problem]:
    """Return everything wrong with the profile's points and the device's options."""
    found: list[Problem] = []
    parse_options(table, where, found)
    for point in profile.points:
        place = f"profile {profile.id}: point {point.name}"
        if POINTS.get(point.name) != point.quantity:
            known = ", ".join(f"{name} ({quantity})" for name, quantity in POINTS.items())
            what = f"heart rate bands have no {point.name} that is a {point.quantity}"
            found.append(Problem(where=place, what=what, mend=f"use {known}"))
        wanted = DataClass.GROUP if point.name == BANDS else DataClass.SENSITIVE
        if point.data_class is not wanted:
            what = f"its class is {point.data_class}: it says something about {_WHOM[wanted]}"
            found.append(Problem(where=f"{place}: class", what=what, mend=f'write class = "{wanted}"'))
    return found


_WHOM: Final = {DataClass.GROUP: "how many people are there", DataClass.SENSITIVE: "a person's body"}
