"""When to connect again: full jitter, quick at first, capped; a refused login waits the longest. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

BASE_S: Final = 0.25
CAP_S: Final = 30.0


class Backoff:
    """Delays between attempts to connect."""

    def __init__(self, *, random: Callable[[], float], base_s: float = BASE_S, cap_s: float = CAP_S) -> None:
        self._random = random
        self._base_s = base_s
        self._cap_s = cap_s
        self._failures = 0

    def worked(self) -> None:
        """Start quickly again: the connection was of use."""
        self._failures = 0

    def after_failure(self) -> float:
        """Return seconds to wait after an attempt that failed or a connection that was lost."""
        ceiling = min(self._cap_s, self._base_s * 2.0 ** min(self._failures, 30))
        self._failures += 1
        return ceiling * self._random()

    def after_refusal(self) -> float:
        """Return seconds to wait after a refused login: only a person can mend it."""
        self._failures = 30
        return self._cap_s * (0.5 + 0.5 * self._random())
