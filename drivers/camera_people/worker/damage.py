"""DamageLog: OpenCV gives a damaged picture out as a sound one; that it is damaged stands only in its libraries' log.

So the worker's stderr is a pipe that it reads itself, to learn whether something was said. The text goes no further.
"""

from __future__ import annotations

import os
import re
from typing import Final

_SIZE: Final = 65_536
_DAMAGE: Final = re.compile(rb"\[(?:h264|hevc|mpeg4|mjpeg|av1|vp8|vp9) @|JPEG")
"""A video decoder's own lines, and those of the JPEG library; not those of the network."""


class DamageLog:
    """Takes over stderr for good. Nothing that is written there can block: what does not fit is lost."""

    def __init__(self) -> None:
        self._reading, writing = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        os.dup2(writing, 2)
        os.close(writing)

    def told(self) -> bool:
        """Tell whether a decoder has complained since the last call."""
        said = b""
        try:
            while piece := os.read(self._reading, _SIZE):
                said = said[-_SIZE:] + piece
        except BlockingIOError:
            pass
        return _DAMAGE.search(said) is not None
