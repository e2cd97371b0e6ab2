"""What the collector knows of a device; shown in health and by the console."""

from __future__ import annotations

import logging
import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from telemetry.errors import AuthError

if TYPE_CHECKING:
    from collections.abc import Callable

_LOG: Final = logging.getLogger(__name__)
_LINES: Final = 6
_LINES_WITHIN_S: Final = 600.0
"""So many lines about one device in so long; a loose plug or a babbling device changes its error each second."""


@dataclass(slots=True, kw_only=True)
class DeviceState:
    """Whether a device answers; changes are logged, not each failure, and not without end."""

    device: str
    state: str = "starting"
    error: str | None = None
    last_sample_s: float | None = None
    """time.monotonic() of the last sample."""
    passed: int = 0
    """Its samples that went through, bad ones too; the watchdog watches them grow."""
    refused: bool = False
    """It refused the login, and is left alone for minutes: its silence is no fault of the agent's."""
    link_open: Callable[[], bool] | None = None
    """For a device that pushes: an open link is all that shows it works while nobody uses it."""

    on_lost: Callable[[], None] | None = None
    """Called when the device may have lost its power, not for a single reading that failed."""

    _logged_s: deque[float] = field(default_factory=lambda: deque(maxlen=_LINES), repr=False)
    _unlogged: int = 0

    def up(self) -> None:
        """Note a sign of life."""
        if self.state == "down":
            self._log(logging.INFO, "is back")
        self.state, self.error, self.refused = "up", None, False

    def down(self, error: Exception, *, lost: bool = True) -> None:
        """Note that the device does not work, and why; `lost` if it may have lost its power."""
        if self.error != str(error):
            self._log(logging.WARNING, str(error))
        self.state, self.error, self.refused = "down", str(error), isinstance(error, AuthError)
        if lost and self.on_lost is not None:
            self.on_lost()

    def sampled(self) -> None:
        """Note a sample."""
        self.last_sample_s = time.monotonic()
        self.up()

    def document(self) -> dict[str, str | float | None]:
        """Return the device's entry in the health document."""
        age_s = None if self.last_sample_s is None else round(time.monotonic() - self.last_sample_s, 3)
        if self.link_open is not None and self.state != "up" and self.link_open():
            self.up()
        return {"state": self.state, "last_sample_age_s": age_s, "error": self.error}

    def _log(self, level: int, what: str) -> None:
        now = time.monotonic()
        if len(self._logged_s) == _LINES and now - self._logged_s[0] < _LINES_WITHIN_S:
            self._unlogged += 1
            return
        more = f" ({self._unlogged} changes before it were not logged)" if self._unlogged else ""
        self._logged_s.append(now)
        self._unlogged = 0
        _LOG.log(level, "device %s: %s%s", self.device, what, more)
