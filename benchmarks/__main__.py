"""Run the benchmarks, each in a process of its own; print the figures, keep them, say what got slower.

Usage: python -m benchmarks [run|compare|baseline] [--only NAME]… [--keep] [--repeat N] [--from FILE]

  run       measure; write benchmarks/results.json and, with every repeat, test-reports/benchmarks.json
  compare   the same, then print each figure beside benchmarks/baseline.json; exit code 1 if one got slower
  baseline  make the last run the baseline (all benchmarks must be in it)

A benchmark is a module here with `run() -> list[dict]`, see README.md. One that fails is reported, the others go on,
and the exit code is 1; so it is for a ratio below what is asked for.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from benchmarks import _compare, _document, _record
from benchmarks._record import Record, Row

FOLDER: Final = Path(__file__).parent
ROOT: Final = FOLDER.parent
BASELINE: Final = FOLDER / "baseline.json"
LAST: Final = ROOT / "test-reports" / "benchmarks.json"
DEADLINE_S: Final = 600
REPEATS: Final = 3
# The figures go through a file: what a benchmark prints is for the reader.
_CHILD: Final = """
import importlib, json, sys
from benchmarks._record import calibrate
speed = calibrate()
module = importlib.import_module("benchmarks." + sys.argv[1])
figures = module.run()
with open(sys.argv[2], "w", encoding="utf-8") as target:
    json.dump({"speed": speed, "repeats": getattr(module, "REPEATS", None), "figures": figures}, target)
"""


def names() -> list[str]:
    """Return the benchmarks there are; a leading underscore marks a helper module."""
    return sorted(path.stem for path in FOLDER.glob("*.py") if not path.stem.startswith("_"))


def run_one(name: str) -> dict[str, Any]:
    """Return what benchmark `name` says in a fresh process. Raises RuntimeError naming why it says nothing."""
    with tempfile.TemporaryDirectory(prefix="campus-bench-") as folder:
        target = Path(folder) / "figures.json"
        command = [sys.executable, "-c", _CHILD, name, str(target)]
        try:
            ended = subprocess.run(command, cwd=ROOT, timeout=DEADLINE_S, stdin=subprocess.DEVNULL, check=False)
        except subprocess.TimeoutExpired as error:
            raise RuntimeError(f"did not end within {DEADLINE_S} s") from error
        if ended.returncode:
            raise RuntimeError(f"ended with exit code {ended.returncode}")
        try:
            said: dict[str, Any] = json.loads(target.read_text(encoding="utf-8"))
            _record.checked(said["figures"])
        except (OSError, ValueError) as error:
            raise RuntimeError(str(error)) from error
        return said


def repeat(name: str, times: int | None) -> tuple[list[Row], list[float]]:
    """Return the rows of a benchmark over its repeats, and the machine's speed at each. Raises RuntimeError.

    A benchmark that measures for minutes says itself how often it is run (`REPEATS`), unless the caller does.
    """
    said = [run_one(name)]
    while len(said) < (times or said[0]["repeats"] or REPEATS):
        said.append(run_one(name))
    try:
        return _record.to_rows(name, [one["figures"] for one in said]), [one["speed"] for one in said]
    except ValueError as error:
        raise RuntimeError(str(error)) from error


def measure(chosen: list[str], times: int | None, console: Console) -> tuple[Record, dict[str, str]]:
    """Return the record of a run, and which benchmarks failed, with the reason."""
    rows: list[Row] = []
    speeds: list[float] = []
    failed: dict[str, str] = {}
    for name in chosen:
        console.print(f"running {name} …")
        try:
            found, fast = repeat(name, times)
        except RuntimeError as error:
            failed[name] = str(error)
        else:
            rows += found
            speeds += fast
    record = Record(
        schema=_record.SCHEMA,
        made=datetime.now(UTC).strftime("%Y-%m-%d"),
        machine=_record.machine(),
        calibration=statistics.median(speeds) if speeds else _record.calibrate(),
        rows=rows,
    )
    return record, failed


def show(record: Record, console: Console) -> None:
    """Print the table of all figures."""
    table = Table("name", "figure", "spread", "unit", "limit", "ratio", "asked", title="benchmarks")
    for column in (1, 2, 4, 5, 6):
        table.columns[column].justify = "right"
    for index, row in enumerate(record.rows):
        spread = "-" if row.spread is None else f"{100 * row.spread:.0f} %"
        asked = None if row.ratio is None else row.at_least
        last = index + 1 == len(record.rows) or record.rows[index + 1].benchmark != row.benchmark
        cells = (_document.number(row.limit), _document.number(row.ratio), _document.number(asked))
        style = "red" if row.missed else None
        table.add_row(row.name, _document.number(row.figure), spread, row.unit, *cells, style=style, end_section=last)
    console.print(table)


def results(record: Record) -> list[dict[str, Any]]:
    """Return the figures as results.json has them."""
    return [{key: getattr(row, key) for key in sorted(_record.KEYS)} for row in record.rows]


def run(options: argparse.Namespace, console: Console) -> tuple[Record, int]:
    """Measure, print, write; return the record and the exit code."""
    record, failed = measure(options.only or names(), options.repeat, console)
    if options.keep and LAST.exists():
        record = _record.completed(record, _record.load(LAST), without=failed)
    show(record, console)
    for name, why in failed.items():
        console.print(f"{name} failed: {why}", style="red", markup=False)
    listed = json.dumps(results(record), indent=2, ensure_ascii=False) + "\n"
    options.output.write_text(listed, encoding="utf-8")
    _record.save(record, LAST)
    if options.document and not failed:
        _document.write(record, options.document)
    return record, 1 if failed or any(row.missed for row in record.rows) else 0


def compare(options: argparse.Namespace, console: Console) -> int:
    """Print what changed since the baseline; return 1 if something got slower."""
    baseline = _record.load(BASELINE)
    code = 0
    if options.source:
        record = _record.load(options.source)
    else:
        record, code = run(options, console)
    changes = _compare.compare(record, baseline, threshold=options.threshold / 100)
    console.print(_compare.table(changes, record, baseline))
    if record.machine != baseline.machine:
        console.print(f"another machine than the baseline's ({baseline.machine}): read disk and network with care")
    slower = _compare.failed(changes)
    console.print("something got slower" if slower else "nothing got slower", style="red" if slower else "green")
    return 1 if slower else code


def make_baseline(options: argparse.Namespace, console: Console) -> int:
    """Make a run the baseline; return 1 if a benchmark is not in it."""
    record = _record.load(options.source or LAST)
    absent = sorted(set(names()) - {row.benchmark for row in record.rows})
    if absent:
        console.print(f"not a whole run, {', '.join(absent)} missing: run `make bench` first", style="red")
        return 1
    _record.save(record, BASELINE)
    console.print(f"{BASELINE.name}: {len(record.rows)} figures of {record.made}")
    return 0


def main(arguments: list[str] | None = None) -> int:
    """Do what is asked; return 1 if a benchmark failed, missed its limit or got slower, 2 for wrong usage."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Run the benchmarks, or compare them.")
    parser.add_argument("command", nargs="?", choices=("run", "compare", "baseline"), default="run")
    parser.add_argument("--only", action="append", metavar="NAME", help=f"one of: {', '.join(names())}")
    parser.add_argument("--keep", action="store_true", help="keep the last figures of what is not measured now")
    parser.add_argument("--repeat", type=int, metavar="N", help="how often each is run; 3, or what it says itself")
    parser.add_argument("--output", type=Path, default=FOLDER / "results.json", help="where the figures are written")
    parser.add_argument("--document", type=Path, help="a Markdown file whose table and plots are made anew")
    parser.add_argument("--from", dest="source", type=Path, metavar="FILE", help="take this run, measure nothing")
    parser.add_argument(
        "--threshold", type=float, default=100 * _compare.THRESHOLD, metavar="PERCENT", help="a change above counts"
    )
    options = parser.parse_args(arguments)
    unknown = sorted(set(options.only or ()) - set(names()))
    if unknown:
        parser.error(f"no benchmark named {', '.join(unknown)}; there are: {', '.join(names())}")
    if options.repeat is not None and options.repeat < 1:
        parser.error("--repeat must be 1 or more")
    console = Console()
    try:
        if options.command == "compare":
            return compare(options, console)
        if options.command == "baseline":
            return make_baseline(options, console)
    except (OSError, ValueError) as error:
        parser.error(f"{error}; `make bench` and then `python -m benchmarks baseline` make a baseline")
    return run(options, console)[1]


if __name__ == "__main__":
    sys.exit(main())
