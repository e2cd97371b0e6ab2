"""`campus-sim run`: a scenario's devices, each link its own process, for an agent of the user's own."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from typing import TYPE_CHECKING, Any, Final

import msgspec
from rich.console import Console
from rich.table import Table

from simulators.launch import launch_all, stop_all
from simulators.ledger import write_plan
from simulators.scenario import SCENARIOS

if TYPE_CHECKING:
    from pathlib import Path

    from simulators.launch import DeviceProcess
    from simulators.scenario import Scenario

ENDLESS_PLAN_S: Final = 3600.0
"""How far the plan of a run without end reaches."""
EXIT_USAGE: Final = 2
MAX_WIDTH: Final = 1000
EXIT_UNAVAILABLE: Final = 69


def run_scenario(name: str, *, data: Path, seed: int, seconds: float, as_json: bool) -> int:
    """Run until `seconds` have passed (0: until SIGTERM or Ctrl-C); return the exit code."""
    scenario = SCENARIOS.get(name)
    if scenario is None:
        return _refuse(f"there is no scenario {name!r} → choose one of {', '.join(SCENARIOS)}")
    if (data / "ledger.jsonl").exists():
        return _refuse(f"{data} holds the ledger of another run → remove it, or give another --data")
    (data / "dev").mkdir(parents=True, exist_ok=True)
    specs = scenario.specs(seed=seed, data=data)
    planned = seconds or ENDLESS_PLAN_S
    write_plan(data / "ledger.jsonl", specs.values(), scenario=name, seed=seed, seconds=planned)
    return asyncio.run(_run(scenario, data=data, seed=seed, seconds=seconds, as_json=as_json))


def _refuse(message: str) -> int:
    sys.stderr.write(message + "\n")
    return EXIT_USAGE


async def _run(scenario: Scenario, *, data: Path, seed: int, seconds: float, as_json: bool) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    processes = await launch_all(scenario.specs(seed=seed, data=data))
    try:
        rows = [_row(device.name, device.room, device.profile, processes[device.link]) for device in scenario.devices]
        _print(rows, data, as_json=as_json)
        ended = [asyncio.create_task(item.wait(), name=f"wait-{link}") for link, item in processes.items()]
        ended.append(asyncio.create_task(stop.wait(), name="wait-signal"))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds or None):
                await asyncio.wait(ended, return_when=asyncio.FIRST_COMPLETED)
        died = [link for link, item in processes.items() if not item.running and not stop.is_set()]
        for task in ended:
            task.cancel()
        await asyncio.gather(*ended, return_exceptions=True)
        if died:
            sys.stderr.write(f"ended by itself: {', '.join(died)} → see its error above\n")
        return EXIT_UNAVAILABLE if died else 0
    finally:
        await stop_all(list(processes.values()))


def _row(name: str, room: str, profile: str, process: DeviceProcess) -> dict[str, Any]:
    ready = process.ready
    unit = next((unit.unit for unit in process.spec.units if unit.name == name), None)
    row = {"device": name, "room": room, "profile": profile, "endpoint": process.endpoint, "unit": unit}
    return row | {"control": ready.control, "pid": ready.pid}


def _print(rows: list[dict[str, Any]], data: Path, *, as_json: bool) -> None:
    if as_json:
        sys.stdout.write(msgspec.json.encode({"data": str(data), "devices": rows}).decode() + "\n")
        sys.stdout.flush()
        return
    table = Table(box=None, pad_edge=False)
    columns = ("device", "room", "profile", "endpoint", "unit")
    for column in columns:
        table.add_column(column, no_wrap=True)
    for row in rows:
        table.add_row(*("" if row[column] is None else str(row[column]) for column in columns))
    # However narrow the terminal: a path that was cut or wrapped cannot be copied.
    console = Console(width=MAX_WIDTH)
    console.print(table)
    console.print(f"Plan: {data / 'ledger.jsonl'}   Said: {data / 'said'}   Stop: Ctrl-C", soft_wrap=True)
