"""The report: what a run showed, as data and as tables, and the rules that make its verdict red."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import msgspec
from rich.console import Group
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.console import RenderableType

    from simulators.demo.compare import Comparison
    from simulators.demo.leaks import Leak
    from simulators.demo.verdict import Family

SCHEMA = "campus.demo-report/1"
CATEGORIES = (
    "said", "stored", "lost", "duplicated", "altered", "leaked", "withheld", "suppressed", "unobserved", "bad",
    "younger_than_w",
)  # fmt: skip
_BROKEN = {"lost", "duplicated", "altered", "leaked"}
_FEW = 12
"""So many unobserved values are one or two readings: no share is asked of them."""
_EXAMPLES = 5


class ProcessReport(msgspec.Struct, kw_only=True):
    """What a process used: its peak memory and its CPU time, over all its lives."""

    rss_mb: float
    cpu_s: float


class Report(msgspec.Struct, kw_only=True):
    """One run; `verdict` is green only if `reasons` is empty."""

    schema: str = SCHEMA
    verdict: Literal["green", "red"] = "red"
    reasons: list[str] = []
    families: dict[str, dict[str, Any]]
    withheld: dict[str, int]
    """By reason, as the truth demands it."""
    withheld_by_agent: dict[str, int] | None
    """By reason, as the agent counted it; none if it was restarted meanwhile."""
    leaks: list[str] = []
    first_stored_s: float | None
    """From the start of the processes to the first acknowledged batch."""
    seconds: float
    leak_scan_s: float = 0.0
    processes: dict[str, ProcessReport]
    outages: list[str]
    store: str
    mqtt: str
    site: str
    seed: int
    sabotaged_batches: int | None
    simulated: bool = True

    def document(self) -> dict[str, Any]:
        """Return the report as JSON-ready data."""
        document: dict[str, Any] = msgspec.to_builtins(self)
        return document

    def encode(self) -> bytes:
        """Return the report as indented JSON."""
        return msgspec.json.format(msgspec.json.encode(self), indent=2) + b"\n"


def judge(report: Report, comparison: Comparison, leaks: Sequence[Leak], *, unobserved_share: float) -> None:
    """Add to `report` the reasons that make it red."""
    for name, family in comparison.families.items():
        report.reasons += _family_reasons(name, family, unobserved_share)
    uncertain = comparison.attendance.uncertain
    counted = report.withheld_by_agent
    if counted is not None and not _agree(report.withheld, counted, uncertain):
        unsure = f" (and perhaps {uncertain})" if uncertain else ""
        what = f"the agent counted {counted or 'nothing'}"
        report.reasons.append(f"withheld: by the truth {report.withheld or 'nothing'}{unsure}, but {what}")
    # A card is named by its place in the plan: a report that names the number would be a leak itself.
    report.leaks = [f"card {leak.card} as {leak.how} in {leak.where}" for leak in leaks]
    if leaks:
        examples = "; ".join(report.leaks[:_EXAMPLES])
        report.reasons.append(f"leaked: card numbers found {len(leaks)} times, such as {examples}")


def _agree(truth: Mapping[str, int], counted: Mapping[str, int], uncertain: Mapping[str, int]) -> bool:
    """Whether the agent's counts fit: each as the truth says, or more by what it may have heard or not."""
    return all(
        truth.get(reason, 0) <= counted.get(reason, 0) <= truth.get(reason, 0) + uncertain.get(reason, 0)
        for reason in truth.keys() | counted.keys()
    )


def _family_reasons(name: str, family: Family, unobserved_share: float) -> list[str]:
    reasons = [
        f"{name}: {count} {category}; {'; '.join(family.notes[:_EXAMPLES])}"
        for category, count in (
            ("lost", family.lost),
            ("duplicated", family.duplicated),
            ("altered", family.altered),
            ("leaked (rows of a person who refused)", family.leaked),
        )
        if count
    ]
    if not family.said:
        reasons.append(f"{name}: the devices said nothing")
    elif not family.stored:
        reasons.append(f"{name}: nothing is stored")
    limit = max(_FEW, unobserved_share * family.said)
    if family.unobserved > limit:
        reasons.append(f"{name}: {family.unobserved} of {family.said} unobserved, more than {limit:.0f}")
    return reasons


def tables(report: Report) -> RenderableType:
    """Return the report for a terminal."""
    families = Table(title="what became of what was said", title_justify="left")
    families.add_column("category")
    for name in report.families:
        families.add_column(f"{name} ({'events' if name == 'attendance' else 'values'})", justify="right")
    for category in CATEGORIES:
        counts = [_total(family[category]) for family in report.families.values()]
        style = "bold red" if category in _BROKEN and any(counts) else None
        families.add_row(category.replace("younger_than_w", "younger than W"), *map(str, counts), style=style)
    processes = Table(title="processes", title_justify="left")
    for column in ("process", "peak RSS, MB", "CPU, s"):
        processes.add_column(column, justify="left" if column == "process" else "right")
    for name, process in report.processes.items():
        processes.add_row(name, f"{process.rss_mb:.1f}", f"{process.cpu_s:.2f}")
    first = "never" if report.first_stored_s is None else f"after {report.first_stored_s:.1f} s"
    lines = Text(f"first value stored {first}; broker {report.mqtt}; seed {report.seed}\nstore {report.store}")
    if report.withheld:
        lines.append(f"\nwithheld: {', '.join(f'{reason} {count}' for reason, count in report.withheld.items())}")
    verdict = Text(f"verdict: {report.verdict}", style="bold green" if report.verdict == "green" else "bold red")
    for reason in report.reasons:
        verdict.append(f"\n  {reason}", style="red not bold")
    return Group(families, processes, lines, verdict)


def _total(count: Any) -> int:
    return sum(count.values()) if isinstance(count, dict) else int(count)
