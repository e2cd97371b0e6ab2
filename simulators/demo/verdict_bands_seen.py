"""How many bands were heard, truth against store: each row's count is held against what the radio delivered."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from typing import TYPE_CHECKING, Final

from simulators.demo.verdict import SECOND_NS, points, row_time, told

if TYPE_CHECKING:
    from collections.abc import Sequence

    from simulators.demo.verdict import Beat, Conditions, Family, Row

EVERY_NS: Final = 10 * SECOND_NS
"""The driver tells so often how many it has heard in so long."""
SLACK_NS: Final = SECOND_NS // 2
"""Radio and gateway do not look at the clock at the same moment."""
LATE_NS: Final = 3 * SECOND_NS
"""So long before the end of a stretch a count may be on its way."""
SILENT_NS: Final = SECOND_NS
"""After a silence of so long the gateway may count anew."""
_POINT: Final = "bands_seen"


def judge_bands_seen(beats: Sequence[Beat], rows: Sequence[Row], conditions: Conditions, family: Family) -> None:
    """Add to `family` what became of the counts: right ones as aggregates, wrong ones, too many and too few."""
    if family.closed:
        family.leaked += len(rows)
        if rows:
            family.note(f"{len(rows)} counts of bands, for which the policy has no rule")
        return
    heard: dict[str, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    rooms = {}
    for beat in sorted(beats, key=lambda beat: beat.at_ns):
        rooms[beat.device] = beat.room
        if not beat.unheard and not conditions.away(beat.at_ns, beat.at_ns):
            heard[beat.device][beat.handle].append(beat.at_ns)
    kept: dict[str, list[Row]] = defaultdict(list)
    for row in sorted(rows, key=row_time):
        kept[str(row.get("device"))].append(row)
    for device in sorted(heard.keys() | kept.keys()):
        bands = list(heard[device].values())
        for row in _without_copies(device, kept[device], conditions, family):
            wrong = _wrong(row, bands, rooms.get(device))
            family.aggregates += wrong is None
            family.altered += wrong is not None
            if wrong is not None:
                family.note(f"{device}: bands_seen at {row_time(row)}: {wrong}")
        _count_missing(device, bands, kept[device], conditions, family)


def _without_copies(device: str, rows: Sequence[Row], conditions: Conditions, family: Family) -> list[Row]:
    """Return the rows without those that follow too soon, which are counted."""
    kept: list[Row] = []
    for row in rows:
        at_ns, last_ns = row_time(row), row_time(kept[-1]) if kept else 0
        if at_ns - last_ns < EVERY_NS - SLACK_NS and not conditions.away(last_ns, at_ns):
            family.duplicated += 1
            family.note(f"{device}: bands are counted again at {at_ns}, {(at_ns - last_ns) / 1e9:.3f} s later")
        else:
            kept.append(row)
    return kept


def _count_missing(
    device: str, bands: Sequence[Sequence[int]], rows: Sequence[Row], conditions: Conditions, family: Family
) -> None:
    for begin_ns, end_ns in _stretches(bands, conditions):
        wanted = (end_ns - begin_ns - LATE_NS) // EVERY_NS
        found = sum(begin_ns <= row_time(row) <= end_ns + LATE_NS for row in rows)
        if found < wanted:
            family.lost += wanted - found
            family.note(f"{device}: {found} counts of bands from {begin_ns} to {end_ns}, expected {wanted}")


def _wrong(row: Row, bands: Sequence[Sequence[int]], room: str | None) -> str | None:
    """Return what is wrong with a row; none if its count is one that the gateway can have made."""
    at_ns = row_time(row)
    least = sum(_any(series, at_ns - EVERY_NS + SLACK_NS, at_ns - SLACK_NS) for series in bands)
    most = sum(_any(series, at_ns - EVERY_NS - SLACK_NS, at_ns + SLACK_NS) for series in bands)
    values = points(row)
    if row.get("room") != room or row.get("simulated") is not True:
        return f"stored in room {row.get('room')!r}, simulated {row.get('simulated')!r}"
    if values.keys() != {_POINT}:
        return f"stored as {', '.join(sorted(values)) or 'nothing'}"
    if not told(least) <= values[_POINT] <= told(most) or values[_POINT] % 1:
        return f"{values[_POINT]:g} are stored, {told(least)} to {told(most)} were heard"
    return None


def _any(series: Sequence[int], from_ns: int, until_ns: int) -> bool:
    """Whether something in the ordered `series` lies between the two times."""
    return bisect_left(series, from_ns) < bisect_right(series, until_ns)


def _stretches(bands: Sequence[Sequence[int]], conditions: Conditions) -> list[tuple[int, int]]:
    """Return the stretches of time in which adverts came without a longer silence, to an agent that was there."""
    stretches: list[tuple[int, int]] = []
    for at_ns in sorted(at_ns for series in bands for at_ns in series):
        last_ns = stretches[-1][1] if stretches else 0
        broken = conditions.away(last_ns, at_ns) or conditions.closed(last_ns, at_ns)
        if at_ns - last_ns <= SILENT_NS and not broken:
            stretches[-1] = (stretches[-1][0], at_ns)
        else:
            stretches.append((at_ns, at_ns))
    return stretches
