"""Whose fault it was: a driver's own mistake costs its device some readings; a sink's is ours and is not hidden."""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import TYPE_CHECKING

from telemetry.errors import AuthError, DeviceUnavailable, ProtocolError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from telemetry.sample import Sample


class Passing:
    """Passes samples on and remembers whether that failed."""

    def __init__(self, emit: Callable[[Sample], Awaitable[None]]) -> None:
        self.failed = False
        self._emit = emit

    async def __call__(self, sample: Sample) -> None:
        """Pass one sample on."""
        try:
            await self._emit(sample)
        except Exception:
            self.failed = True
            raise


def expected(error: Exception) -> Exception:
    """Return `error` if drivers are meant to raise it; else a ProtocolError that says where the driver went wrong.

    Without the error's own text: it may hold what was read, a card's number for one, and this is logged and sent.
    """
    if isinstance(error, DeviceUnavailable | ProtocolError | AuthError):
        return error
    last = traceback.extract_tb(error.__traceback__)[-1:]
    where = "".join(f" in {Path(frame.filename).name}, line {frame.lineno}" for frame in last)
    return ProtocolError(f"the driver has a fault: {type(error).__name__}{where}")
