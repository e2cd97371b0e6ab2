"""Whose fault it was: a driver's own mistake costs its device some readings; a sink's is ours and is not hidden."""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import TYPE_CHECKING

from telemetry.errors import AuthError, DeviceUnavailable, ProtocolError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from edge_agent.collector.state import DeviceState
    from telemetry.sample import Sample


class Passing:
    """Passes a device's samples on, counts them, and remembers whether that failed."""

    def __init__(self, emit: Callable[[Sample], Awaitable[None]], state: DeviceState) -> None:
        self.failed = False
        self._emit = emit
        self._state = state

    async def __call__(self, sample: Sample) -> None:
        """Pass one sample on."""
        try:
            await self._emit(sample)
        except Exception:
            self.failed = True
            raise
        self._state.passed += 1


def expected(error: Exception) -> DeviceUnavailable | ProtocolError | AuthError:
    """Return `error` if drivers are meant to raise it; else a ProtocolError that says where the driver went wrong.

    Without the error's own text: it may hold what was read, a card's number for one, and this is logged and sent.
    """
    if isinstance(error, DeviceUnavailable | ProtocolError | AuthError):
        return error
    last = traceback.extract_tb(error.__traceback__)[-1:]
    where = "".join(f" in {Path(frame.filename).name}, line {frame.lineno}" for frame in last)
    return ProtocolError(f"the driver has a fault: {type(error).__name__}{where}")
