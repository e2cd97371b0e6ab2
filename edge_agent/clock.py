"""The gateway's clocks: UTC, the boot's own clock, and whether UTC can be believed."""

from __future__ import annotations

import ctypes
import functools
import logging
import time
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

_LOG: Final = logging.getLogger(__name__)
EARLIEST_NS: Final = 1_735_689_600_000_000_000
"""2025-01-01: this program did not exist before, so a clock that shows less is wrong, whoever calls it synchronised."""
LATEST_NS: Final = EARLIEST_NS + 75 * 365 * 86_400 * 1_000_000_000
"""A clock beyond this is wrong, too."""
GRAIN_NS: Final = 1000
"""Times are whole microseconds; the digits below name the reckoning by which they were made."""

_TIMESYNCD: Final = Path("/run/systemd/timesync/synchronized")
_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")
_TIME_ERROR: Final = 5
"""adjtimex(2): the clock is not synchronised."""
_TIMEX_BYTES: Final = 256
"""Room for struct timex (208 bytes on 64-bit Linux); `modes` 0 in its first word only reads."""
_EVEN_NS: Final = 10_000_000
"""The system's clock and CLOCK_BOOTTIME are slewed alike; what moves them apart by more than this is a step."""
_TIGHT_NS: Final = 1_000_000
"""Two readings of CLOCK_BOOTTIME with one of UTC between them belong together if they are so close."""
_TRIES: Final = 5
_CORRECTION_NS: Final = 500_000_000
"""By how much a time that came from the ingest must be off to be corrected by the ingest again."""


class Source(StrEnum):
    """By what UTC is known."""

    NONE = "none"
    SYSTEM = "system"
    """The system's clock, which is synchronised."""
    INGEST = "ingest"
    """The ingest's acknowledgements, where NTP is blocked."""
    EARLIER = "earlier"
    """What an earlier run of this boot knew, until one of the others tells."""


def boottime_ns() -> int:
    """Return CLOCK_BOOTTIME in nanoseconds: it never jumps and goes on while suspended."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


@functools.cache
def boot_id() -> str:
    """Return the kernel's id of this boot."""
    return _BOOT_ID.read_text(encoding="ascii").strip()


class Clock:
    """UTC as CLOCK_BOOTTIME plus an offset, so that it goes evenly; the offset is what is learned, and can be wrong.

    Drivers stamp by `even_ns`, which nothing ever sets: rates and ages between two readings are right whatever happens
    to the system's clock. The pipeline turns that into UTC, once, by the offset that is known then.
    """

    def __init__(self, *, assume_synced: bool = False, sync_file: Path | None = None) -> None:
        self.source = Source.NONE
        self.steps = 0
        """How often the time was moved after it had been known."""
        self.last_step_ns = 0
        self.held = False
        """The system's clock was moved, and nobody has confirmed it: time goes on evenly by what was known before."""
        self.on_reckoning: list[Callable[[], None]] = []
        """Called when there is a new offset."""
        self.reckoning = 0
        """Number of the last offset given out, 0 to 999; see `new_reckoning`."""
        self._assume_synced = assume_synced
        self._sync_file = sync_file
        self._guess_ns = _system_offset_ns()
        self._offset_ns: int | None = None
        self.synced()

    def now_ns(self) -> int:
        """Return UTC in nanoseconds; before it is known, what the system's clock said at the start, gone on evenly."""
        return boottime_ns() + (self._guess_ns if self._offset_ns is None else self._offset_ns)

    def even_ns(self) -> int:
        """Return the time by which readings are stamped: UTC as it was believed at the start, never set since."""
        return boottime_ns() + self._guess_ns

    def boot_ns(self) -> int:
        """Return CLOCK_BOOTTIME in nanoseconds."""
        return boottime_ns()

    @property
    def guess_ns(self) -> int:
        """What the system's clock said at the start of UTC minus CLOCK_BOOTTIME."""
        return self._guess_ns

    @property
    def offset_ns(self) -> int | None:
        """UTC minus CLOCK_BOOTTIME; none while nobody knows. Its digits below `GRAIN_NS` are the reckoning's number."""
        return self._offset_ns

    @property
    def system_right(self) -> bool:
        """Whether the system's own clock shows the time that is known."""
        return self.source is Source.SYSTEM and not self.held

    def boottime_of(self, even_ns: int) -> int:
        """Return the CLOCK_BOOTTIME of a time by `even_ns`."""
        return even_ns - self._guess_ns

    def even_of(self, utc_ns: int) -> int:
        """Return what `even_ns` was at UTC `utc_ns`."""
        return utc_ns if self._offset_ns is None else utc_ns - self._offset_ns + self._guess_ns

    def new_reckoning(self) -> int:
        """Return the number of a new offset: times by different ones are never equal, though the clock was set back."""
        self.reckoning = (self.reckoning + 1) % GRAIN_NS
        return self.reckoning

    def begin(self, reckoning: int) -> None:
        """Go on counting reckonings after `reckoning`, the last that an earlier run may have used."""
        self.reckoning = reckoning % GRAIN_NS
        if self._offset_ns is not None:
            self._offset_ns = self._offset_ns // GRAIN_NS * GRAIN_NS + self.new_reckoning()

    def remember(self, offset_ns: int) -> None:
        """Take the offset that an earlier run of this boot knew, if nobody knows better."""
        if self._offset_ns is None:
            self._adopt(offset_ns, Source.EARLIER)

    def correct(self, offset_ns: int) -> None:
        """Take what the ingest says UTC minus CLOCK_BOOTTIME is; ignored while the system's clock is believed."""
        if self.source is Source.SYSTEM and not self.held:
            return
        if self._offset_ns is None or abs(offset_ns - self._offset_ns) > _CORRECTION_NS:
            self._adopt(offset_ns, Source.INGEST)

    def synced(self) -> bool:
        """Tell whether UTC is known; looks at the system's clock and follows it when it was set and is believed."""
        system_ns = _system_offset_ns()
        moved = self._offset_ns is not None and abs(system_ns - self._offset_ns) > _EVEN_NS
        if self.source is Source.SYSTEM and not moved:
            self.held = False
        elif self._believable(system_ns, moved=moved):
            self._adopt(system_ns, Source.SYSTEM)
        elif self.source is Source.SYSTEM:
            self.held = True
        return self._offset_ns is not None

    def _believable(self, system_ns: int, *, moved: bool) -> bool:
        if self._assume_synced:
            return True
        if not EARLIEST_NS <= system_ns + boottime_ns() < LATEST_NS:
            return False
        if self._sync_file is not None:
            return self._sync_file.exists()
        kernel = _kernel_synced()
        # Setting the clock makes the kernel say "unsynchronised" until NTP has looked again; timesyncd's flag stays.
        return kernel is True or ((kernel is None or not moved) and _TIMESYNCD.exists())

    def _adopt(self, offset_ns: int, source: Source) -> None:
        known, self.source, self.held = self._offset_ns, source, False
        step_ns = offset_ns - (self._guess_ns if known is None else known)
        if known is not None and abs(step_ns) <= _EVEN_NS:
            return
        if known is not None:
            self.steps += 1
            self.last_step_ns = step_ns
            _LOG.warning("the clock was moved by %+.3f s (now by: %s)", step_ns / 1e9, source)
        self._offset_ns = offset_ns // GRAIN_NS * GRAIN_NS + self.new_reckoning()
        for tell in self.on_reckoning:
            tell()


def utc_of(boot_ns: int, offset_ns: int) -> int:
    """Return the UTC of CLOCK_BOOTTIME `boot_ns` by an offset whose last digits are the number of its reckoning."""
    return boot_ns // GRAIN_NS * GRAIN_NS + offset_ns


def _system_offset_ns() -> int:
    """Return the system's UTC minus CLOCK_BOOTTIME, from the closest of a few readings."""
    best, least = 0, -1
    for _ in range(_TRIES):
        before = boottime_ns()
        utc = time.time_ns()
        width = boottime_ns() - before
        if least < 0 or width < least:
            best, least = utc - before - width // 2, width
        if width <= _TIGHT_NS:
            break
    return best


@functools.cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _kernel_synced() -> bool | None:
    """Tell what the kernel says; none if it may not be asked."""
    state = int(_libc().adjtimex(ctypes.create_string_buffer(_TIMEX_BYTES)))
    return None if state < 0 else state < _TIME_ERROR
