"""Cameras, truth against store, in values: rows are held against the worker's records, counts against what was there.

The agent counts nothing by itself, so a picture and its row have the same time, wherever its clock stood when it
booted; a reading that failed as a whole has a row of bad points soon after it, and one such row stands for all that
failed in the same period.
"""

from __future__ import annotations

import math
from collections import defaultdict
from typing import TYPE_CHECKING, Final

from simulators.demo.verdict import (
    AWAY,
    SAME,
    SECOND_NS,
    UNHEARD,
    Family,
    points,
    row_time,
    told,
    wrongly_kept,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from simulators.demo.verdict import Conditions, Look, Row, Shown

SAME_TIME_NS: Final = 50_000_000
"""As near to the truth as a time that was learned late must come."""
FAILED_BEFORE_NS: Final = 2 * SECOND_NS
FAILED_AFTER_NS: Final = 1 * SECOND_NS
"""A failed reading's row of bad points is at most so far from the record."""
ON_THE_WAY_NS: Final = 3 * SECOND_NS // 2
CLOCK_NS: Final = SECOND_NS // 5
"""A picture that is received shows what was to be seen at most so long before, or by clock so long after."""
PEOPLE: Final = "people"
_BAD: Final = "_bad"


def judge_occupancy(
    looks: Iterable[Look], shown: Iterable[Shown], rows: Iterable[Row], conditions: Conditions
) -> Family:
    """Return what became of every value that a camera's worker gave, and whether it was true."""
    family = Family()
    told_by: dict[str, list[Look]] = defaultdict(list)
    for look in looks:
        told_by[look.device].append(look)
    scenes: dict[str, list[Shown]] = defaultdict(list)
    for scene in shown:
        scenes[scene.device].append(scene)
    kept: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        kept[str(row.get("device"))].append(row)
    for device in sorted(told_by.keys() | kept.keys() | scenes.keys()):
        _Camera(device, _merged(kept[device]), conditions, family).judge(told_by[device], scenes[device])
    return family


def _merged(rows: Sequence[Row]) -> list[Row]:
    """Return the rows in the order of time; those of one time, which are of two classes, as one.

    Only if they agree about room and mark: else the one that is right would speak for the one that is not.
    """
    merged: dict[tuple[int, str, str], Row] = {}
    for row in rows:
        known = merged.setdefault((row_time(row), str(row.get("room")), str(row.get("simulated"))), {})
        known.update({name: value for name, value in row.items() if value is not None})
    return [merged[key] for key in sorted(merged)]


class _Camera:
    """The records and rows of one camera."""

    def __init__(self, device: str, rows: list[Row], conditions: Conditions, family: Family) -> None:
        self.device = device
        self.rows = rows
        self.conditions = conditions
        self.family = family
        self.left = dict(enumerate(rows))

    def judge(self, looks: Sequence[Look], scenes: Sequence[Shown]) -> None:
        ended_ns = max(self.conditions.ends.get(self.device, ()), default=None)
        for look in looks:
            if not look.picture and ended_ns is not None and look.at_ns >= ended_ns:
                continue  # a camera that has ended fails for ever: how long we wait for the rest says nothing of it
            self.family.said += len(look.values) + len(look.bad)
            if look.picture:
                self._picture(look)
                self._true(look, scenes)
            else:
                self._failed(look)
        for row in self.left.values():
            values = points(row)
            if values:
                self.family.altered += len(values)
                self.family.note(f"{self.device}: a row at {row_time(row)} of which no record tells")

    def _picture(self, look: Look) -> None:
        """Compare a record with the row of its time."""
        near = [(abs(row_time(row) - look.at_ns), index) for index, row in self.left.items()]
        distance, index = min(near, default=(SAME_TIME_NS, -1))
        if distance >= SAME_TIME_NS:
            self._absent(look, [*look.values, *look.bad])
            return
        row = self.left.pop(index)
        wrong = wrongly_kept(row, said_ns=look.at_ns, room=look.room)
        strangers = points(row).keys() - look.values.keys() - look.bad.keys()
        self.family.altered += len(strangers)
        for point in sorted(strangers):
            self.family.note(f"{self.device}/{point}: the record at {look.at_ns} never said it")
        for point, value in look.values.items():
            if point not in row:
                self._absent(look, [point])  # of the other class: they are stored apart
            elif wrong or not isinstance(row[point], float | int) or not math.isclose(row[point], value, rel_tol=SAME):
                self._altered(look, point, wrong or f"said {value!r}, stored {row[point]!r}")
            else:
                self.family.stored += 1
        for point, reason in look.bad.items():
            if point in row or row.get(f"{point}{_BAD}", reason) != reason or wrong:
                stored = row.get(point, row.get(f"{point}{_BAD}"))
                self._altered(look, point, wrong or f"said {reason}, stored {stored!r}")
            elif f"{point}{_BAD}" not in row:
                self._absent(look, [point])  # of the other class: they are stored apart
            else:
                self.family.bad += 1

    def _failed(self, look: Look) -> None:
        """Look for the row of bad points that stands for a reading that failed."""
        bad = {f"{point}{_BAD}": reason for point, reason in look.bad.items()}
        for index, row in enumerate(self.rows):
            near = -FAILED_BEFORE_NS <= row_time(row) - look.at_ns <= FAILED_AFTER_NS
            if near and not points(row) and all(row.get(name) == reason for name, reason in bad.items()):
                self.left.pop(index, None)
                self.family.bad += len(bad)
                return
        if "refused" in look.bad.values():
            # Asking again for a refused login may lock the account.
            self.family.excuse(UNHEARD, len(bad))
        else:
            self._absent(look, list(bad))

    def _true(self, look: Look, scenes: Sequence[Shown]) -> None:
        """Hold a count against what was in front of the camera; a wrong one is altered though it is stored as said."""
        count = look.values.get(PEOPLE)
        if count is None:
            return
        from_ns, until_ns = look.at_ns - ON_THE_WAY_NS, look.at_ns + CLOCK_NS
        possible = {
            told(scene.people)
            for scene in scenes
            if scene.fault is None and scene.from_ns <= until_ns and from_ns <= scene.until_ns
        }
        if count not in possible:
            seen = " or ".join(map(str, sorted(possible))) or "nothing that could be seen"
            self._altered(look, PEOPLE, f"counted {count:g}, there was {seen}")

    def _absent(self, look: Look, missing: Sequence[str]) -> None:
        if self.conditions.younger(look.at_ns, window_ns=self.conditions.window_ns):
            self.family.younger_than_w += len(missing)
        elif self.conditions.gone(look.at_ns, look.at_ns):
            self.family.excuse(AWAY, len(missing))
        else:
            self.family.lost += len(missing)
            self.family.note(f"{self.device}: of the record at {look.at_ns} {', '.join(missing)} is not stored")

    def _altered(self, look: Look, point: str, what: str) -> None:
        self.family.altered += 1
        self.family.note(f"{self.device}/{point} at {look.at_ns}: {what}")
