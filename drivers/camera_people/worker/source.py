"""Source: where pictures come from, as the reader's thread sees it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import threading

    import numpy as np
    from numpy.typing import NDArray

    Picture = NDArray[np.uint8]
    """Height x width x 3, BGR."""
else:
    Picture = Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Shot:
    """One picture, or a JPEG that is decoded only when it is looked at; never printed."""

    data: Picture | bytes
    received_ns: int
    """CLOCK_MONOTONIC, in ns."""

    def __repr__(self) -> str:
        return "Shot(…)"


class Source(Protocol):
    """One camera's pictures. All calls come from one thread; each returns within a few seconds."""

    streams: bool
    """Pictures come by themselves; else each is fetched when it is wanted."""

    def open(self) -> None:
        """Connect. Raises AuthError, ProtocolError, DeviceUnavailable (`timed_out`: connected, but no picture)."""
        ...

    def next(self, wanted: threading.Event) -> Shot | None:
        """Wait for the next picture; return it if `wanted` is set, else none. Raises as `open` does.

        After a ProtocolError it may be called again.
        """
        ...

    def close(self) -> None:
        """Disconnect; never raises."""
        ...
