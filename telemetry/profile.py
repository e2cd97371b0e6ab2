"""DeviceProfile: one device model as data. A new model is a TOML file; only a new protocol is code."""

from __future__ import annotations

from dataclasses import field
from datetime import date
from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Field, model_validator
from pydantic.dataclasses import dataclass

from telemetry.quantities import QUANTITIES, Kind
from telemetry.sample import DataClass, Durability

FORBID = ConfigDict(extra="forbid")
"""Unknown keys are refused."""

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,39}$")]
Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
"""A finite float; may be written as an integer in TOML, never as a string."""


@dataclass(frozen=True, slots=True, kw_only=True, config=FORBID)
class Range:
    """Inclusive limits in the quantity's canonical unit."""

    low: Number
    high: Number

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.low >= self.high:
            msg = f"low {self.low} is not below high {self.high}"
            raise ValueError(msg)
        return self

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high


@dataclass(frozen=True, slots=True, kw_only=True, config=FORBID)
class Calibration:
    """Linear correction `value * gain + offset`, applied once, after the driver's scale; who did it and when."""

    gain: Number = 1.0
    offset: Number = 0.0
    on: date | None = None
    by: str = ""


@dataclass(frozen=True, slots=True, kw_only=True, config=FORBID)
class Report:
    """Report by exception: a value within `deadband` of the last reported one stays out, `at_least_every_s` at most."""

    deadband: Annotated[Number, Field(ge=0)] = 0.0
    at_least_every_s: Annotated[Number, Field(gt=0)]


@dataclass(frozen=True, slots=True, kw_only=True, config=FORBID)
class Point:
    """One value that a device gives: where it comes from, what it means, how far to believe it, whom it concerns."""

    name: Name
    quantity: str
    source: dict[str, bool | int | float | str] = field(default_factory=dict)
    """Where the driver finds it (register, type, scale…); the driver owns and validates the keys."""
    physical: Range | None = None
    """What the sensor can measure: outside is bad with reason `out_of_range`."""
    plausible: Range | None = None
    """What a room can have: outside makes the sample's quality `suspect`."""
    max_step_per_s: Annotated[Number, Field(gt=0)] | None = None
    """Faster changes make the sample's quality `suspect`."""
    report: Report | None = None
    """None: every value is reported."""
    calibration: Calibration | None = None
    data_class: Annotated[DataClass, Field(alias="class")] = DataClass.OPEN
    purpose: Name = "environment"

    @model_validator(mode="after")
    def _known_quantity(self) -> Self:
        quantity = QUANTITIES.get(self.quantity)
        if quantity is None:
            msg = f"unknown quantity {self.quantity!r}; known: {', '.join(sorted(QUANTITIES))}"
            raise ValueError(msg)
        rules = (self.physical, self.plausible, self.max_step_per_s, self.report, self.calibration)
        if quantity.kind is not Kind.FLOAT and any(rules):
            msg = f"quantity {self.quantity!r} is not a number: it takes no range, step, report rule or calibration"
            raise ValueError(msg)
        return self


@dataclass(frozen=True, slots=True, kw_only=True, config=FORBID)
class Text:
    """A name shown to people, in both languages."""

    zh: str
    en: str


@dataclass(frozen=True, slots=True, kw_only=True, config=FORBID)
class DeviceProfile:
    """One device model. `id` equals the file's path below `device_profiles/` without its ending."""

    id: Annotated[str, Field(pattern=r"^[a-z0-9_]+(/[a-z0-9_]+)+$")]
    version: Annotated[str, Field(pattern=r"^\d+\.\d+\.\d+$")]
    name: Text
    manufacturer: str
    model: str
    driver: Name
    """Folder below `drivers/`; the registry knows it."""
    measurement: Literal["environment", "energy", "occupancy", "lesson", "attendance", "vitals", "gateway"]
    durability: Durability = Durability.SAMPLE
    period_s: Annotated[Number, Field(gt=0)] = 1.0
    """How often a polled device is read; ignored by devices that push."""
    deadline_s: Annotated[Number, Field(gt=0)] = 0.5
    """How long one reading may take, with its retries."""
    warmup_s: Annotated[Number, Field(ge=0)] = 0.0
    """Values within this time of the device's (re)appearance are bad with reason `warming_up`."""
    heartbeat: Name | None = None
    """A counter point that the device advances with each new measurement: while it stands still, values are `stale`."""
    link: dict[str, bool | int | float | str] = field(default_factory=dict)
    """Link defaults (kind, baudrate…); the device's own settings override them."""
    options: dict[str, bool | int | float | str] = field(default_factory=dict)
    """Driver options; the driver owns and validates the keys."""
    points: Annotated[tuple[Point, ...], Field(alias="point")]

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        names = [point.name for point in self.points]
        if not names:
            msg = "a profile needs at least one [[point]]"
            raise ValueError(msg)
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            msg = f"points named twice: {', '.join(repeated)}"
            raise ValueError(msg)
        if self.heartbeat is not None and self.heartbeat not in names:
            msg = f"heartbeat {self.heartbeat!r} is not one of the points"
            raise ValueError(msg)
        return self

    @property
    def reference(self) -> str:
        """`id@version`, as it travels in batches."""
        return f"{self.id}@{self.version}"
