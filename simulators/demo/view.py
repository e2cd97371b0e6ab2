"""What a person watches while the demo runs: counts, latest values, processes; fits a terminal of 80 by 24."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Literal

from rich.console import Group
from rich.table import Table
from rich.text import Text

from simulators.demo import truth
from simulators.demo.classroom import SCENE

if TYPE_CHECKING:
    from collections.abc import Collection

    from rich.console import RenderableType

    from simulators.demo.stage import Stage


def live(demo: Stage) -> RenderableType:
    """Return the tables of this moment."""
    elapsed = min(time.monotonic() - demo.began, demo.options.seconds)
    head = Text(f"campus-edge demo, simulated data: {elapsed:.0f} of {demo.options.seconds:.0f} s  (Ctrl-C stops)")
    return Group(head, _counts(demo), _devices(demo), "", _processes(demo))


def _table(*columns: str, numbers: Collection[str]) -> Table:
    table = Table(box=None, pad_edge=False)
    for column in columns:
        justify: Literal["left", "right"] = "right" if column in numbers else "left"
        table.add_column(column, justify=justify, no_wrap=column != "latest values")
    return table


def _counts(demo: Stage) -> Text:
    """Count from what the devices wrote down and what the tap heard."""
    said = sum(len(reading.values) for reading in truth.readings(demo.said))
    taps = len(truth.taps(demo.said, demo.site.handle))
    tap = demo.tap
    published = f"values published, with the gateway's own: {tap.published}, stored: {tap.acknowledged}"
    return Text(f"devices said: {said} air values, {taps} card taps\n{published}\n")


def _devices(demo: Stage) -> Table:
    table = _table("device", "room", "age, s", "latest values", numbers={"age, s"})
    now_ns = time.time_ns()
    for device in SCENE.devices:
        at_ns, values = demo.tap.latest.get(device.name, (None, {}))
        age = "-" if at_ns is None else f"{(now_ns - at_ns) / 1e9:.1f}"
        table.add_row(device.name, device.room, age, _values(values))
    return table


def _values(values: dict[str, object]) -> str:
    return "  ".join(
        f"{name}={value:.1f}" if isinstance(value, float) else f"{name}={value}"
        for name, value in sorted(values.items())
        if name != "sequence"
    )


def _processes(demo: Stage) -> Table:
    table = _table("process", "state", "RSS, MB", "CPU, s", numbers={"RSS, MB", "CPU, s"})
    for name, process in demo.processes.items():
        state = "running" if process.running else "down"
        table.add_row(name, state, f"{process.usage.rss_mb:.1f}", f"{process.usage.cpu_s:.2f}")
    return table
