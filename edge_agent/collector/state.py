"""What the collector knows of a device; shown in health and by the console."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

_LOG: Final = logging.getLogger(__name__)


@dataclass(slots=True, kw_only=True)
class DeviceState:
    """Whether a device answers; changes are logged once, not each failure."""

    device: str
    state: str = "starting"
    error: str | None = None
    last_sample_s: float | None = None
    """time.monotonic() of the last sample."""
    link_open: Callable[[], bool] | None = None
    """For a device that pushes: an open link is all that shows it works while nobody uses it."""

    on_lost: Callable[[], None] | None = None
    """Called when the device may have lost its power, not for a single reading that failed."""

    def up(self) -> None:
        """Note a sign of life."""
        if self.state == "down":
            _LOG.info("device %s is back", self.device)
        self.state, self.error = "up", None

    def down(self, error: Exception, *, lost: bool = True) -> None:
        """Note that the device does not work, and why; `lost` if it may have lost its power."""
        if self.error != str(error):
            _LOG.warning("device %s: %s", self.device, error)
        self.state, self.error = "down", str(error)
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
