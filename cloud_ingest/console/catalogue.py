"""What is known of a device's points, by `devices` messages and profiles: quantity, unit, how old a value may be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from device_profiles import load_profile, profile_ids
from telemetry.quantities import QUANTITIES, Kind

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from telemetry.profile import DeviceProfile

DEFAULT_AGE_S: Final = 60.0
"""For a point of which nothing is known."""
_LEAST_AGE_S: Final = 10.0
"""Sending, grouping and reading take some seconds of their own."""
_PERIODS: Final = 3.0
_POLLED: Final = frozenset({"environment", "energy", "occupancy"})
"""Devices under other measurements speak when there is something to say: their period means nothing."""
_HEARTBEATS: Final = frozenset({"sequence"})
LESSON_PROFILE: Final = "campus/lesson"
_OVER_AFTER_S: Final = 900.0
"""A class mean so old is of a lesson that is over: nothing is wrong, and it is no longer shown."""
_BESIDE: Final = {"pupils": "heart_rate"}
"""Points that belong to another quantity's value."""
_SOUNDING: Final = ("co2", "temperature", "humidity", "pm2_5", "pm10", "pm1", "noise", "illuminance", "people")
_ORDER: Final = {name: place for place, name in enumerate((*_SOUNDING, "counter", "heart_rate", "power", "energy"))}


@dataclass(frozen=True, slots=True, kw_only=True)
class PointInfo:
    """A point as its gateway describes it."""

    quantity: str
    unit: str
    at_least_every_s: float | None = None
    """How long an unchanged value may stay out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceInfo:
    """A device as its gateway describes it."""

    profile: str
    """`id@version`."""
    measurement: str
    period_s: float | None
    points: Mapping[str, PointInfo]


@dataclass(frozen=True, slots=True, kw_only=True)
class PointFacts:
    """What a view says of a point beside its value."""

    quantity: str
    unit: str
    max_age_s: float
    shown: bool = True
    """False for a counter that only proves that the device lives."""
    beside: str = ""
    """The quantity among which it stands, if that is not its own."""
    over_after_s: float | None = None
    """When it is no longer shown at all; none: it stays, as stale."""

    @property
    def order(self) -> int:
        """Its place in a room."""
        return _ORDER.get(self.beside or self.quantity, len(_ORDER))

    @property
    def text(self) -> bool:
        """Whether its values are texts."""
        quantity = QUANTITIES.get(self.quantity)
        return quantity is not None and quantity.kind is Kind.STRING


class Catalogue:
    """The shipped device profiles, read once."""

    def __init__(self) -> None:
        self._profiles: dict[str, DeviceProfile] = {name: load_profile(name) for name in profile_ids()}
        # A class is no device of a `devices` message: which classes there are only the gateway's roster says.
        self._of_lessons = dict(_lesson_facts(self._profiles[LESSON_PROFILE]))

    def facts(self, point: str, device: DeviceInfo | None) -> PointFacts:
        """Return what is known of `point` of a device that may be unknown."""
        if point in self._of_lessons:
            return self._of_lessons[point]
        if device is None:
            return _by_name(point)
        profile = self._profiles.get(device.profile.partition("@")[0])
        heartbeat = profile.heartbeat if profile is not None else None
        known = device.points.get(point)
        if known is None:
            return _by_name(point)
        return PointFacts(
            quantity=known.quantity,
            unit=known.unit,
            max_age_s=self._max_age_s(point, known, device, profile),
            shown=point != heartbeat and point not in _HEARTBEATS,
        )

    @staticmethod
    def _max_age_s(point: str, known: PointInfo, device: DeviceInfo, profile: DeviceProfile | None) -> float:
        period_s, report_s = device.period_s, known.at_least_every_s
        if profile is not None:
            # An older gateway does not tell them.
            period_s = profile.period_s if period_s is None else period_s
            rules = (one.report for one in profile.points if one.name == point and one.report is not None)
            report_s = next((rule.at_least_every_s for rule in rules), None) if report_s is None else report_s
        if period_s is None or device.measurement not in _POLLED:
            return DEFAULT_AGE_S
        return max(_LEAST_AGE_S, _PERIODS * max(period_s, report_s or 0.0))


def _lesson_facts(profile: DeviceProfile) -> Iterator[tuple[str, PointFacts]]:
    for point in profile.points:
        yield (
            point.name,
            PointFacts(
                quantity=point.quantity,
                unit=QUANTITIES[point.quantity].unit,
                max_age_s=_PERIODS * (profile.period_s or DEFAULT_AGE_S),
                beside=_BESIDE.get(point.name, ""),
                over_after_s=_OVER_AFTER_S,
            ),
        )


def _by_name(point: str) -> PointFacts:
    """Guess by the point's name, which mostly is its quantity's."""
    quantity = QUANTITIES.get(point)
    return PointFacts(
        quantity=point,
        unit=quantity.unit if quantity is not None else "",
        max_age_s=DEFAULT_AGE_S,
        shown=point not in _HEARTBEATS,
    )
