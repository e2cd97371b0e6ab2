"""The twenty pains: each is in the table, and has tests that bear its number, or waits for something that is named."""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
PAGE = ROOT / "docs" / "pains.md"
NUMBERS = range(1, 21)
STATES = {"done", "half", "waits"}


def rows(text: str) -> dict[int, list[str]]:
    """The rows of a table whose first column is a number."""
    cells = ([cell.strip() for cell in line.strip("| \n").split(" | ")] for line in text.splitlines())
    return {int(row[0]): row[1:] for row in cells if row[0].isdigit()}


PAINS, _, WAITING = PAGE.read_text(encoding="utf-8").partition("## Waiting")
TABLE, WAITS = rows(PAINS), rows(WAITING)


def named() -> dict[int, list[str]]:
    """Number → the tests that bear it."""
    found: dict[int, list[str]] = defaultdict(list)
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        text = path.read_text(encoding="utf-8")
        for name, number in re.findall(r"^(?:async )?def (test_pain_(\d+)_\w+)", text, re.MULTILINE):
            found[int(number)].append(name)
    return found


TESTS = named()


def test_the_table_has_all_twenty_and_says_what_waits() -> None:
    assert sorted(TABLE) == [*NUMBERS]
    assert all(len(row) == 4 and all(row) for row in TABLE.values())
    assert {row[-1] for row in TABLE.values()} <= STATES
    assert sorted(WAITS) == [number for number, row in TABLE.items() if row[-1] != "done"]
    assert all(len(row) == 2 and all(row) for row in WAITS.values())


@pytest.mark.parametrize("number", NUMBERS)
def test_each_has_a_test_that_bears_its_number_or_waits(number: int) -> None:
    assert TESTS[number] or TABLE[number][-1] == "waits", f"no test bears the number {number}"


def test_no_test_bears_a_number_that_is_none() -> None:
    assert set(TESTS) <= set(NUMBERS)
    wrong = [
        name
        for path in sorted((ROOT / "tests").rglob("test_*.py"))
        for name in re.findall(r"def (test_pain_\w+)", path.read_text(encoding="utf-8"))
        if not re.match(r"test_pain_\d\d_[a-z]", name)
    ]
    assert wrong == []
