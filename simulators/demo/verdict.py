"""What became of everything that was said: the pure comparison of truth and store.

Environment is matched by what was carried on the wire, (device, sequence), and counted in values; the sequence itself
is the key and not counted. Attendance is matched by (reader, handle, ordinal) and counted in events.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

SECOND_NS: Final = 1_000_000_000
EARLY_NS: Final = 1 * SECOND_NS
LATE_NS: Final = 2 * SECOND_NS
"""How far a stored time may lie before or after the device's own."""
EVENT_SAFE_NS: Final = 50_000_000
"""An event is on disk so long after it was complete."""
SAME: Final = 1e-9
"""Relative; only for a float's way through text."""
RETRY_NS: Final = 700_000_000
"""A reading asked for again within the driver's deadline: the newer one counts, the older nobody took."""
BAD_NEAR_NS: Final = 2 * SECOND_NS
TRIES: Final = 2
"""A reading that fails was asked for so many times."""
_SEQUENCE: Final = "sequence"
_EXTRA: Final = frozenset({"quality", "simulated"})
_TAGS: Final = frozenset({"time_ns", "site", "room", "device", "subject"})
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
    rules: Mapping[tuple[str, str], ReportRule] = field(default_factory=dict)
    """(device, point) → its report rule."""

    def younger(self, at_ns: int, *, window_ns: int) -> bool:
        """Whether the agent was killed within `window_ns` after `at_ns`."""
        return any(outage.killed and 0 <= outage.from_ns - at_ns <= window_ns for outage in self.outages)

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
        return {item.name: getattr(self, item.name) for item in fields(self) if item.name != "notes"}

    def note(self, text: str) -> None:
        """Keep an example for the report, not all of them."""
        if len(self.notes) < _NOTES:
            self.notes.append(text)


Row = dict[str, Any]
"""A stored row, flat: time_ns, tags, fields."""


def judge_environment(readings: Iterable[Reading], rows: Iterable[Row], conditions: Conditions) -> Family:
    """Return what became of every value of `readings`. Rows of no reading count as duplicated or altered."""
    family = Family()
    said: dict[str, list[Reading]] = defaultdict(list)
    for reading in readings:
        said[reading.device].append(reading)
    kept: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        kept[str(row.get("device"))].append(row)
    for device in sorted(said.keys() | kept.keys()):
        _Device(device, said[device], kept[device], conditions, family).judge()
    return family


class _Device:
    """The readings and rows of one device."""

    def __init__(
        self, device: str, readings: list[Reading], rows: list[Row], conditions: Conditions, family: Family
    ) -> None:
        self.device = device
        self.readings = sorted(readings, key=lambda reading: (reading.at_ns, reading.sequence))
        self.rows = sorted(rows, key=_time)
        self.conditions = conditions
        self.family = family
        self.bad_tries = [[_time(row), TRIES] for row in self.rows if not _values(row)]
        self.last_stored: dict[str, tuple[int, float]] = {}

    def judge(self) -> None:
        matched = self._match()
        for index, reading in enumerate(self.readings):
            self.family.said += len(reading.values)
            row = matched.get(index)
            if row is not None:
                self._compare(reading, row)
            else:
                self._absent(index, reading, matched)

    def _match(self) -> dict[int, Row]:
        """Return reading → its row; rows that are left over are judged at once."""
        by_sequence: dict[int, list[int]] = defaultdict(list)
        for index, reading in enumerate(self.readings):
            by_sequence[reading.sequence].append(index)
        matched: dict[int, Row] = {}
        for row in self.rows:
            values = _values(row)
            if not values:
                continue
            sequence = values.get(_SEQUENCE)
            candidates = by_sequence.get(int(sequence), []) if isinstance(sequence, float | int) else []
            free = [index for index in candidates if index not in matched]
            if free:
                nearest = min(free, key=lambda index: abs(self.readings[index].at_ns - _time(row)))
                matched[nearest] = row
                continue
            count = sum(point != _SEQUENCE for point in values)
            if candidates:
                self.family.duplicated += count
                self.family.note(f"{self.device}: sequence {sequence:g} is stored again at {_time(row)}")
            else:
                self.family.altered += count
                self.family.note(f"{self.device}: row at {_time(row)} with sequence {sequence} was never said")
        return matched

    def _compare(self, reading: Reading, row: Row) -> None:
        family = self.family
        values = _values(row)
        strangers = values.keys() - reading.values.keys() - {_SEQUENCE}
        family.altered += len(strangers)
        for point in sorted(strangers):
            family.note(f"{self.device}/{point}: sequence {reading.sequence} never said it")
        wrong = None
        if not -EARLY_NS <= _time(row) - reading.at_ns <= LATE_NS:
            wrong = f"stored with time {_time(row)}, said at {reading.at_ns}"
        elif row.get("room") != reading.room:
            wrong = f"stored in room {row.get('room')!r}, said in {reading.room!r}"
        elif row.get("simulated") is not True:
            wrong = "not marked as simulated"
        for point, value in reading.values.items():
            if point not in values:
                self._point_absent(reading, row, point, value)
            elif wrong or not math.isclose(values[point], value, rel_tol=SAME):
                family.altered += 1
                what = wrong or f"said {value!r}, stored {values[point]!r}"
                family.note(f"{self.device}/{point}: sequence {reading.sequence}: {what}")
            else:
                family.stored += 1
            if point in values:
                self.last_stored[point] = (_time(row), values[point])

    def _point_absent(self, reading: Reading, row: Row, point: str, value: float) -> None:
        rule = self.conditions.rules.get((self.device, point))
        last = self.last_stored.get(point)
        if row.get(f"{point}_bad") is not None:
            self.family.bad += 1
            self.last_stored.pop(point, None)  # the next good value is news
        elif (
            rule is not None
            and last is not None
            and abs(value - last[1]) <= rule.deadband
            and _time(row) - last[0] < rule.at_least_every_s * SECOND_NS
        ):
            self.family.suppressed += 1
        else:
            self.family.lost += 1
            self.family.note(f"{self.device}/{point}: sequence {reading.sequence} is stored without it")

    def _absent(self, index: int, reading: Reading, matched: Mapping[int, Row]) -> None:
        family, conditions, count = self.family, self.conditions, len(reading.values)
        if reading.unheard or self._asked_again(index, matched):
            family.unobserved += count
        elif conditions.younger(reading.at_ns, window_ns=int(conditions.window_s * SECOND_NS)):
            family.younger_than_w += count
        elif conditions.away(reading.at_ns, reading.at_ns):
            family.unobserved += count
        elif self._failed(reading):
            family.bad += count
        else:
            family.lost += count
            family.note(f"{self.device}: sequence {reading.sequence}, said at {reading.at_ns}, is not stored")

    def _asked_again(self, index: int, matched: Mapping[int, Row]) -> bool:
        following = index + 1
        return following in matched and self.readings[following].at_ns - self.readings[index].at_ns < RETRY_NS

    def _failed(self, reading: Reading) -> bool:
        """Whether a row of nothing but bad points stands for this reading; each stands for `TRIES` at most."""
        for bad in self.bad_tries:
            if bad[1] > 0 and abs(bad[0] - reading.at_ns) <= BAD_NEAR_NS:
                bad[1] -= 1
                return True
        return False


def judge_attendance(taps: Iterable[Tap], rows: Iterable[Row], conditions: Conditions) -> Family:
    """Return what became of every tap."""
    family = Family()
    said: dict[tuple[str, str], list[Tap]] = defaultdict(list)
    for tap in taps:
        said[tap.device, tap.handle].append(tap)
    kept: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in rows:
        kept[str(row.get("device")), str(row.get("subject"))].append(row)
    closed = {tap.handle for series in said.values() for tap in series if tap.withheld}
    withheld: Counter[str] = Counter()
    for key in sorted(said.keys() | kept.keys()):
        if key[1] in closed and kept[key]:
            family.leaked += len(kept[key])
            family.note(f"{key[0]}: {len(kept[key])} rows of a person who did not consent")
        rest = _match_taps(said[key], [] if key[1] in closed else kept[key], conditions, family)
        for tap in rest:
            _tap_absent(tap, conditions, family, withheld)
    family.withheld = dict(sorted(withheld.items()))
    return family


def _match_taps(taps: Sequence[Tap], rows: Sequence[Row], conditions: Conditions, family: Family) -> list[Tap]:
    """Match the nearest in time first; judge the rows left over; return the taps left over."""
    family.said += len(taps)
    pairs = sorted(
        (abs(_time(row) - tap.at_ns), t, r)
        for t, tap in enumerate(taps)
        for r, row in enumerate(rows)
        if _in_time(tap, _time(row), conditions)
    )
    used_taps: set[int] = set()
    used_rows: set[int] = set()
    for _, t, r in pairs:
        if t in used_taps or r in used_rows:
            continue
        used_taps.add(t)
        used_rows.add(r)
        row = rows[r]
        if row.get("presence") is True and row.get("room") == taps[t].room and row.get("simulated") is True:
            family.stored += 1
        else:
            family.altered += 1
            family.note(f"{taps[t].device}: tap {taps[t].ordinal} is stored as {_described(row)}")
    for r, row in enumerate(rows):
        if r not in used_rows:
            near = any(_in_time(tap, _time(row), conditions) for tap in taps)
            family.duplicated += near
            family.altered += not near
            family.note(f"{row.get('device')}: {'one more row for a tap' if near else 'row of no tap'} at {_time(row)}")
    return [tap for t, tap in enumerate(taps) if t not in used_taps]


def _in_time(tap: Tap, time_ns: int, conditions: Conditions) -> bool:
    if -EARLY_NS <= time_ns - tap.at_ns <= LATE_NS:
        return True
    # The agent came back while the card still lay there: the event begins when it was seen again.
    return tap.at_ns < time_ns <= tap.until_ns + LATE_NS and conditions.away(tap.at_ns, tap.until_ns)


def _tap_absent(tap: Tap, conditions: Conditions, family: Family, withheld: Counter[str]) -> None:
    if tap.unheard:
        family.unobserved += 1
    elif conditions.younger(tap.confirmed_ns, window_ns=EVENT_SAFE_NS):
        family.younger_than_w += 1
    elif conditions.away(tap.confirmed_ns, tap.confirmed_ns):
        family.unobserved += 1
    elif tap.withheld:
        withheld[tap.withheld] += 1
    else:
        family.lost += 1
        family.note(f"{tap.device}: tap {tap.ordinal} of one card, confirmed at {tap.confirmed_ns}, is not stored")


def _time(row: Row) -> int:
    return int(row["time_ns"])


def _values(row: Row) -> dict[str, Any]:
    return {
        name: value
        for name, value in row.items()
        if value is not None and name not in _TAGS and name not in _EXTRA and not name.endswith("_bad")
    }


def _described(row: Row) -> str:
    return f"room {row.get('room')!r}, presence {row.get('presence')!r}, simulated {row.get('simulated')!r}"
