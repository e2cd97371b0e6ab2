"""What the worker's libraries are told before they are imported; what the worker gives up stands in confinement.py."""

from __future__ import annotations

import os
from typing import Final

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


def tell_libraries(*, stalled_s: float) -> None:
    """Set what the libraries read from the environment when they are imported."""
    for name, value in LIBRARY_SETTINGS.items():
        os.environ[name] = value.format(timeout_us=int(stalled_s * 1e6))
