"""The gateway's clocks: UTC, the boot's own clock, and whether UTC can be believed."""

from __future__ import annotations

import ctypes
import functools
import time
from pathlib import Path
from typing import Final

_TIMESYNCD: Final = Path("/run/systemd/timesync/synchronized")
_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")
_TIME_ERROR: Final = 5
"""adjtimex(2): the clock is not synchronised."""
_TIMEX_BYTES: Final = 256
"""Room for struct timex (208 bytes on 64-bit Linux); `modes` 0 in its first word only reads."""

_UNDER_WAY_NS: Final = 60_000_000_000
"""Longer than any reading takes."""


def boottime_ns() -> int:
    """Return CLOCK_BOOTTIME in nanoseconds: it never jumps and goes on while suspended."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


@functools.cache
def boot_id() -> str:
    """Return the kernel's id of this boot."""
    return _BOOT_ID.read_text(encoding="ascii").strip()


class Clock:
    """UTC in nanoseconds, and whether it is synchronised. Once believed it stays so for this boot.

    Before that it goes on evenly from what the system's clock said at the start: when this is set meanwhile, and
    synchronisation only told a moment later, no sample bears a time of which nobody knows what it was measured by.
    """

    def __init__(self, *, assume_synced: bool = False, sync_file: Path | None = None) -> None:
        self._synced = assume_synced
        self._sync_file = sync_file
        self._offset_ns = 0
        self._guess_ns = time.time_ns() - boottime_ns()
        self._believed_at_ns = 0
        self.step_ns = 0
        """By how much the time before synchronisation was wrong."""

    def now_ns(self) -> int:
        """Return UTC in nanoseconds: the system's clock, corrected where NTP is blocked."""
        return time.time_ns() + self._offset_ns if self._synced else boottime_ns() + self._guess_ns

    def boottime_of(self, at_ns: int) -> int:
        """Return the CLOCK_BOOTTIME of a time that `now_ns` gave before synchronisation."""
        return at_ns - self._guess_ns

    def right_ns(self, at_ns: int) -> int:
        """Return `at_ns`, mended if `now_ns` gave it just before synchronisation: a reading was under way then."""
        if not self.step_ns or boottime_ns() - self._believed_at_ns > _UNDER_WAY_NS:
            return at_ns
        now_ns = self.now_ns()
        return min((at_ns, at_ns + self.step_ns), key=lambda candidate: abs(now_ns - candidate))

    def correct(self, utc_ns: int) -> None:
        """Take `utc_ns`, from a trusted source, as the time now; ignored once the system's clock is believed."""
        if not self.synced():
            self._offset_ns = utc_ns - time.time_ns()
            self._believe()

    def synced(self) -> bool:
        """Tell whether the kernel or timesyncd says that the clock is synchronised."""
        if not self._synced and self._told():
            self._believe()
        return self._synced

    def _told(self) -> bool:
        if self._sync_file is not None:
            return self._sync_file.exists()
        return _TIMESYNCD.exists() or _kernel_synced()

    def _believe(self) -> None:
        before_ns = self.now_ns()
        self._synced = True
        self._believed_at_ns, self.step_ns = boottime_ns(), self.now_ns() - before_ns


def _kernel_synced() -> bool:
    libc = ctypes.CDLL(None, use_errno=True)
    return bool(0 <= libc.adjtimex(ctypes.create_string_buffer(_TIMEX_BYTES)) < _TIME_ERROR)
