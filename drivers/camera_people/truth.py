"""A CSV of what pictures truly show, pure: `file,count`, or `file,x,y,w,h` with one line for each person, in px."""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

COUNTS: Final = ("file", "count")
BOXES: Final = ("file", "x", "y", "w", "h")
MAX_PEOPLE: Final = 2000
Box = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Truth:
    """What one picture shows."""

    people: int
    boxes: tuple[Box, ...] = ()
    """Of each person or head: x, y, width, height; none if only the number is known."""


def parse_truth(text: str) -> tuple[dict[str, Truth], bool]:
    """Return file name → truth, and whether there are boxes; a picture without people is `file,0` or `file,,,,`.

    Raises ValueError that names the line.
    """
    lines = [[word.strip() for word in line] for line in csv.reader(text.removeprefix("\ufeff").splitlines())]
    rows = [(number, line) for number, line in enumerate(lines, 1) if any(line)]
    if not rows:
        raise ValueError("the file is empty: write file,count or file,x,y,w,h")
    width = len(rows[0][1])
    if tuple(word.lower() for word in rows[0][1]) in {COUNTS, BOXES}:
        rows = rows[1:]
    if width not in {len(COUNTS), len(BOXES)}:
        raise ValueError(f"line 1 has {width} columns: write file,count or file,x,y,w,h")
    boxed = width == len(BOXES)
    found: dict[str, Truth] = {}
    for number, line in rows:
        try:
            _add(found, line, boxed=boxed, width=width)
        except ValueError as error:
            raise ValueError(f"line {number}: {error}") from None
    return found, boxed


def _add(found: dict[str, Truth], line: Sequence[str], *, boxed: bool, width: int) -> None:
    if len(line) != width:
        raise ValueError(f"{len(line)} columns, not {width}")
    name = line[0]
    if not name or PurePath(name).is_absolute() or ".." in PurePath(name).parts:
        raise ValueError(f"{name!r} is no name of a file below the folder")
    if boxed:
        before = found.get(name, Truth(people=0)).boxes
        boxes = (*before, _box(line[1:])) if any(line[1:]) else before
        found[name] = Truth(people=len(boxes), boxes=boxes)
        return
    if name in found:
        raise ValueError(f"{name} stands there twice")
    if not line[1].isdecimal() or int(line[1]) > MAX_PEOPLE:
        raise ValueError(f"{line[1]!r} is no number of people")
    found[name] = Truth(people=int(line[1]))


def _box(words: Sequence[str]) -> Box:
    try:
        x, y, w, h = (float(word) for word in words)
    except ValueError:
        raise ValueError(f"{','.join(words)} holds what is no number") from None
    if not all(math.isfinite(side) for side in (x, y, w, h)) or w <= 0 or h <= 0:
        raise ValueError(f"{','.join(words)} is no box: x,y of the upper left corner, width and height in px")
    return x, y, w, h
