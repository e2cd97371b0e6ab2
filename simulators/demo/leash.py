"""Replace itself by a command that the kernel kills with its parent: `python leash.py PARENT_PID COMMAND…`.

So a demo that dies by kill -9 leaves no process behind. A script of its own, not a function between fork
and exec, because Python code there can deadlock; it imports nothing of ours, to start fast.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1  # <linux/prctl.h>; survives exec


def main() -> None:
    """Tie this process to its parent, then become the command. Exits 1 if the parent is gone already."""
    parent, command = int(sys.argv[1]), sys.argv[2:]
    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    if prctl is not None:  # Linux only; elsewhere a clean stop still ends every process
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it died before the line above
        sys.exit(1)
    os.execv(command[0], command)  # noqa: S606 - the command is ours, no shell is wanted


if __name__ == "__main__":
    main()
