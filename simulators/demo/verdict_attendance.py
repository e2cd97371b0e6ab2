"""Card taps, truth against store: matched by (reader, handle, ordinal) in the order of time, and counted in events."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Final

from simulators.demo.verdict import AWAY, LATE_NS, PLUG, UNHEARD, Family, in_time, row_time

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from simulators.demo.verdict import Conditions, Row, Tap

EVENT_SAFE_NS: Final = 50_000_000
"""An event is on disk so long after it was complete."""
OPENING_NS: Final = 330_000_000
"""Who opens a port throws away what lies in it, at once or 200 ms later; a card needs two frames (65 ms each) then."""
LAY_THERE_NS: Final = 30_000_000_000
"""The agent's own rule: a card seen in the first second of an opening lay there before if it came at most 30 s ago."""
FIRST_SECOND_NS: Final = 1_500_000_000
"""The second, by the reader's clock: the agent begins to listen a moment after it has opened the port."""
MERGED: Final = "taken for a card that still lay there"


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
        stored = [tap for tap in said[key] if tap not in rest]
        for tap in rest:
            _tap_absent(tap, stored, conditions, family, withheld)
    family.withheld = dict(sorted(withheld.items()))
    return family


def _match_taps(taps: Sequence[Tap], rows: Sequence[Row], conditions: Conditions, family: Family) -> list[Tap]:
    """Match the nearest in time first; judge the rows left over; return the taps left over."""
    family.said += len(taps)
    pairs = sorted(
        (abs(row_time(row) - tap.at_ns), t, r)
        for t, tap in enumerate(taps)
        for r, row in enumerate(rows)
        if _in_time(tap, row_time(row), conditions)
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
            near = any(_in_time(tap, row_time(row), conditions) for tap in taps)
            family.duplicated += near
            family.altered += not near
            family.note(
                f"{row.get('device')}: {'one more row for a tap' if near else 'row of no tap'} at {row_time(row)}"
            )
    return [tap for t, tap in enumerate(taps) if t not in used_taps]


def _in_time(tap: Tap, time_ns: int, conditions: Conditions) -> bool:
    if in_time(time_ns, tap.at_ns):
        return True
    # The agent came back while the card still lay there: the event begins when it was seen again.
    return tap.at_ns < time_ns <= tap.until_ns + LATE_NS and conditions.away(tap.at_ns, tap.until_ns)


def _merged(tap: Tap, stored: Iterable[Tap]) -> bool:
    """Whether the agent may take the tap for the rest of one that it has stored."""
    if tap.opened_ns is None or tap.at_ns - tap.opened_ns > FIRST_SECOND_NS:
        return False
    return any(0 < tap.at_ns - before.at_ns <= LAY_THERE_NS for before in stored)


def _tap_absent(
    tap: Tap, stored: Iterable[Tap], conditions: Conditions, family: Family, withheld: Counter[str]
) -> None:
    missed = tap.opened_ns is not None and tap.until_ns - tap.opened_ns < OPENING_NS
    if tap.unheard or missed or conditions.unplugged(tap.device, tap.confirmed_ns):
        family.excuse(UNHEARD if tap.unheard or missed else PLUG)
        if tap.withheld:
            family.uncertain[tap.withheld] = family.uncertain.get(tap.withheld, 0) + 1
    elif conditions.younger(tap.confirmed_ns, window_ns=EVENT_SAFE_NS):
        family.younger_than_w += 1
    elif conditions.gone(tap.confirmed_ns, tap.confirmed_ns):
        family.excuse(AWAY)
    elif tap.withheld:
        withheld[tap.withheld] += 1
    elif _merged(tap, stored):
        family.excuse(MERGED)
    else:
        family.lost += 1
        family.note(f"{tap.device}: tap {tap.ordinal} of one card, confirmed at {tap.confirmed_ns}, is not stored")


def _described(row: Row) -> str:
    return f"room {row.get('room')!r}, presence {row.get('presence')!r}, simulated {row.get('simulated')!r}"
