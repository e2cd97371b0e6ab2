"""Bands, truth against store: matched by (radio, handle, number of the reading), and counted in readings.

A band's energy is its counter of readings, so the number is taken from the stored row itself.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Final

from simulators.demo.scene import UNBOUND
from simulators.demo.verdict import AWAY, PLUG, SAME, UNHEARD, Family, points, row_time, wrongly_kept
from simulators.demo.verdict_bands_seen import judge_bands_seen

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from simulators.demo.verdict import Beat, Conditions, Row

AIR_NS: Final = 50_000_000
"""An advert sent so shortly before the agent is told to stop may still be on its way to it."""
CLOSED: Final = "class_not_allowed"
"""The reason under which the gate keeps everything of a class without a rule."""
_ENERGY: Final = "energy"
_KJ_PER_KWH: Final = 3600
_WRAPS: Final = 0x10000


def judge_vitals(beats: Iterable[Beat], rows: Iterable[Row], conditions: Conditions, *, closed: bool = False) -> Family:
    """Return what became of every reading, and of the counts of bands. `closed`: the policy has no rule for them."""
    family = Family(closed=closed)
    said: dict[tuple[str, str], list[Beat]] = defaultdict(list)
    kept: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for beat in beats:
        said[beat.device, beat.handle].append(beat)
    seen: list[Row] = []
    for row in rows:
        if row.get("subject") is None:
            seen.append(row)
        else:
            kept[str(row.get("device")), str(row.get("subject"))].append(row)
    withheld: Counter[str] = Counter()
    for key in sorted(said.keys() | kept.keys()):
        mine = kept[key]
        if mine and (closed or any(beat.withheld for beat in said[key])):
            family.leaked += len(mine)
            family.note(f"{key[0]}: {len(mine)} rows of a band whose wearer did not consent")
            mine = []
        for beat in _match(said[key], mine, family):
            _absent(beat, conditions, family, withheld)
    family.withheld = dict(sorted(withheld.items()))
    judge_bands_seen([beat for series in said.values() for beat in series], seen, conditions, family)
    return family


def _match(beats: Sequence[Beat], rows: Sequence[Row], family: Family) -> list[Beat]:
    """Compare each row with the reading of its number, the nearest in time; return the readings left over."""
    family.said += len(beats)
    by_number: dict[int, list[int]] = defaultdict(list)
    for index, beat in enumerate(beats):
        by_number[beat.number % _WRAPS].append(index)
    matched: set[int] = set()
    for row in sorted(rows, key=row_time):
        number = _number(row)
        candidates = by_number.get(number, []) if number is not None else []
        free = [index for index in candidates if index not in matched]
        if free:
            nearest = min(free, key=lambda index: abs(beats[index].at_ns - row_time(row)))
            matched.add(nearest)
            _compare(beats[nearest], row, family)
        else:
            family.duplicated += bool(candidates)
            family.altered += not candidates
            what = "is stored again" if candidates else "was never said"
            family.note(f"{row.get('device')}: reading {number} of a band {what}, at {row_time(row)}")
    return [beat for index, beat in enumerate(beats) if index not in matched]


def _number(row: Row) -> int | None:
    """Return which reading the row says it is."""
    energy = row.get(_ENERGY)
    return round(energy * _KJ_PER_KWH) if isinstance(energy, float | int) and math.isfinite(energy) else None


def _compare(beat: Beat, row: Row, family: Family) -> None:
    stored = points(row)
    wrong = wrongly_kept(row, said_ns=beat.at_ns, room=beat.room)
    if wrong is None and stored.keys() != beat.values.keys():
        wrong = f"said {', '.join(sorted(beat.values))}, stored {', '.join(sorted(stored))}"
    for point, value in beat.values.items() if wrong is None else ():
        if not math.isclose(stored[point], value, rel_tol=SAME):
            wrong = f"said {point} {value!r}, stored {stored[point]!r}"
    if wrong is None:
        family.stored += 1
    else:
        family.altered += 1
        family.note(f"{beat.device}: reading {beat.number} of a band: {wrong}")


def _absent(beat: Beat, conditions: Conditions, family: Family, withheld: Counter[str]) -> None:
    reason = CLOSED if family.closed and beat.withheld != UNBOUND else beat.withheld
    if beat.unheard or conditions.unplugged(beat.device, beat.at_ns):
        family.excuse(UNHEARD if beat.unheard else PLUG)
        if reason and not beat.unheard:
            family.uncertain[reason] = family.uncertain.get(reason, 0) + 1
    elif conditions.younger(beat.at_ns, window_ns=conditions.window_ns):
        family.younger_than_w += 1
    elif conditions.gone(beat.at_ns, beat.at_ns + AIR_NS):
        family.excuse(AWAY)
    elif reason:
        withheld[reason] += 1
    else:
        family.lost += 1
        family.note(f"{beat.device}: reading {beat.number} of a band, said at {beat.at_ns}, is not stored")
