"""The demo itself: a stage that ends with a report; README.md shows its use in a test."""

from __future__ import annotations

from typing import TYPE_CHECKING

from simulators.demo.finale import Finale
from simulators.demo.stage import Stage

if TYPE_CHECKING:
    from simulators.demo.report import Report


class Demo(Stage):
    """One run with its verdict: enter it to start, `finish` it for the report; leaving it ends every process."""

    async def finish(self) -> Report:
        """Stop the devices, let everything arrive, stop the rest, compare, search for leaks; return the report."""
        return await Finale(self).play()
