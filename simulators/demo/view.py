"""What a person watches while the demo runs: counts, latest values, processes; fits a terminal of 80 by 24."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final, Literal

from rich.console import Group
from rich.table import Table
from rich.text import Text

from simulators.demo import truth
from simulators.demo.processes import Usage
from simulators.demo.scene import ENVIRONMENT

if TYPE_CHECKING:
    from collections.abc import Collection

    from rich.console import RenderableType

    from simulators.demo.processes import Process
    from simulators.demo.stage import Stage


_DEVICE: Final = "device:"
_WIDEST: Final = 50
"""Latest values that are longer are cut: they leave room for the columns beside them."""


def live(demo: Stage) -> RenderableType:
    """Return the tables of this moment."""
    elapsed = min(time.monotonic() - demo.began, demo.options.seconds)
    head = Text(f"campus-edge demo, simulated data: {elapsed:.0f} of {demo.options.seconds:.0f} s  (Ctrl-C stops)")
    if demo.console_url is not None:
        head.append(f"\nconsole: {demo.console_url}", style="bold")
    return Group(head, _families(demo), "", _devices(demo), "", _processes(demo))


def _table(*columns: str, numbers: Collection[str]) -> Table:
    table = Table(box=None, pad_edge=False)
    for column in columns:
        justify: Literal["left", "right"] = "right" if column in numbers else "left"
        table.add_column(column, justify=justify, no_wrap=True, max_width=_WIDEST)
    return table


def _families(demo: Stage) -> Table:
    """Count samples, from what the devices wrote down and what the tap heard."""
    table = _table("family", "said", "published", "stored", numbers={"said", "published", "stored"})
    for name in demo.scene.families:
        counts = (said(demo, name), demo.tap.published[name], demo.tap.acknowledged[name])
        table.add_row(name, *map(str, counts))
    return table


def said(demo: Stage, family: str) -> int:
    """Return how many samples the family's devices have said."""
    if family == ENVIRONMENT:
        return len(truth.readings(demo.said, demo.scene))
    return sum(path.read_bytes().count(b"\n") for path in truth.journals(demo.said, demo.scene, family))


def _devices(demo: Stage) -> Table:
    table = _table("device", "room", "age, s", "latest values", numbers={"age, s"})
    now_ns = time.time_ns()
    for device in demo.scene.scenario.devices:
        at_ns, values = demo.tap.latest.get(device.name, (None, {}))
        age = "-" if at_ns is None else f"{(now_ns - at_ns) / 1e9:.1f}"
        table.add_row(device.name, device.room, age, _values(values))
    return table


def _values(values: dict[str, object]) -> str:
    return " ".join(
        f"{name}={value:.4g}" if isinstance(value, float) else f"{name}={value}"
        for name, value in sorted(values.items())
        if name != "sequence"
    )


def _processes(demo: Stage) -> Table:
    """Show the programs, and the simulated devices in one row."""
    table = _table("process", "state", "RSS, MB", "CPU, s", numbers={"RSS, MB", "CPU, s"})
    devices = [process for name, process in demo.processes.items() if name.startswith(_DEVICE)]
    for name, process in demo.processes.items():
        if not name.startswith(_DEVICE):
            _row(table, name, "running" if process.running else "down", _with_helpers(process))
    usage = Usage(
        rss_mb=sum(process.usage.rss_mb for process in devices), cpu_s=sum(process.usage.cpu_s for process in devices)
    )
    running = sum(process.running for process in devices)
    _row(table, "devices", f"{running} of {len(devices)} running", usage)
    return table


def _with_helpers(process: Process) -> Usage:
    own, helpers = process.usage, process.helpers
    return Usage(rss_mb=own.rss_mb + helpers.rss_mb, cpu_s=own.cpu_s + helpers.cpu_s)


def _row(table: Table, name: str, state: str, usage: Usage) -> None:
    table.add_row(name, state, f"{usage.rss_mb:.1f}", f"{usage.cpu_s:.2f}")
