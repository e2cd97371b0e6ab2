"""What got slower: a record beside the baseline, figure by figure.

Another machine, or the same one on a bad day, is not slower code: figures of speed are divided by how fast the machine
was (`calibration`), figures whose limit was measured in the same run are compared as shares of it. A change counts
only if the medians differ by more than the threshold and no repeat of one side reaches a repeat of the other.
"""

from __future__ import annotations

import statistics
from enum import StrEnum
from typing import TYPE_CHECKING, Final

import msgspec
from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks._record import Record, Row

THRESHOLD: Final = 0.15
_NOTHING: Final = 0.01
"""Of the limit: a smaller change is none, since 0.02 MB a day after 0.01 of 5 is no news."""


class Verdict(StrEnum):
    """What became of a figure."""

    SAME = "same"
    SLOWER = "slower"
    FASTER = "faster"
    NOISY = "noisy"
    """The medians differ, the repeats overlap: measure again, on a quiet machine."""
    NEW = "new"
    GONE = "gone"


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """One figure of both sides; `change` is how much worse it got, as a part of the baseline."""

    name: str
    unit: str
    verdict: Verdict
    before: float | None = None
    """In the terms of the present machine."""
    now: float | None = None
    change: float | None = None
    spread: float | None = None


def compare(record: Record, baseline: Record, *, threshold: float = THRESHOLD) -> list[Change]:
    """Return all changes. What the record did not run at all is left out."""
    speed = record.calibration / baseline.calibration
    ran = {row.benchmark for row in record.rows}
    before = {(row.benchmark, row.name): row for row in baseline.rows if row.benchmark in ran}
    changes = []
    for row in record.rows:
        old = before.pop((row.benchmark, row.name), None)
        if old is None:
            changes.append(Change(name=row.name, unit=row.unit, verdict=Verdict.NEW, now=row.figure, spread=row.spread))
        else:
            changes.append(_change(row, old, speed, threshold))
    gone = [Change(name=old.name, unit=old.unit, verdict=Verdict.GONE, before=old.figure) for old in before.values()]
    return changes + gone


def _change(row: Row, old: Row, speed: float, threshold: float) -> Change:
    by_ratio = row.compare == "ratio" and bool(row.ratios) and bool(old.ratios)
    more = True if by_ratio else row.more
    now = row.ratios if by_ratio else row.figures
    factor = (speed if more else 1 / speed) if row.compare == "speed" else 1.0
    then = old.ratios if by_ratio else [figure * factor for figure in old.figures]
    middle_now, middle_then = statistics.median(now), statistics.median(then)
    worse = (middle_then - middle_now if more else middle_now - middle_then) / (abs(middle_then) or 1.0)
    small = not by_ratio and row.limit is not None and abs(middle_now - middle_then) < _NOTHING * abs(row.limit)
    apart = min(now) > max(then) or max(now) < min(then)
    verdict = Verdict.SAME
    if abs(worse) > threshold and not small:
        verdict = (Verdict.SLOWER if worse > 0 else Verdict.FASTER) if apart else Verdict.NOISY
    unit = "of its limit" if by_ratio else row.unit
    spread = (max(now) - min(now)) / abs(middle_now) if len(now) > 1 and middle_now else None
    return Change(
        name=row.name, unit=unit, verdict=verdict, before=middle_then, now=middle_now, change=worse, spread=spread
    )


def failed(changes: Sequence[Change]) -> bool:
    """Tell whether anything got slower, or is not measured any more."""
    return any(change.verdict in (Verdict.SLOWER, Verdict.GONE) for change in changes)


_STYLES: Final = {Verdict.SLOWER: "red", Verdict.GONE: "red", Verdict.FASTER: "green", Verdict.NOISY: "yellow"}


def table(changes: Sequence[Change], record: Record, baseline: Record) -> Table:
    """Return the comparison as a person reads it."""
    speed = record.calibration / baseline.calibration
    title = f"against the baseline of {baseline.made}; this machine was {speed:.2f} times as fast"
    shown = Table("name", "figure", "unit", "baseline, here", "worse by", "spread", "verdict", title=title)
    for column in (1, 3, 4, 5):
        shown.columns[column].justify = "right"
    for change in changes:
        cells = (_number(change.now), change.unit, _number(change.before), _percent(change.change, sign="+"))
        shown.add_row(
            change.name, *cells, _percent(change.spread), str(change.verdict), style=_STYLES.get(change.verdict)
        )
    return shown


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _percent(value: float | None, *, sign: str = "") -> str:
    return "-" if value is None else f"{100 * value:{sign}.0f} %"
