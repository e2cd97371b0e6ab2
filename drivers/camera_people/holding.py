"""Whether this machine's kernel can hold a worker to what it gives up: tried in a process that then ends."""

from __future__ import annotations

import subprocess
import sys
from typing import Final

from drivers.camera_people.measures import EXPECTED, Measure, decode_greeting, words
from drivers.camera_people.process import environment
from telemetry.errors import Problem, ProtocolError

MODULE: Final = "drivers.camera_people.worker.trial"
TRIAL_S: Final = 20.0


def held(*, local: bool = False) -> Measure:
    """Return what holds a worker here; nothing if the trial fails."""
    command = [sys.executable, "-s", "-P", "-m", MODULE, "local" if local else "remote"]
    try:
        done = subprocess.run(command, capture_output=True, check=True, timeout=TRIAL_S, env=environment())  # noqa: S603
        return decode_greeting(done.stdout)
    except (OSError, subprocess.SubprocessError, ProtocolError):
        return Measure(0)


def unheld() -> list[Problem]:
    """Return a problem that names the expected measures that are not to be had here."""
    granted = held()
    lacking = EXPECTED & ~granted
    if not lacking:
        return []
    what = f"this machine does not hold it by {', '.join(words(lacking))}; by {', '.join(words(granted))} it does"
    mend = "run as the service does (systemd/README.md), on a Linux of 2021 or later with Landlock and seccomp"
    return [Problem(where="camera worker", what=what, mend=mend)]
