"""`campus-sim demo`: the whole path on this machine, with a verdict."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import sys
import tempfile
import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer
from rich.console import Console
from rich.live import Live

from simulators.demo.options import DemoOptions, redacted
from simulators.demo.orchestra import Demo
from simulators.demo.processes import ProcessFailed
from simulators.demo.report import tables
from simulators.demo.sabotage import Sabotage  # noqa: TC001 - typer reads the annotation
from simulators.demo.view import live
from telemetry.errors import ConfigError, Problem

if TYPE_CHECKING:
    from simulators.demo.report import Report

OK: Final = 0
RED: Final = 1
USAGE: Final = 2
UNAVAILABLE: Final = 69
INTERRUPTED: Final = 130
CONSOLE_LISTEN: Final = "127.0.0.1:8080"
_REFRESH_S: Final = 1.0
_DISPLAYS: Final = ("DISPLAY", "WAYLAND_DISPLAY")
"""Where there is none, a browser cannot be opened: the address is printed all the same."""


def demo(
    *,
    seconds: Annotated[float, typer.Option(min=1, help="How long the devices speak.")] = 60.0,
    data: Annotated[
        Path | None, typer.Option(help="Folder to keep everything in; default: a temporary one, removed if green.")
    ] = None,
    report: Annotated[Path | None, typer.Option(help="Write the report to this file, as JSON.")] = None,
    mqtt: Annotated[str | None, typer.Option(help="Broker, mqtt://host:port; default: an embedded one.")] = None,
    store: Annotated[
        str | None, typer.Option(help="Store, such as influx1://[::1]:8086/campus; default: SQLite in the data folder.")
    ] = None,
    scenario: Annotated[str, typer.Option(help="school, or classroom: the same without bands and cameras.")] = "school",
    vitals: Annotated[
        bool,
        typer.Option("--vitals/--no-vitals", help="Whether the policy lets heart rates out, of those who consent."),
    ] = True,
    console: Annotated[
        bool, typer.Option("--console/--no-console", help="Whether to serve the web console while it runs.")
    ] = True,
    console_listen: Annotated[
        str, typer.Option(help="HOST:PORT of the console; when it is taken, another port is used.")
    ] = CONSOLE_LISTEN,
    seed: Annotated[int, typer.Option(help="The same seed gives the same plan, byte for byte.")] = 1,
    quiet: Annotated[bool, typer.Option("--quiet", help="Show nothing but problems.")] = False,
    sabotage: Annotated[
        Sabotage | None, typer.Option(help="Harm the path between agent and broker: the verdict must turn red.")
    ] = None,
    mqtt_protocol: Annotated[str, typer.Option(help="auto, 5 or 3.1.1.")] = "auto",
) -> None:
    """Run the whole path as processes; exit 0 only if nothing was lost, duplicated, altered or leaked."""
    terminal = Console()
    folder = Path(tempfile.mkdtemp(prefix="campus-demo-")) if data is None else data
    try:
        _check_folder(folder)
        options = DemoOptions(
            data=folder.absolute(), seconds=seconds, scenario=scenario, vitals=vitals, mqtt=mqtt, store=store,
            console=_free(console_listen) if console else None, seed=seed, sabotage=sabotage, protocol=mqtt_protocol,
        )  # fmt: skip
        options.check()
    except ConfigError as error:
        sys.stderr.write(f"{error}\n")
        raise typer.Exit(USAGE) from error
    code = _run(options, report, terminal, quiet=quiet)
    if data is None:
        if code in {OK, INTERRUPTED}:
            shutil.rmtree(folder, ignore_errors=True)
        else:
            sys.stderr.write(f"Everything of this run is kept in {folder}\n")
    raise typer.Exit(code)


def _check_folder(folder: Path) -> None:
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        mend = "name a new one: a run's truth must not mix with another's"
        raise ConfigError([Problem(where=f"--data {folder}", what="is not an empty folder", mend=mend)])
    folder.mkdir(parents=True, exist_ok=True)


def _run(options: DemoOptions, report_file: Path | None, console: Console, *, quiet: bool) -> int:
    try:
        report = asyncio.run(_play(options, console, quiet=quiet))
    except ProcessFailed as error:
        sys.stderr.write(f"{_without_secret(str(error), options)}\n")
        return UNAVAILABLE
    except ModuleNotFoundError as error:
        sys.stderr.write(f"The demo needs {error.name} → pip install 'campus-edge[demo]'\n")
        return UNAVAILABLE
    except asyncio.CancelledError:
        if not quiet:
            console.print("interrupted: every process has been stopped")
        return INTERRUPTED
    if report_file is not None:
        report_file.write_bytes(report.encode())
    if not quiet:
        console.print(tables(report))
    elif report.reasons:
        sys.stderr.write("\n".join(report.reasons) + "\n")
    return OK if report.verdict == "green" else RED


async def _play(options: DemoOptions, console: Console, *, quiet: bool) -> Report:
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    for number in (signal.SIGINT, signal.SIGTERM):
        if task is not None:
            loop.add_signal_handler(number, task.cancel)
    async with Demo(options) as running:
        if quiet:
            await running.run()
            return await running.finish()
        with Live(live(running), console=console, auto_refresh=False, transient=True) as screen:
            watching = asyncio.create_task(_show(screen, running), name="view")
            try:
                await running.run()
            finally:
                watching.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await watching
        console.print("devices stopped: waiting until all they said is stored, then comparing")
        return await running.finish()


async def _show(screen: Live, running: Demo) -> None:
    shown = False
    while True:
        screen.update(live(running), refresh=True)
        if running.console_url is not None and not shown:
            shown = True
            screen.console.print(f"console: {running.console_url}")
            if screen.console.is_terminal and any(os.environ.get(name) for name in _DISPLAYS):
                await asyncio.to_thread(webbrowser.open, running.console_url)
        await asyncio.sleep(_REFRESH_S)


def _free(listen: str) -> str:
    """Return `listen`, or the same host with a free port if that one is taken."""
    host, _, port = listen.rpartition(":")
    try:
        family = socket.AF_INET6 if host.startswith("[") else socket.AF_INET
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host.strip("[]"), int(port)))
    except OSError:
        return f"{host}:0"
    except (ValueError, OverflowError) as error:
        what = f"{listen!r} is not HOST:PORT"
        raise ConfigError([Problem(where="--console-listen", what=what, mend="such as 127.0.0.1:8080")]) from error
    return listen


def _without_secret(text: str, options: DemoOptions) -> str:
    return text.replace(options.store, redacted(options.store)) if options.store else text
