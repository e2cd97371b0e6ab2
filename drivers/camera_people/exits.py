"""Why a worker ended: its exit code is all it can say beside its records."""

from __future__ import annotations

import signal
from typing import Final

MODEL: Final = 65
SOURCE: Final = 66
FAULT: Final = 70
MEMORY: Final = 71
LIBRARY: Final = 69
STUCK: Final = 75
_SAID: Final = {
    0: "ended, since it was told to",
    MODEL: "the model's file is not the known one: install the package again",
    LIBRARY: "a library is missing: pip install 'campus-edge[camera]'",
    SOURCE: "cannot open the camera's file or device: check that it is there, and who may read it",
    FAULT: "ended by a fault of its own",
    MEMORY: "wanted more memory than option memory_mb lets it have",
    STUCK: "gave up a connection that hung",
}
NEEDS_A_PERSON: Final = frozenset({MODEL, LIBRARY})
"""Starting again mends none of these."""


def said(code: int | None) -> str:
    """Return in words why a worker with this exit code ended."""
    if code is not None and code < 0:
        try:
            return f"was ended by {signal.Signals(-code).name}"
        except ValueError:
            return f"was ended by signal {-code}"
    return _SAID.get(code if code is not None else FAULT, f"ended with exit code {code}")
