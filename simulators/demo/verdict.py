"""The verdict's words: what was said, under which conditions, and the categories it is counted in. Pure.

The comparisons are in verdict_FAMILY.py.
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
ASKED_NS: Final = 1 * SECOND_NS
"""So long before and after an absence of the agent a reading may be asked for twice."""
SILENT_NS: Final = 20 * SECOND_NS
"""A polled device that was not read for so long before its end is one that the agent has given up."""
RECOVERED_NS: Final = 10 * SECOND_NS
"""So long after its own absence the agent may take to read all devices again."""
SAME: Final = 1e-9
"""Relative; only for a float's way through text."""
_NOTES: Final = 20
_FEW: Final = 4
UNHEARD, PLUG, AGAIN, AWAY = "not heard, the device says", "plug pulled", "asked again", "agent away"
"""What excuses that something was unobserved."""
_NOT_COUNTED: Final = frozenset({"notes", "uncertain", "closed"})


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
    again_ns: Sequence[int] = ()
    """When a sensor that stands still delivered it once more."""


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
    opened_ns: int | None = None
    """When the port was opened, or what lay in it thrown away, for the last time before the tap's end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Beat:
    """One reading of one band, as it was said; the band numbers its readings by the energy, 1 kJ each."""

    device: str
    """The radio."""
    room: str
    handle: str
    number: int
    at_ns: int
    values: Mapping[str, float]
    unheard: str | None = None
    """Why it did not reach the gateway, by the radio's own knowledge."""
    withheld: str | None = None
    """Why it must stay in the room."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """One record of a camera's worker: what left the process that sees pictures."""

    device: str
    room: str
    at_ns: int
    """When the picture was received; without one, when the record was."""
    values: Mapping[str, float]
    bad: Mapping[str, str]
    """Point → why it has no value."""
    picture: bool
    """It is about a picture; else the reading failed as a whole."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """What was in front of a camera for a while."""

    device: str
    people: int
    fault: str | None
    """Why nobody can have seen it."""
    from_ns: int
    until_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Outage:
    """The agent was away: killed or stopped at `from_ns`, ready again at `until_ns`."""

    from_ns: int
    until_ns: int
    killed: bool
    """By kill -9; a stopped agent may lose nothing."""
    frozen: bool = False
    """By SIGSTOP: what is said meanwhile waits in the kernel; only what it was just asking for is nobody's."""


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
    sick: Mapping[str, Sequence[tuple[int, int]]] = field(default_factory=dict)
    """Device → from when until when it had a fault."""
    wrong_clock: Sequence[tuple[int, int]] = ()
    """From when until when the agent's clock was wrong: bands are not counted then; all else waits and is not lost."""
    rules: Mapping[tuple[str, str], ReportRule] = field(default_factory=dict)
    """(device, point) → its report rule."""

    @property
    def window_ns(self) -> int:
        """W: so old a sample may get before it is safe."""
        return int(self.window_s * SECOND_NS)

    def younger(self, at_ns: int, *, window_ns: int) -> bool:
        """Whether the agent was killed within `window_ns` after `at_ns`."""
        return any(outage.killed and 0 <= outage.from_ns - at_ns <= window_ns for outage in self.outages)

    def unplugged(self, device: str, at_ns: int) -> bool:
        """Whether the device's plug was pulled while what it said at `at_ns` was on its way.

        What is said while the agent is frozen lies in the port until it is thawed.
        """
        read_ns = max(
            (one.until_ns for one in self.outages if one.frozen and one.from_ns <= at_ns <= one.until_ns), default=at_ns
        )
        return any(at_ns - PLUG_AFTER_NS <= end_ns <= read_ns + PLUG_BEFORE_NS for end_ns in self.ends.get(device, ()))

    def away(self, from_ns: int, until_ns: int) -> bool:
        """Whether the agent was away at some time in the interval."""
        return any(outage.from_ns <= until_ns and from_ns <= outage.until_ns for outage in self.outages)

    def closed(self, from_ns: int, until_ns: int) -> bool:
        """Whether the agent's clock was wrong at some time in the interval."""
        return any(begin_ns <= until_ns and from_ns <= end_ns for begin_ns, end_ns in self.wrong_clock)

    def gone(self, from_ns: int, until_ns: int) -> bool:
        """Whether there was no agent process at some time in the interval."""
        return self.absences(from_ns, until_ns) > 0

    def absences(self, from_ns: int, until_ns: int) -> int:
        """Return how often there was no agent process in the interval: a frozen one is there, and reads later."""
        return sum(
            outage.from_ns <= until_ns and from_ns <= outage.until_ns and not outage.frozen for outage in self.outages
        )

    def troubled(self, device: str, at_ns: int) -> bool:
        """Whether `device` was sick, or the agent away or just back: a reading may have been asked for twice."""
        ill = any(from_ns <= at_ns <= until_ns for from_ns, until_ns in self.sick.get(device, ()))
        return ill or self.away(at_ns - ASKED_NS, at_ns + ASKED_NS)


@dataclass(slots=True, kw_only=True)
class Family:
    """The categories of promise 1, as counts. Rows that nobody said are in `duplicated` or `altered` beside `said`."""

    said: int = 0
    stored: int = 0
    duplicated: int = 0
    altered: int = 0
    repeated: int = 0
    """Stored beside `said`: what a sensor that stands still said again to an agent that did not hear it before."""
    withheld: dict[str, int] = field(default_factory=dict)
    uncertain: dict[str, int] = field(default_factory=dict)
    """Of `unobserved`: what the gate would have withheld if it was heard after all, by reason."""
    suppressed: int = 0
    unobserved: int = 0
    excused: dict[str, int] = field(default_factory=dict)
    """`unobserved` by what excuses it: nothing else may."""
    bad: int = 0
    younger_than_w: int = 0
    lost: int = 0
    leaked: int = 0
    """Rows of a person whose data must not be there."""
    aggregates: int = 0
    """Rows about a group that are right; they stand beside `said`."""
    truths: int = 0
    """How many different true numbers of people were told, and told rightly."""
    closed: bool = False
    """The policy has no rule for this family: nothing of it may be stored."""
    notes: list[str] = field(default_factory=list)

    @property
    def broken(self) -> int:
        """How much of it breaks the promise."""
        return self.lost + self.duplicated + self.altered + self.leaked

    def counts(self) -> dict[str, Any]:
        """Return the categories by name."""
        return {item.name: getattr(self, item.name) for item in fields(self) if item.name not in _NOT_COUNTED}

    def excuse(self, why: str, count: int = 1) -> None:
        """Count as unobserved, for this reason."""
        self.unobserved += count
        self.excused[why] = self.excused.get(why, 0) + count

    def note(self, text: str) -> None:
        """Keep an example for the report, not all of them."""
        if len(self.notes) < _NOTES:
            self.notes.append(text)


Row = dict[str, Any]
"""A stored row, flat: time_ns, tags, fields."""
_NO_POINTS: Final = frozenset({"time_ns", "site", "room", "device", "subject", "quality", "simulated"})


def silent(last_ns: Mapping[str, int], conditions: Conditions) -> list[str]:
    """Return which of these devices were not read any more: nothing that they say can be lost, so it must be told.

    `last_ns`: polled device → when it was read last, 0 for never.
    """
    stopped = {device: max(conditions.ends.get(device, ()), default=0) for device in last_ns}
    return [
        device
        for device, at_ns in last_ns.items()
        if stopped[device] - at_ns > SILENT_NS and not conditions.away(stopped[device] - RECOVERED_NS, stopped[device])
    ]


def told(count: int) -> int:
    """Return how many people are told where there are `count`: 1 to 4 are told as 4, fewer would point at persons."""
    return max(_FEW, count) if count else 0


def in_time(time_ns: int, said_ns: int) -> bool:
    """Whether a stored time fits the device's own."""
    return -EARLY_NS <= time_ns - said_ns <= LATE_NS


def wrongly_kept(row: Row, *, said_ns: int, room: str) -> str | None:
    """Return what is wrong with the row's time, room or mark; none if it is as it should be."""
    if not in_time(row_time(row), said_ns):
        return f"stored with time {row_time(row)}, said at {said_ns}"
    if row.get("room") != room:
        return f"stored in room {row.get('room')!r}, said in {room!r}"
    return None if row.get("simulated") is True else "not marked as simulated"


def points(row: Row) -> dict[str, Any]:
    """Return the row's good values by point."""
    return {
        name: value
        for name, value in row.items()
        if value is not None and name not in _NO_POINTS and not name.endswith("_bad")
    }


def row_time(row: Row) -> int:
    """Return the row's time in UTC nanoseconds."""
    return int(row["time_ns"])
