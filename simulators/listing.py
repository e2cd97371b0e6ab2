"""What `campus-sim list` shows: the tables themselves, so that nothing can be missing from it."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table

from simulators.camera_scenes import PROGRAMMES
from simulators.faults import FAULTS
from simulators.registers import MODELS
from simulators.scenario import SCENARIOS
from simulators.spec import KINDS


def inventory() -> dict[str, Any]:
    """Return kinds, models, faults, scenarios and scenes as plain JSON values."""
    return {
        "kinds": dict(KINDS),
        "models": {name: {"says": model.says, "points": model.points} for name, model in MODELS.items()},
        "faults": {
            name: {"says": fault.says, "parameters": list(fault.parameters), "kinds": list(fault.kinds)}
            for name, fault in FAULTS.items()
        },
        "scenarios": {
            name: {"says": scenario.says, "devices": [device.name for device in scenario.devices]}
            for name, scenario in SCENARIOS.items()
        },
        "scenes": {name: {"says": programme.says} for name, programme in PROGRAMMES.items()},
    }


def print_tables() -> None:
    """Print the inventory for people."""
    console = Console()
    for title, entries in inventory().items():
        table = Table(title=title, title_justify="left", box=None, pad_edge=False, show_header=False)
        table.add_column(no_wrap=True, style="bold")
        table.add_column()
        for name, entry in entries.items():
            details = {} if isinstance(entry, str) else entry
            notes = [f"{key}: {', '.join(value)}" for key, value in details.items() if key != "says" and value]
            table.add_row(name, "\n".join([entry if isinstance(entry, str) else entry["says"], *notes]))
        console.print(table)
        console.print()
