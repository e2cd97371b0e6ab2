"""Cells, pure: a class is split so that subtracting what was told gives nothing finer than the mean of a whole cell."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

if TYPE_CHECKING:
    from collections.abc import Collection

MIN_GROUP: Final = 5
"""No policy goes below it: what is shown here is shown for 5."""
STEP: Final = 5
"""Numbers of pupils are told in such steps."""
_LABEL: Final = b"campus-cells/1"
_UNKNOWN: Final = 3
"""A told group has so many pupils more than `min_group`: who knows four of eight still faces four that he does not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """How many pupils a cell and a told mean need at least."""

    cell: int
    told: int

    @classmethod
    def of(cls, min_group: int) -> Self:
        """Return the sizes for a policy's `min_group`; 10 and 8 for its default of 5."""
        least = max(MIN_GROUP, min_group)
        return cls(cell=2 * least, told=least + _UNKNOWN)


def draw(members: Collection[str], *, size: int, key: bytes, group: str) -> tuple[frozenset[str], ...]:
    """Split `members` at random into cells of `size` or more, nearly equal; fewer than twice `size` are one cell.

    The draw hangs on `key` and on who the members are, on nothing else: the same list has the same cells in each
    lesson and after each restart. Drawn anew each time, cell means of many lessons would add up to single pupils.
    Another list is drawn afresh as a whole: cells that differ by one pupil would tell that pupil.
    """
    listed = sorted(set(members))
    salt = hashlib.sha256("\0".join((group, *listed)).encode()).digest()
    order = sorted(listed, key=lambda member: _lot(key, salt, member))
    count = max(1, len(order) // size)
    return tuple(frozenset(order[number::count]) for number in range(count))


def stepped(pupils: int) -> int:
    """Return `pupils` as it is told: the multiple of five at or below it."""
    return pupils // STEP * STEP


def _lot(key: bytes, salt: bytes, member: str) -> bytes:
    return hmac.new(key, b"\0".join((_LABEL, salt, member.encode())), hashlib.sha256).digest()
