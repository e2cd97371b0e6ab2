"""How long data may wait to be sent, by class; judged only by a clock that has been steady for a while. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from telemetry.sample import DataClass

STEADY_S: Final = 3600.0
"""Neither a start with a wrong clock nor a jump ahead may cost data: the time must be believed for so long."""
_STEP_NS: Final = 10_000_000_000
_DAY_NS: Final = 24 * 3600 * 1_000_000_000


class Ages:
    """Tells from which time on a class's batches are too old."""

    def __init__(
        self, max_age_days: Mapping[DataClass, float], *, now_ns: Callable[[], int], synced: Callable[[], bool]
    ) -> None:
        self._max_age_ns = {data_class: int(days * _DAY_NS) for data_class, days in max_age_days.items()}
        self._now_ns = now_ns
        self._synced = synced
        self._offset_ns: int | None = None
        self._steady_since = 0.0

    def limits_ns(self, now: float) -> dict[DataClass, int]:
        """Return for each class the time before which its batches are too old; nothing while the clock is in doubt.

        `now`: monotonic, in seconds. To be asked often, or a step is seen late.
        """
        at_ns = self._now_ns()
        offset_ns = at_ns - int(now * 1e9)
        steady = self._offset_ns is not None and abs(offset_ns - self._offset_ns) < _STEP_NS and self._synced()
        self._offset_ns = offset_ns
        if not steady:
            self._steady_since = now
        if not self._max_age_ns or now - self._steady_since < STEADY_S:
            return {}
        return {data_class: at_ns - age_ns for data_class, age_ns in self._max_age_ns.items()}
