"""The verdict's words: what was said, under which conditions, and the categories it is counted in. Pure.

The comparisons are in verdict_environment.py and verdict_attendance.py.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

SECOND_NS: Final = 1_000_000_000
EARLY_NS: Final = 1 * SECOND_NS
LATE_NS: Final = 2 * SECOND_NS
"""How far a stored time may lie before or after the device's own."""
PLUG_BEFORE_NS: Final = 150_000_000
PLUG_AFTER_NS: Final = 500_000_000
"""Bytes in the port when its device is stopped or unplugged, or until it has stopped, may reach nobody."""
_NOTES: Final = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """One measurement as a device put it on the wire."""

    device: str
    room: str
    sequence: int
    at_ns: int
    values: Mapping[str, float]
    unheard: str | None = None
    """Why nobody can have heard it, by the device's own knowledge; none if it was delivered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tap:
    """One card laid on one reader; `ordinal` counts that card's taps there."""

    device: str
    room: str
    handle: str
    ordinal: int
    at_ns: int
    until_ns: int
    confirmed_ns: int
    """When the second whole frame was heard: from here on the reader's host knows the card."""
    unheard: str | None = None
    withheld: str | None = None
    """Why the gate must keep it in the room."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outage:
    """The agent was away: killed or stopped at `from_ns`, ready again at `until_ns`."""

    from_ns: int
    until_ns: int
    killed: bool
    """By kill -9; a stopped agent may lose nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportRule:
    """Report by exception, as the plan knows it."""

    deadband: float
    at_least_every_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """What the comparison needs to know beside the two sides."""

    window_s: float
    outages: Sequence[Outage] = ()
    ends: Mapping[str, Sequence[int]] = field(default_factory=dict)
    """Device → when it was told to stop, killed or unplugged."""
    rules: Mapping[tuple[str, str], ReportRule] = field(default_factory=dict)
    """(device, point) → its report rule."""

    def younger(self, at_ns: int, *, window_ns: int) -> bool:
        """Whether the agent was killed within `window_ns` after `at_ns`."""
        return any(outage.killed and 0 <= outage.from_ns - at_ns <= window_ns for outage in self.outages)

    def unplugged(self, device: str, at_ns: int) -> bool:
        """Whether the device's plug was pulled while what it said at `at_ns` was on its way."""
        return any(-PLUG_AFTER_NS <= end_ns - at_ns <= PLUG_BEFORE_NS for end_ns in self.ends.get(device, ()))

    def away(self, from_ns: int, until_ns: int) -> bool:
        """Whether the agent was away at some time in the interval."""
        return any(outage.from_ns <= until_ns and from_ns <= outage.until_ns for outage in self.outages)


@dataclass(slots=True, kw_only=True)
class Family:
    """The categories of promise 1, as counts. Rows that nobody said are in `duplicated` or `altered` beside `said`."""

    said: int = 0
    stored: int = 0
    duplicated: int = 0
    altered: int = 0
    withheld: dict[str, int] = field(default_factory=dict)
    uncertain: dict[str, int] = field(default_factory=dict)
    """Of `unobserved`: what the gate would have withheld if it was heard after all, by reason."""
    suppressed: int = 0
    unobserved: int = 0
    bad: int = 0
    younger_than_w: int = 0
    lost: int = 0
    leaked: int = 0
    """Rows of a person whose data must not be there."""
    notes: list[str] = field(default_factory=list)

    @property
    def broken(self) -> int:
        """How much of it breaks the promise."""
        return self.lost + self.duplicated + self.altered + self.leaked

    def counts(self) -> dict[str, Any]:
        """Return the categories by name."""
        return {item.name: getattr(self, item.name) for item in fields(self) if item.name not in {"notes", "uncertain"}}

    def note(self, text: str) -> None:
        """Keep an example for the report, not all of them."""
        if len(self.notes) < _NOTES:
            self.notes.append(text)


Row = dict[str, Any]
"""A stored row, flat: time_ns, tags, fields."""


def in_time(time_ns: int, said_ns: int) -> bool:
    """Whether a stored time fits the device's own."""
    return -EARLY_NS <= time_ns - said_ns <= LATE_NS


def row_time(row: Row) -> int:
    """Return the row's time in UTC nanoseconds."""
    return int(row["time_ns"])
