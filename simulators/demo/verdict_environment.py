"""Air, truth against store: matched by what was carried on the wire, (device, sequence), and counted in values.

The sequence itself is the key and is not counted.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Final

from simulators.demo.verdict import (
    AGAIN,
    ASKED_NS,
    AWAY,
    PLUG,
    SAME,
    SECOND_NS,
    UNHEARD,
    Family,
    in_time,
    points,
    row_time,
    wrongly_kept,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from simulators.demo.verdict import Conditions, Reading, Row

RETRY_NS: Final = 700_000_000
"""A reading asked for again within the driver's deadline: the newer one counts, the older nobody took."""
FAILED_NS: Final = 2 * SECOND_NS
"""A reading that fails has its bad row at most so long after the device spoke."""
CLOCK_NS: Final = 100_000_000
"""Device and gateway do not look at the clock at the same moment."""
TRIES: Final = 2
"""A reading that fails was asked for so many times."""
_SEQUENCE: Final = "sequence"


def judge_environment(readings: Iterable[Reading], rows: Iterable[Row], conditions: Conditions) -> Family:
    """Return what became of every value of `readings`. Rows of no reading count as duplicated or altered."""
    family = Family()
    said: dict[str, list[Reading]] = defaultdict(list)
    for reading in readings:
        said[reading.device].append(reading)
    kept: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        kept[str(row.get("device"))].append(row)
    failures = [row_time(row) for series in kept.values() for row in series if not points(row)]
    for device in sorted(said.keys() | kept.keys()):
        _Device(
            device, readings=said[device], rows=kept[device], conditions=conditions, family=family, failures=failures
        ).judge()
    return family


class _Device:
    """The readings and rows of one device."""

    def __init__(
        self,
        device: str,
        *,
        readings: list[Reading],
        rows: list[Row],
        conditions: Conditions,
        family: Family,
        failures: Sequence[int],
    ) -> None:
        self.device = device
        self.readings = sorted(readings, key=lambda reading: (reading.at_ns, reading.sequence))
        self.rows = sorted(rows, key=row_time)
        self.conditions = conditions
        self.family = family
        self.bad_tries = [[row_time(row), TRIES] for row in self.rows if not points(row)]
        self.failures = failures
        """Times of all rows of nothing but bad points, of any device."""
        self.last_stored: dict[str, tuple[int, float]] = {}
        self.told_anew: Counter[int] = Counter()
        """Sequence → how many rows are what it was told again, to a new process of the agent."""

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
            values = points(row)
            if not values:
                continue
            sequence = values.get(_SEQUENCE)
            candidates = by_sequence.get(int(sequence), []) if isinstance(sequence, float | int) else []
            free = [index for index in candidates if index not in matched]
            if free:
                nearest = min(free, key=lambda index: abs(self.readings[index].at_ns - row_time(row)))
                matched[nearest] = row
                continue
            count = sum(point != _SEQUENCE for point in values)
            if any(self._repeats(self.readings[index], row) for index in candidates):
                self.family.repeated += count
            elif candidates:
                self.family.duplicated += count
                self.family.note(f"{self.device}: sequence {sequence:g} is stored again at {row_time(row)}")
            else:
                self.family.altered += count
                self.family.note(f"{self.device}: row at {row_time(row)} with sequence {sequence} was never said")
        return matched

    def _told_anew(self, reading: Reading, row: Row) -> int | None:
        """Return when a standing sensor told the row to a new process of the agent, which knew no heartbeat."""
        for again_ns in reading.again_ns:
            lives = self.conditions.absences(reading.at_ns, again_ns)
            if in_time(row_time(row), again_ns) and self.told_anew[reading.sequence] < lives:
                self.told_anew[reading.sequence] += 1
                return again_ns
        return None

    def _repeats(self, reading: Reading, row: Row) -> bool:
        """Whether the row is a second one of the reading, and rightly so."""
        said = {_SEQUENCE: float(reading.sequence), **reading.values}
        if not all(_same(value, said.get(point)) for point, value in points(row).items()):
            return False
        said_ns = self._told_anew(reading, row)
        return said_ns is not None and wrongly_kept(row, said_ns=said_ns, room=reading.room) is None

    def _compare(self, reading: Reading, row: Row) -> None:
        family = self.family
        values = points(row)
        strangers = values.keys() - reading.values.keys() - {_SEQUENCE}
        family.altered += len(strangers)
        for point in sorted(strangers):
            family.note(f"{self.device}/{point}: sequence {reading.sequence} never said it")
        said_ns = reading.at_ns
        if not in_time(row_time(row), said_ns):  # the first telling may have gone with the process that heard it
            said_ns = self._told_anew(reading, row) or said_ns
        wrong = wrongly_kept(row, said_ns=said_ns, room=reading.room)
        for point, value in reading.values.items():
            if point not in values:
                self._point_absent(reading, row, point, value)
            elif wrong or not _same(values[point], value):
                family.altered += 1
                what = wrong or f"said {value!r}, stored {values[point]!r}"
                family.note(f"{self.device}/{point}: sequence {reading.sequence}: {what}")
            else:
                family.stored += 1
            if point in values:
                self.last_stored[point] = (row_time(row), values[point])

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
            and row_time(row) - last[0] < rule.at_least_every_s * SECOND_NS
        ):
            self.family.suppressed += 1
        else:
            self.family.lost += 1
            self.family.note(f"{self.device}/{point}: sequence {reading.sequence} is stored without it")

    def _absent(self, index: int, reading: Reading, matched: Mapping[int, Row]) -> None:
        family, conditions, count = self.family, self.conditions, len(reading.values)
        if reading.unheard:
            family.excuse(UNHEARD, count)
        elif conditions.unplugged(reading.device, reading.at_ns):
            family.excuse(PLUG, count)
        elif self._asked_again(index, matched):
            family.excuse(AGAIN, count)
        elif conditions.younger(reading.at_ns, window_ns=conditions.window_ns):
            family.younger_than_w += count
        elif conditions.away(reading.at_ns, reading.at_ns):
            family.excuse(AWAY, count)
        elif any(later > index for later in matched) and self._failed(reading):
            family.bad += count
        else:
            family.lost += count
            family.note(f"{self.device}: sequence {reading.sequence}, said at {reading.at_ns}, is not stored")

    def _asked_again(self, index: int, matched: Mapping[int, Row]) -> bool:
        following, at_ns = index + 1, self.readings[index].at_ns
        if following not in matched or self.readings[following].at_ns - at_ns >= RETRY_NS:
            return False
        # What another device on the bus says too late garbles this one's answer; its own reading is stored as bad then.
        late = any(-ASKED_NS <= failed_ns - at_ns <= CLOCK_NS for failed_ns in self.failures)
        return late or self.conditions.troubled(self.device, at_ns)

    def _failed(self, reading: Reading) -> bool:
        """Whether a row of nothing but bad points stands for this reading; each stands for `TRIES` at most."""
        for bad in self.bad_tries:
            if bad[1] > 0 and -CLOCK_NS <= bad[0] - reading.at_ns <= FAILED_NS:
                bad[1] -= 1
                return True
        return False


def _same(stored: float, said: float | None) -> bool:
    return said is not None and math.isclose(stored, said, rel_tol=SAME)
