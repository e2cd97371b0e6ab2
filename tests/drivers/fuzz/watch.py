"""What every fuzz run keeps an eye on: each case ends in time, memory stays flat, some were good and some bad."""

from __future__ import annotations

import os
import secrets
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.drivers.fuzz.mutate import Mutator

if TYPE_CHECKING:
    from collections.abc import Iterator

SHORT, LONG = 2_500, 115_000
"""Cases a target: nine targets make 20,000 in `make test` and a million in `make test-long`."""
SIZES = pytest.mark.parametrize(
    "cases", [SHORT, pytest.param(LONG, marks=[pytest.mark.long, pytest.mark.timeout(1200)])]
)
SEED_VARIABLE = "CAMPUS_FUZZ_SEED"
CASE_S = 1.0
"""CPU time; a case takes some 0.1 ms."""
GROWN_MB = 8.0
WARM = 0.2
"""After so much of a run everything that is kept for good is there."""


def _resident_mb() -> float:
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


class Watch:
    """One run; iterate over `numbers` and do one case for each."""

    def __init__(self, target: str, cases: int) -> None:
        wanted = os.environ.get(SEED_VARIABLE)
        # What lands must not hang on luck; the long run looks where nobody has looked yet.
        self.seed = int(wanted) if wanted else 7 if cases == SHORT else secrets.randbelow(10**9)
        self.mutator = Mutator(self.seed)
        self.cases = cases
        self.taken = 0
        """How many cases gave a value."""
        self._target = target

    def numbers(self) -> Iterator[int]:
        """Yield the cases' numbers. Fails, with what repeats it, on a case that is slow or memory that grows."""
        print(f"{self._target}: {self.cases} cases, {SEED_VARIABLE}={self.seed}")  # noqa: T201 - shown when it fails
        warm_mb = 0.0
        for number in range(self.cases):
            if number == int(WARM * self.cases):
                warm_mb = _resident_mb()
            began = time.process_time()
            yield number
            took = time.process_time() - began
            assert took < CASE_S, f"case {number} took {took:.2f} s; {SEED_VARIABLE}={self.seed}"
        grown = _resident_mb() - warm_mb
        assert grown < GROWN_MB, f"memory grew by {grown:.1f} MB; {SEED_VARIABLE}={self.seed}"

    def shares(self, *, least: float = 0.05, most: float = 0.9) -> None:
        """Fail unless some cases gave a value and some none: else nothing was tried."""
        print(f"{self._target}: {self.taken} of {self.cases} gave values")  # noqa: T201
        assert least * self.cases < self.taken < most * self.cases
