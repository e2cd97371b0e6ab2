"""What a person watches while the demo runs: families, latest values, processes. Counts come from the tap."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from rich.console import Group
from rich.table import Table
from rich.text import Text

from simulators.demo import truth
from simulators.demo.classroom import SCENE

if TYPE_CHECKING:
    from rich.console import RenderableType

    from simulators.demo.stage import Stage


def live(demo: Stage) -> RenderableType:
    """Return the tables of this moment."""
    elapsed = min(time.monotonic() - demo.began, demo.options.seconds)
    head = Text(f"campus-edge demo, simulated data: {elapsed:.0f} of {demo.options.seconds:.0f} s  (Ctrl-C stops)")
    return Group(head, _families(demo), _devices(demo), _processes(demo))


def _families(demo: Stage) -> Table:
    readings = truth.readings(demo.said)
    taps = truth.taps(demo.said, demo.site.handle)
    table = Table(title="said and stored so far", title_justify="left")
    for column in ("said: air values", "said: card taps", "published values", "acknowledged as stored"):
        table.add_column(column, justify="right")
    said = sum(len(reading.values) for reading in readings)
    table.add_row(str(said), str(len(taps)), str(demo.tap.published), str(demo.tap.acknowledged))
    return table


def _devices(demo: Stage) -> Table:
    table = Table(title="latest values", title_justify="left")
    for column in ("device", "room", "profile", "age, s", "values"):
        table.add_column(column, justify="right" if column == "age, s" else "left")
    now_ns = time.time_ns()
    for device in SCENE.devices:
        at_ns, values = demo.tap.latest.get(device.name, (None, {}))
        age = "-" if at_ns is None else f"{(now_ns - at_ns) / 1e9:.1f}"
        table.add_row(device.name, device.room, device.profile, age, _values(values))
    return table


def _values(values: dict[str, object]) -> str:
    return "  ".join(
        f"{name} {value:.1f}" if isinstance(value, float) else f"{name} {value}"
        for name, value in sorted(values.items())
        if name != "sequence"
    )


def _processes(demo: Stage) -> Table:
    table = Table(title="processes", title_justify="left")
    for column in ("process", "state", "RSS, MB", "CPU, s"):
        table.add_column(column, justify="left" if column in {"process", "state"} else "right")
    for name, process in demo.processes.items():
        state = "running" if process.running else "down"
        table.add_row(name, state, f"{process.usage.rss_mb:.1f}", f"{process.usage.cpu_s:.2f}")
    return table
