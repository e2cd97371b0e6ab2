"""Run the benchmarks, each in a process of its own; print the figures and write benchmarks/results.json.

Usage: python -m benchmarks [--only NAME]…

A benchmark is a module here with `run() -> list[dict]`; each dict is one figure:

  name    what was measured, with what
  figure  the number, in `unit`
  limit   what it is held against, in the same unit: a budget, or what the bare machine does in the same run
  ratio   figure / limit where more is better, limit / figure where less is

and, not written to the file, `at_least`: the ratio that is asked for, 1 if the limit is a budget.
A benchmark that fails is reported, the others go on, and the exit code is 1; so it is for a ratio below `at_least`.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table

FOLDER: Final = Path(__file__).parent
ROOT: Final = FOLDER.parent
DEADLINE_S: Final = 600
MARK: Final = "<!-- figures -->"
MARK_END: Final = "<!-- /figures -->"
KEYS: Final = frozenset({"name", "figure", "unit", "limit", "ratio"})
# The figures go through a file: what a benchmark prints is for the reader.
_CHILD: Final = """
import importlib, json, sys
figures = importlib.import_module("benchmarks." + sys.argv[1]).run()
with open(sys.argv[2], "w", encoding="utf-8") as target:
    json.dump(figures, target)
"""


def names() -> list[str]:
    """Return the benchmarks there are; a leading underscore marks a helper module."""
    return sorted(path.stem for path in FOLDER.glob("*.py") if not path.stem.startswith("_"))


def checked(figures: object) -> list[dict[str, Any]]:
    """Return the figures of one benchmark. Raises ValueError if one has not the keys it must have."""
    if not isinstance(figures, list) or not figures:
        raise ValueError("run() must return a list of at least one figure")
    for figure in figures:
        if not isinstance(figure, dict) or set(figure) - {"at_least"} != KEYS:
            raise ValueError(f"a figure needs exactly the keys {', '.join(sorted(KEYS))}: {figure}")
    return figures


def run_one(name: str) -> list[dict[str, Any]]:
    """Return the figures of benchmark `name`, run in a fresh process. Raises RuntimeError naming why it has none."""
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
            return checked(json.loads(target.read_text(encoding="utf-8")))
        except (OSError, ValueError) as error:
            raise RuntimeError(str(error)) from error


def number(value: float | None) -> str:
    """Return a figure as a person reads it."""
    if value is None:
        return "-"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def asked(figure: dict[str, Any]) -> float | None:
    """Return the ratio that is asked for; none for a figure without a limit."""
    return None if figure["ratio"] is None else float(figure.get("at_least", 1))


def missed(figure: dict[str, Any]) -> bool:
    """Tell whether a figure misses what is asked for."""
    least = asked(figure)
    return least is not None and figure["ratio"] < least


def show(results: dict[str, list[dict[str, Any]]], console: Console) -> None:
    """Print the table of all figures."""
    table = Table("name", "figure", "unit", "limit", "ratio", "asked", title="benchmarks")
    for column in (1, 3, 4, 5):
        table.columns[column].justify = "right"
    for figures in results.values():
        for figure in figures:
            style = "red" if missed(figure) else None
            row = (figure["name"], number(figure["figure"]), figure["unit"], number(figure["limit"]))
            table.add_row(*row, number(figure["ratio"]), number(asked(figure)), style=style)
        table.add_section()
    console.print(table)


def document(results: dict[str, list[dict[str, Any]]], path: Path) -> None:
    """Write the table of all figures between the marks of a Markdown file."""
    rows = ["| what | figure | unit | held against | ratio | asked |", "|---|---:|---|---:|---:|---:|"]
    for figure in (figure for figures in results.values() for figure in figures):
        cells = (number(figure["figure"]), figure["unit"], number(figure["limit"]), number(figure["ratio"]))
        rows.append(f"| {figure['name']} | {' | '.join(cells)} | {number(asked(figure))} |")
    head, mark, rest = path.read_text(encoding="utf-8").partition(MARK)
    _, end, tail = rest.partition(MARK_END)
    if not end:
        raise RuntimeError(f"{path} has no {MARK} … {MARK_END}")
    path.write_text("\n".join((head + mark, *rows, end + tail)), encoding="utf-8")


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmarks; return 1 if one failed or missed its limit, 2 for a name that is none."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Run the benchmarks.")
    parser.add_argument("--only", action="append", metavar="NAME", help=f"one of: {', '.join(names())}")
    parser.add_argument("--output", type=Path, default=FOLDER / "results.json", help="where the figures are written")
    parser.add_argument("--document", type=Path, help="a Markdown file whose table is made anew")
    options = parser.parse_args(arguments)
    unknown = sorted(set(options.only or ()) - set(names()))
    if unknown:
        parser.error(f"no benchmark named {', '.join(unknown)}; there are: {', '.join(names())}")
    console = Console()
    results: dict[str, list[dict[str, Any]]] = {}
    failed: dict[str, str] = {}
    for name in options.only or names():
        console.print(f"running {name} …")
        try:
            results[name] = run_one(name)
        except RuntimeError as error:
            failed[name] = str(error)
    show(results, console)
    for name, why in failed.items():
        console.print(f"{name} failed: {why}", style="red", markup=False)
    listed = [{key: figure[key] for key in sorted(KEYS)} for figures in results.values() for figure in figures]
    options.output.write_text(json.dumps(listed, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    if options.document and not failed:
        document(results, options.document)
    short = [figure for figures in results.values() for figure in figures if missed(figure)]
    return 1 if failed or short else 0


if __name__ == "__main__":
    sys.exit(main())
