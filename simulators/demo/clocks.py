"""System clocks of single processes, that can be moved while they run: Debian's libfaketime, and a file for each.

Only what says the time of day moves; CLOCK_MONOTONIC and CLOCK_BOOTTIME, and all that waits by them, do not.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

_LIBRARIES: Final = ("/usr/lib/*/faketime/libfaketime.so.1", "/usr/lib/faketime/libfaketime.so.1")
_RIGHT: Final = "+0"
_EPOCH: Final = "@1970-01-01 00:01:00"
"""As a gateway without a battery boots: from here it runs on."""


def library() -> Path | None:
    """Return where libfaketime is; none where it is not installed."""
    found = (path for pattern in _LIBRARIES for path in sorted(Path("/").glob(pattern.removeprefix("/"))))
    return next(found, None)


class Clocks:
    """The clocks below `folder`, right at first and synchronised."""

    def __init__(self, folder: Path, faketime: Path) -> None:
        self._folder = folder
        self._faketime = faketime
        self.sync_file = folder / "synchronised"
        """While it is there the agent may believe its clock (setting `clock.sync_file`)."""
        folder.mkdir(parents=True, exist_ok=True)
        self.synchronise()

    def environment(self, name: str) -> Mapping[str, str]:
        """Return what the process `name` must be started with so that its clock can be moved."""
        self.right(name)
        return {
            "LD_PRELOAD": str(self._faketime),
            "FAKETIME_TIMESTAMP_FILE": str(self._file(name)),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            # Else waits by CLOCK_MONOTONIC end at once, and the threads of a Python fight for its lock.
            "FAKETIME_FORCE_MONOTONIC_FIX": "0",
            "NO_FAKE_STAT": "1",
        }

    def right(self, name: str) -> None:
        """Set the clock of `name` to the truth."""
        self._write(name, _RIGHT)

    def wrong_by(self, name: str, seconds: float) -> None:
        """Move the clock of `name` at once, to `seconds` after the truth, or before it."""
        self._write(name, f"{seconds:+.3f}")

    def at_the_epoch(self, name: str) -> None:
        """Let the clock of `name` begin in 1970 when it is started."""
        self._write(name, _EPOCH)

    def synchronise(self) -> None:
        """Say that clocks are right."""
        self.sync_file.touch()

    def unsynchronise(self) -> None:
        """Say it no more."""
        self.sync_file.unlink(missing_ok=True)

    def _write(self, name: str, text: str) -> None:
        new = self._file(name).with_suffix(".new")
        new.write_text(text + "\n", encoding="ascii")
        new.replace(self._file(name))  # a process that reads meanwhile sees the one or the other

    def _file(self, name: str) -> Path:
        return self._folder / name
