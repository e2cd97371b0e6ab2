"""What a run of the benchmarks leaves: each figure with all its repeats, the machine, and how fast that machine was."""

from __future__ import annotations

import os
import platform
import statistics
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

if TYPE_CHECKING:
    from collections.abc import Collection

SCHEMA: Final = "campus.benchmarks/1"
KEYS: Final = frozenset({"name", "figure", "unit", "limit", "ratio"})
OPTIONAL: Final = frozenset({"at_least", "compare", "curve"})
COMPARES: Final = ("speed", "figure", "ratio")
_SPEEDS: Final = frozenset({"values/s", "µs", "% of a core"})
"""Units of what a faster core does better; other figures are compared as they are, unless their row says otherwise."""
_MORE_IS_BETTER: Final = frozenset({"values/s", "samples", "%"})
_CALIBRATION_ROUNDS: Final = 5
_CALIBRATION_LOOPS: Final = 60


class Row(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One figure of one benchmark, over its repeats."""

    benchmark: str
    name: str
    unit: str
    figures: list[float]
    """One a repeat."""
    limits: list[float] = []
    ratios: list[float] = []
    at_least: float = 1.0
    compare: str = "figure"
    """`speed`: as the figure of a machine as fast as the baseline's; `figure`: as it is; `ratio`: to its own limit."""
    more: bool = False
    """More is better."""
    curve: list[list[float]] = []

    @property
    def figure(self) -> float:
        """The median of the repeats."""
        return statistics.median(self.figures)

    @property
    def limit(self) -> float | None:
        """What it is held against: the median of what each repeat measured or asked for."""
        return statistics.median(self.limits) if self.limits else None

    @property
    def ratio(self) -> float | None:
        """The median of the ratios; 1 and more is within the limit."""
        return statistics.median(self.ratios) if self.ratios else None

    @property
    def spread(self) -> float | None:
        """From the least to the most of the repeats, as a part of the median; none with a single one."""
        if len(self.figures) < 2 or not self.figure:
            return None
        return (max(self.figures) - min(self.figures)) / abs(self.figure)

    @property
    def missed(self) -> bool:
        """Whether it misses what is asked for."""
        return self.ratio is not None and self.ratio < self.at_least


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """One run on one machine."""

    schema: str
    made: str
    machine: dict[str, str]
    calibration: float
    """Loops of a fixed piece of work a second, on one core: how fast this machine was while it measured."""
    rows: list[Row]


def to_rows(benchmark: str, repeats: list[list[dict[str, Any]]]) -> list[Row]:
    """Return the rows of a benchmark's repeats. Raises ValueError if these do not have the same figures."""
    names = [figure["name"] for figure in repeats[0]]
    rows = []
    for index, name in enumerate(names):
        same = [figures[index] for figures in repeats if index < len(figures) and figures[index]["name"] == name]
        if len(same) < len(repeats):
            raise ValueError(f"{name!r} is not in every repeat: a figure's name must not hold what was measured")
        first = same[0]
        limited = first["limit"] is not None
        figure, limit, ratio = first["figure"], first["limit"], first["ratio"]
        more = (ratio >= 1) == (figure >= limit) if limited and figure != limit else first["unit"] in _MORE_IS_BETTER
        rows.append(
            Row(
                benchmark=benchmark,
                name=name,
                unit=first["unit"],
                figures=[float(one["figure"]) for one in same],
                limits=[float(one["limit"]) for one in same] if limited else [],
                ratios=[float(one["ratio"]) for one in same] if limited else [],
                at_least=float(first.get("at_least", 1)),
                compare=first.get("compare", "speed" if first["unit"] in _SPEEDS else "figure"),
                more=more,
                curve=first.get("curve", []),
            )
        )
    return rows


def completed(fresh: Record, before: Record, *, without: Collection[str] = ()) -> Record:
    """Return `fresh` with the rows that only `before` has. Raises ValueError if that was on another machine."""
    if fresh.machine != before.machine:
        raise ValueError(f"the last figures are another machine's ({before.machine}): measure all of them")
    again = {row.benchmark for row in fresh.rows} | set(without)
    rows = [*fresh.rows, *(row for row in before.rows if row.benchmark not in again)]
    return msgspec.structs.replace(fresh, rows=sorted(rows, key=lambda row: row.benchmark))


def checked(figures: object) -> list[dict[str, Any]]:
    """Return the figures of one benchmark. Raises ValueError if one has not the keys it must have."""
    if not isinstance(figures, list) or not figures:
        raise ValueError("run() must return a list of at least one figure")
    for figure in figures:
        if not isinstance(figure, dict) or set(figure) - OPTIONAL != KEYS:
            raise ValueError(f"a figure needs exactly the keys {', '.join(sorted(KEYS))}: {figure}")
        if figure.get("compare", "figure") not in COMPARES:
            raise ValueError(f"compare is one of {', '.join(COMPARES)}: {figure}")
    return figures


def calibrate() -> float:
    """Return how often a second one core does a fixed piece of work: the best of several rounds."""
    document = {f"point_{number}": number / 7 for number in range(200)}

    def work() -> None:
        for _ in range(_CALIBRATION_LOOPS):
            read = msgspec.json.decode(msgspec.json.encode(document))
            ",".join([f"{name}={value!r}" for name, value in read.items()]).encode()

    best = float("inf")
    for _ in range(_CALIBRATION_ROUNDS):
        started = time.process_time()
        work()
        best = min(best, time.process_time() - started)
    return _CALIBRATION_LOOPS / best


def machine() -> dict[str, str]:
    """Return what this machine is, without its name."""
    return {
        "processor": _first("/proc/cpuinfo", "model name") or platform.processor() or platform.machine(),
        "cores": str(len(os.sched_getaffinity(0))),
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 1e9:.0f} GB",
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
    }


def _first(path: str, key: str) -> str:
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(key)), "")


def load(path: Path) -> Record:
    """Return a record. Raises OSError, or ValueError naming what is wrong with the file."""
    try:
        record = msgspec.json.decode(path.read_bytes(), type=Record)
    except msgspec.DecodeError as error:
        raise ValueError(f"{path} is no record of a run: {error}") from error
    if record.schema != SCHEMA:
        raise ValueError(f"{path} has schema {record.schema!r}; this version reads {SCHEMA!r}")
    return record


def save(record: Record, path: Path) -> None:
    """Write a record."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.format(msgspec.json.encode(record), indent=1) + b"\n")
