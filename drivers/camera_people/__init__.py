"""How many people a camera sees. `driver` is the agent's side, `worker` a process of its own.

The driver is imported when it is asked for: the worker, which lies in this package too, must not load it.
"""

from __future__ import annotations

import importlib
from typing import Any

__all__ = ["create", "link_address", "problems"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(importlib.import_module("drivers.camera_people.driver"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
