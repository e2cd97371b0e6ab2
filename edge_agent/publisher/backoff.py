"""When to connect again: full jitter, quick at first, capped; a refused login waits the longest. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

BASE_S: Final = 0.5
CAP_S: Final = 30.0
_UNANSWERED: Final = 4
"""Failures that one counts for after which the broker kept silent: it may have more to do than it can."""


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

    def after_failure(self, *, unanswered: bool = False) -> float:
        """Return seconds to wait after an attempt that failed or a connection that was lost.

        An attempt that stayed `unanswered` until its deadline may have cost a busy broker as much as one that worked:
        then the next comes later, lest a thousand gateways keep it from ever being done with them.
        """
        if unanswered:
            self._failures = max(self._failures, _UNANSWERED)
        ceiling = min(self._cap_s, self._base_s * 2.0 ** min(self._failures, 30))
        self._failures += 1
        return ceiling * self._random()

    def after_refusal(self) -> float:
        """Return seconds to wait after a refused login: only a person can mend it."""
        self._failures = 30
        return self._cap_s * (0.5 + 0.5 * self._random())
