"""Seeded damage to byte streams: what noise, cut cables, late replies and hostile devices make of good frames."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

SPECIAL = bytes((0x00, 0x01, 0x02, 0x03, 0x0A, 0x0D, 0x20, 0x2D, 0x30, 0x3A, 0x7F, 0x80, 0x81, 0xFE, 0xFF))
GOOD_SHARE = 0.15
"""So many streams are left as they are: a decoder that refuses everything must fail too."""
MOST = 4


class Mutator:
    """All damage of one run, from its seed; `good` are streams to take pieces from."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)  # noqa: S311 - noise, repeatable
        self.whole = 0
        """How many streams were left as they were."""

    def stream(self, data: bytes, others: Sequence[bytes] = ()) -> bytes:
        """Return `data`, damaged in one to four ways or not at all."""
        if self.random.random() < GOOD_SHARE:
            self.whole += 1
            return data
        for _ in range(1 + self.random.randrange(MOST)):
            data = self.random.choice(KINDS)(self.random, data, others)
        return data

    def pieces(self, data: bytes, most: int = 4) -> list[bytes]:
        """Return `data` cut into a few pieces, as it may arrive."""
        cuts = sorted(self.random.randrange(len(data) + 1) for _ in range(self.random.randrange(most)))
        return [data[start:end] for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True) if start < end]


def _span(random: Random, data: bytes, longest: int = 16) -> tuple[int, int]:
    start = random.randrange(len(data) + 1)
    return start, min(len(data), start + random.randrange(1, longest + 1))


def flipped(random: Random, data: bytes, _others: Sequence[bytes]) -> bytes:
    if not data:
        return data
    at = random.randrange(len(data))
    return data[:at] + bytes((data[at] ^ 1 << random.randrange(8),)) + data[at + 1 :]


def replaced(random: Random, data: bytes, _others: Sequence[bytes]) -> bytes:
    if not data:
        return data
    at = random.randrange(len(data))
    return data[:at] + bytes((random.choice(SPECIAL),)) + data[at + 1 :]


def cut_out(random: Random, data: bytes, _others: Sequence[bytes]) -> bytes:
    start, end = _span(random, data)
    return data[:start] + data[end:]


def truncated(random: Random, data: bytes, _others: Sequence[bytes]) -> bytes:
    at = random.randrange(len(data) + 1)
    return data[:at] if random.random() < 0.5 else data[at:]


def repeated(random: Random, data: bytes, _others: Sequence[bytes]) -> bytes:
    start, end = _span(random, data, max(1, len(data)))
    return data[:end] + data[start:end] * random.randrange(1, 4) + data[end:]


def junked(random: Random, data: bytes, _others: Sequence[bytes]) -> bytes:
    at = random.randrange(len(data) + 1)
    count = random.randrange(1, 12)
    junk = random.randbytes(count) if random.random() < 0.5 else bytes(random.choices(SPECIAL, k=count))
    return data[:at] + junk + data[at:]


def spliced(random: Random, data: bytes, others: Sequence[bytes]) -> bytes:
    other = random.choice(others) if others else data
    return data[: random.randrange(len(data) + 1)] + other[random.randrange(len(other) + 1) :]


def swapped(random: Random, data: bytes, _others: Sequence[bytes]) -> bytes:
    start, end = _span(random, data)
    middle = random.randrange(start, end + 1)
    return data[:start] + data[middle:end] + data[start:middle] + data[end:]


KINDS: tuple[Callable[[Random, bytes, Sequence[bytes]], bytes], ...] = (
    flipped, flipped, replaced, cut_out, truncated, repeated, junked, spliced, swapped,
)  # fmt: skip
