"""Sets of batch numbers as inclusive ranges: `[1, 2, 3, 7]` is `[(1, 3), (7, 7)]`."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

Range = tuple[int, int]


def to_ranges(numbers: Iterable[int]) -> list[Range]:
    """Return `numbers` (any order, repeats allowed) as sorted, disjoint, inclusive ranges."""
    ranges: list[Range] = []
    for number in sorted(set(numbers)):
        if ranges and number == ranges[-1][1] + 1:
            ranges[-1] = (ranges[-1][0], number)
        else:
            ranges.append((number, number))
    return ranges


def covers(ranges: Sequence[Range], number: int) -> bool:
    """Tell whether `number` lies in one of `ranges`."""
    return any(first <= number <= last for first, last in ranges)


def numbers_in(ranges: Iterable[Range], *, among: Iterable[int]) -> Iterator[int]:
    """Yield those numbers of `among` that `ranges` cover; a hostile huge range costs nothing."""
    wanted = list(ranges)
    return (number for number in among if covers(wanted, number))


def merge(old: Iterable[Range], new: Iterable[Range]) -> list[Range]:
    """Return the union of two sets of ranges, sorted and disjoint."""
    merged: list[Range] = []
    for first, last in sorted([*old, *new]):
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(merged[-1][1], last))
        else:
            merged.append((first, last))
    return merged
