"""docs/benchmarks.md: the table of all figures and the plots, made anew between marks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from benchmarks import _plot

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from benchmarks._record import Record, Row

MARK: Final = "<!-- figures -->"
MARK_END: Final = "<!-- /figures -->"
_RATE: Final = "values/s"


def number(value: float | None) -> str:
    """Return a figure as a person reads it."""
    if value is None:
        return "-"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def write(record: Record, path: Path) -> None:
    """Write table and plots of a record between the marks of a Markdown file. Raises RuntimeError if it has none."""
    head, mark, rest = path.read_text(encoding="utf-8").partition(MARK)
    _, end, tail = rest.partition(MARK_END)
    if not end:
        raise RuntimeError(f"{path} has no {MARK} … {MARK_END}")
    pictures = path.parent / "images" / "benchmarks"
    pictures.mkdir(parents=True, exist_ok=True)
    shown = []
    for name, (title, draw) in _PLOTS.items():
        drawn = draw(title, record.rows)
        if drawn is None:
            (pictures / f"{name}.svg").unlink(missing_ok=True)
            continue
        (pictures / f"{name}.svg").write_text(drawn, encoding="utf-8")
        shown += [f"![{title}](images/benchmarks/{name}.svg)", ""]
    machine = record.machine
    made = (
        f"Made on {record.made} on {machine['cores']} cores of {machine['processor']}, {machine['memory']},"
        f" {machine['system']}, Python {machine['python']}; calibration {record.calibration:,.0f} loops/s."
    )
    lines = [mark, "", made, "", *shown, *_table(record.rows), end]
    path.write_text(head + "\n".join(lines) + tail, encoding="utf-8")


def _table(rows: Sequence[Row]) -> list[str]:
    lines = [
        "| what | figure | spread | unit | held against | ratio | asked |",
        "|---|---:|---:|---|---:|---:|---:|",
    ]
    for row in rows:
        spread = "-" if row.spread is None else f"{100 * row.spread:.0f} %"
        asked = None if row.ratio is None else row.at_least
        cells = (number(row.figure), spread, row.unit, number(row.limit), number(row.ratio), number(asked))
        lines.append(f"| {row.name} | {' | '.join(cells)} |")
    return lines


def _margins(title: str, rows: Sequence[Row]) -> str | None:
    bars = [
        (f"{row.name}", row.ratio / row.at_least, not row.missed)
        for row in rows
        if row.ratio is not None and row.at_least > 0
    ]
    bars.sort(key=lambda bar: bar[1])
    return _plot.bars(title, bars, mark="asked") if bars else None


def _rates(title: str, rows: Sequence[Row]) -> str | None:
    found: list[tuple[str, float, float | None]] = []
    for row in rows:
        if row.unit != _RATE or not row.benchmark.startswith(("ingest", "whole_path")):
            continue
        asked = None if row.limit is None else row.limit * row.at_least
        found.append((row.name, row.figure, asked))
    return _plot.amounts(title, found, unit="values a second") if found else None


def _latency(title: str, rows: Sequence[Row]) -> str | None:
    row = next((row for row in rows if row.curve), None)
    if row is None:
        return None
    names = {"x_name": f"percentile ({row.name.partition(':')[0]})", "y_name": row.unit}
    return _plot.curve(title, row.curve, asked=row.limit, **names)


_PLOTS: Final[dict[str, tuple[str, Callable[[str, Sequence[Row]], str | None]]]] = {
    "margins": ("How far each figure is from what is asked (1 = just reached)", _margins),
    "rates": ("Rates of the ingest and of the whole path", _rates),
    "gateways": ("Batch closed to stored, many gateways", _latency),
}
