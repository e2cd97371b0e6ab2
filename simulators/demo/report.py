"""The report: what a run showed, as data and as tables, and the rules that make its verdict red."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import msgspec
from rich.console import Group
from rich.table import Table
from rich.text import Text

from simulators.demo.scene import ATTENDANCE, ENVIRONMENT, OCCUPANCY, UNBOUND, VITALS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from rich.console import RenderableType

    from simulators.demo.compare import Comparison
    from simulators.demo.leaks import Leak
    from simulators.demo.verdict import Family

SCHEMA = "campus.demo-report/1"
FIRST_STORED_S = 20.0
"""Something of each family is stored so soon after the start."""
CLASSES = {ATTENDANCE: "personal", VITALS: "sensitive"}
"""Family → class of what of it may be withheld."""
_GATE = "gate.withheld."
_UNBOUND_READINGS = ".unbound_readings"
_UNITS = {ENVIRONMENT: "values", OCCUPANCY: "values"}
CATEGORIES = (
    "said", "stored", "lost", "duplicated", "altered", "leaked", "withheld", "suppressed", "unobserved", "bad",
    "younger_than_w",
)  # fmt: skip
_BROKEN = {"lost", "duplicated", "altered", "leaked"}
_FEW = 12
"""So many unobserved or bad values are one or two readings: no share is asked of them."""
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
    """By class and reason, such as `personal.no_consent`, as the truth demands it; `unbound`: kept by the driver."""
    withheld_by_agent: dict[str, int] | None
    """The same, as the agent counted it; none if it was restarted or frozen meanwhile."""
    leaks: list[str] = []
    first_stored_s: float | None
    """From the start of the processes to the first acknowledged value of a family."""
    first_stored_by_family_s: dict[str, float | None]
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
        first_s = report.first_stored_by_family_s.get(name)
        if first_s is not None and first_s > FIRST_STORED_S:
            report.reasons.append(f"{name}: first stored after {first_s:.1f} s, later than {FIRST_STORED_S:g} s")
    report.reasons += [f"{device}: was not read any more before it was stopped" for device in comparison.silent]
    uncertain = withheld(comparison, lambda family: family.uncertain)
    counted = report.withheld_by_agent
    if counted is not None and not _agree(report.withheld, counted, uncertain):
        unsure = f" (and perhaps {uncertain})" if uncertain else ""
        what = f"the agent counted {counted or 'nothing'}"
        report.reasons.append(f"withheld: by the truth {report.withheld or 'nothing'}{unsure}, but {what}")
    # Named by its place in the plan: a report that names the number would be a leak itself.
    report.leaks = [f"{leak.who} as {leak.how} in {leak.where}" for leak in leaks]
    if leaks:
        examples = "; ".join(report.leaks[:_EXAMPLES])
        report.reasons.append(f"leaked: personal identifiers found {len(leaks)} times, such as {examples}")


def withheld(comparison: Comparison, counts: Callable[[Family], Mapping[str, int]]) -> dict[str, int]:
    """Return `counts` of all families by class and reason, as the agent's counters name them."""
    return {
        reason if reason == UNBOUND else f"{CLASSES[name]}.{reason}": count
        for name, family in comparison.families.items()
        for reason, count in counts(family).items()
    }


def withheld_by_agent(counters: Mapping[str, int]) -> dict[str, int]:
    """Return what the agent's counters say that it withheld of persons."""
    found = {
        name.removeprefix(_GATE): count
        for name, count in counters.items()
        if name.startswith(tuple(f"{_GATE}{data_class}." for data_class in CLASSES.values()))
    }
    unbound = sum(count for name, count in counters.items() if name.endswith(_UNBOUND_READINGS))
    return found | ({UNBOUND: unbound} if unbound else {})


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
            ("leaked (rows that must not be there)", family.leaked),
        )
        if count
    ]
    if not family.said:
        reasons.append(f"{name}: the devices said nothing")
    elif family.closed and not family.withheld:
        reasons.append(f"{name}: the policy has no rule for it, and nothing was withheld")
    elif not family.stored and not family.closed:
        reasons.append(f"{name}: nothing is stored")
    limit = max(_FEW, unobserved_share * family.said)
    reasons += [
        f"{name}: {count} of {family.said} {category}, more than {limit:.0f}"
        for category, count in (("unobserved", family.unobserved), ("bad", family.bad))
        if count > limit
    ]
    return reasons


def tables(report: Report) -> RenderableType:
    """Return the report for a terminal."""
    families = Table(title="what became of what was said", title_justify="left")
    families.add_column("category", no_wrap=True)
    for name in report.families:
        families.add_column(f"{name}\n({_UNITS.get(name, 'events')})", justify="right")
    for category in CATEGORIES:
        counts = [_total(family[category]) for family in report.families.values()]
        style = "bold red" if category in _BROKEN and any(counts) else None
        families.add_row(category.replace("younger_than_w", "younger than W"), *map(str, counts), style=style)
    processes = Table(title="processes", title_justify="left")
    for column in ("process", "peak RSS, MB", "CPU, s"):
        processes.add_column(column, justify="left" if column == "process" else "right")
    for name, process in report.processes.items():
        processes.add_row(name, f"{process.rss_mb:.1f}", f"{process.cpu_s:.2f}")
    firsts = (
        f"{name} {'never' if at is None else f'{at:.1f} s'}" for name, at in report.first_stored_by_family_s.items()
    )
    occupancy = report.families.get(OCCUPANCY)
    lines = Text(f"numbers of people that were told and true: {occupancy['truths']} different\n" if occupancy else "")
    lines.append(f"first stored: {', '.join(firsts)}; seed {report.seed}\nbroker {report.mqtt}; store {report.store}")
    if report.withheld:
        lines.append(f"\nwithheld: {', '.join(f'{reason} {count}' for reason, count in report.withheld.items())}")
    verdict = Text(f"verdict: {report.verdict}", style="bold green" if report.verdict == "green" else "bold red")
    for reason in report.reasons:
        verdict.append(f"\n  {reason}", style="red not bold")
    return Group(families, processes, lines, verdict)


def _total(count: Any) -> int:
    return sum(count.values()) if isinstance(count, dict) else int(count)
