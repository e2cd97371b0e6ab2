"""How the demo finds and calls the other programs; it never imports them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

from simulators import launch

_MODULES: Final = {"edge-agent": "edge_agent.cli", "cloud-ingest": "cloud_ingest.cli"}
_PREFIXES: Final = ("CAMPUS_EDGE_", "CAMPUS_INGEST_")


def program(name: str) -> list[str]:
    """Return the command of `name`: the script beside this Python, or its module where it is not installed."""
    script = Path(sys.executable).with_name(name)
    if script.exists():
        return [str(script)]
    return [sys.executable, "-c", f"import sys; from {_MODULES[name]} import main; sys.exit(main())"]


def environment() -> dict[str, str]:
    """Return the environment for child processes: ours, without settings that would override the demo's files."""
    kept = {name: value for name, value in launch.environment().items() if not name.startswith(_PREFIXES)}
    return kept | {"PYTHONUNBUFFERED": "1"}
