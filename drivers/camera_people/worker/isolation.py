"""What the worker gives up before it sees anything, and what its libraries are told before they are imported."""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
from typing import Final

_PR_SET_PDEATHSIG: Final = 1
_PR_SET_DUMPABLE: Final = 4
_PR_SET_NO_NEW_PRIVS: Final = 38
_MAX_PIXELS: Final = 4096 * 4096

LIBRARY_SETTINGS: Final = {
    # onnxruntime from 1.29 on tells Microsoft about each session, and keeps an id of the machine, unless this is set.
    "ORT_DISABLE_TELEMETRY": "1",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MALLOC_ARENA_MAX": "1",
    # A small file may claim to be a huge picture.
    "OPENCV_IO_MAX_IMAGE_PIXELS": str(_MAX_PIXELS),
    "OPENCV_LOG_LEVEL": "SILENT",
    # One thread: a frame's damage is then logged before that frame is given out, and none is held back.
    "OPENCV_FFMPEG_THREADS": "1",
    # One undecodable packet is told at once, not skipped.
    "OPENCV_FFMPEG_READ_ATTEMPTS": "1",
    # Sound is never set up. The times of analysis are short: the camera's own description says what it sends.
    "OPENCV_FFMPEG_CAPTURE_OPTIONS": "rtsp_transport;tcp|allowed_media_types;video|timeout;{timeout_us}|flags;low_delay"
    "|analyzeduration;100000|fpsprobesize;0",
}


def isolate() -> None:
    """Die with the agent, leave no core dump, gain no right, write no file."""
    libc = ctypes.CDLL(None)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    # The agent decides when the worker ends: Ctrl-C in a terminal reaches both.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for limit in (resource.RLIMIT_CORE, resource.RLIMIT_FSIZE):
        with contextlib.suppress(OSError, ValueError):  # the service's own limits may not let us set ours
            resource.setrlimit(limit, (0, 0))


def tell_libraries(*, stalled_s: float) -> None:
    """Set what the libraries read from the environment when they are imported."""
    for name, value in LIBRARY_SETTINGS.items():
        os.environ[name] = value.format(timeout_us=int(stalled_s * 1e6))
