"""`campus-sim torture`: rounds of seeded chaos on the whole path, each with a verdict."""

from __future__ import annotations

import asyncio
import secrets
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import msgspec
import typer
from rich.console import Console

from simulators.demo import influx
from simulators.demo.clocks import library
from simulators.demo.command import INTERRUPTED, OK, RED, UNAVAILABLE, USAGE
from simulators.demo.processes import ProcessFailed
from simulators.demo.sabotage import Sabotage
from simulators.demo.scene import make_scene
from simulators.torture.disk import Unavailable, own_mounts
from simulators.torture.plan import CYCLES_A_ROUND, Action, Kind, plan
from simulators.torture.report import INFLUX, SQLITE, Done, RoundReport, TortureReport, replay
from simulators.torture.round import Round
from telemetry.errors import ConfigError, Problem

if TYPE_CHECKING:
    from collections.abc import Mapping

_SEEDS: Final = 1_000_000


def torture(
    *,
    cycles: Annotated[int, typer.Option(min=1, help="How many cycles, in rounds of ten.")] = 40,
    seed: Annotated[int | None, typer.Option(min=0, help="The same seed, the same plan; default: a new one.")] = None,
    report: Annotated[Path | None, typer.Option(help="Write the report to this file, as JSON.")] = None,
    minutes: Annotated[float | None, typer.Option(min=0, help="Begin no further round after this time.")] = None,
    scenario: Annotated[str, typer.Option(help="classroom, or school: with bands and cameras.")] = "classroom",
    store: Annotated[str, typer.Option(help="sqlite, or influx: an InfluxDB 1.x that is killed too.")] = SQLITE,
    only: Annotated[int | None, typer.Option("--round", min=1, help="Play only this round of the plan.")] = None,
    data: Annotated[
        Path | None, typer.Option(help="Folder to keep everything in; default: a temporary one, only red rounds kept.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan as JSON lines and do nothing.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Show nothing but problems.")] = False,
    sabotage: Annotated[Sabotage | None, typer.Option(help="Harm the path as well: the verdict must turn red.")] = None,
) -> None:
    """Kill, freeze, cut, starve and unplug; exit 0 only if no round lost, duplicated, altered or leaked anything."""
    seed = secrets.randbelow(_SEEDS) if seed is None else seed
    try:
        rounds = _rounds(scenario, seed=seed, cycles=cycles, only=only, sabotage=sabotage, store=store)
    except ConfigError as error:
        sys.stderr.write(f"{error}\n")
        raise typer.Exit(USAGE) from error
    if dry_run:
        for number, actions in rounds:
            for action in actions:
                line = {"round": number} | msgspec.to_builtins(action)
                sys.stdout.write(msgspec.json.encode(line).decode() + "\n")
        raise typer.Exit(OK)
    if data is not None and data.exists() and (not data.is_dir() or any(data.iterdir())):
        sys.stderr.write(f"--data {data}: is not an empty folder → name a new one\n")
        raise typer.Exit(USAGE)
    folder = Path(tempfile.mkdtemp(prefix="campus-torture-")) if data is None else data.absolute()
    again = replay(seed=seed, scenario=scenario, store=store, cycles=cycles, sabotage=sabotage)
    outcome = TortureReport(seed=seed, scenario=scenario, store=store, cycles=cycles, replay=again)
    run = _Run(outcome, rounds, folder=folder, keep=data is not None, sabotage=sabotage, minutes=minutes, quiet=quiet)
    code = run.play()
    if report is not None:
        report.write_bytes(outcome.encode())
    if data is None and not any(folder.iterdir()):
        folder.rmdir()
    elif code in {RED, UNAVAILABLE}:
        sys.stderr.write(f"What was left is kept in {folder}\n")
    raise typer.Exit(code)


def _rounds(
    scenario: str, *, seed: int, cycles: int, only: int | None, sabotage: Sabotage | None, store: str
) -> list[tuple[int, list[Action]]]:
    """Return the numbered rounds to play. Raises ConfigError."""
    scene = make_scene(scenario, seed=seed)
    if sabotage is Sabotage.LEAK_BAND and not scene.bands:
        what = f"scenario {scenario!r} has no bands"
        raise ConfigError([Problem(where="--sabotage leak-band", what=what, mend="choose --scenario school")])
    if store not in {SQLITE, INFLUX}:
        raise ConfigError([Problem(where=f"--store {store}", what="is unknown", mend=f"{SQLITE} or {INFLUX}")])
    if store == INFLUX and influx.installed() is None:
        raise ConfigError([Problem(where="--store influx", what="no influxd here", mend="apt-get install influxdb")])
    planned = plan(scene.scenario, seed=seed, cycles=cycles, database=store == INFLUX)
    rounds = list(enumerate(planned, start=1))
    if only is None:
        return rounds
    if only > len(rounds):
        what = f"{cycles} cycles are {len(rounds)} rounds of {CYCLES_A_ROUND}"
        raise ConfigError([Problem(where=f"--round {only}", what=what, mend="choose one of them")])
    return [rounds[only - 1]]


def _lacking() -> dict[Kind, str]:
    """Return what cannot be done on this machine, and why."""
    found = {}
    try:
        own_mounts()
    except Unavailable as reason:
        found[Kind.FILL] = str(reason)
    if library() is None:
        found[Kind.CLOCK] = "libfaketime is not installed → apt-get install faketime"
    return found


def _counted(category: str, count: int | dict[str, int]) -> str:
    """Return a category with its count; of what was excused or withheld, how much for which reason."""
    if isinstance(count, dict):
        return f"{category}: {', '.join(f'{why} {much}' for why, much in count.items())}"
    return f"{category} {count}"


class _Run:
    def __init__(
        self,
        outcome: TortureReport,
        rounds: list[tuple[int, list[Action]]],
        *,
        folder: Path,
        keep: bool,
        sabotage: Sabotage | None,
        minutes: float | None,
        quiet: bool,
    ) -> None:
        self._outcome = outcome
        self._rounds = rounds
        self._folder = folder
        self._keep = keep
        self._sabotage = sabotage
        self._minutes = minutes
        self._console = Console(quiet=quiet, highlight=False, markup=False, soft_wrap=True)

    def play(self) -> int:
        """Play the rounds; return the exit code."""
        lacking = _lacking()
        for kind, reason in lacking.items():
            self._console.print(f"nothing will be done of {kind}: {reason}")
        self._console.print(f"again: {self._outcome.replay}")
        began = time.monotonic()
        try:
            asyncio.run(self._all(lacking, began))
        except (ProcessFailed, Unavailable) as error:
            sys.stderr.write(f"{error}\n")
            return UNAVAILABLE
        except ModuleNotFoundError as error:
            sys.stderr.write(f"The torture needs {error.name} → pip install 'campus-edge[demo]'\n")
            return UNAVAILABLE
        except asyncio.CancelledError:
            self._console.print("interrupted: every process has been stopped")
            return INTERRUPTED
        finally:
            self._outcome.seconds = round(time.monotonic() - began, 1)
        self._console.print(
            f"verdict: {self._outcome.verdict}; {self._outcome.cycles_done} cycles in {self._outcome.seconds:.0f} s"
        )
        return OK if self._outcome.verdict == "green" else RED

    async def _all(self, lacking: Mapping[Kind, str], began: float) -> None:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        for stops in (signal.SIGINT, signal.SIGTERM):
            if task is not None:
                loop.add_signal_handler(stops, task.cancel)
        for number, actions in self._rounds:
            if self._minutes is not None and time.monotonic() - began >= self._minutes * 60:
                self._console.print(f"{self._minutes:g} minutes are over")
                return
            await self._one(number, actions, lacking)

    async def _one(self, number: int, actions: list[Action], lacking: Mapping[Kind, str]) -> None:
        outcome = self._outcome
        data = self._folder / f"round-{number}"
        played = await Round(
            number,
            actions,
            data=data,
            scenario=outcome.scenario,
            seed=outcome.seed + number,
            sabotage=self._sabotage,
            database=outcome.store == INFLUX,
            lacking=lacking,
            told=lambda done: self._tell(number, done),
        ).play(
            replay=replay(
                seed=outcome.seed,
                scenario=outcome.scenario,
                store=outcome.store,
                cycles=outcome.cycles,
                sabotage=self._sabotage,
                only=number,
            )
        )
        outcome.add(played)
        self._show(played)
        if played.verdict == "green" and not self._keep:
            shutil.rmtree(data, ignore_errors=True)

    def _tell(self, number: int, done: Done) -> None:
        action = done.action
        self._console.print(f"round {number}  {done.began_s or 0:6.1f} s  cycle {action.cycle:3}  {action.says}")

    def _show(self, played: RoundReport) -> None:
        for name, family in played.families.items():
            counts = ", ".join(_counted(category, count) for category, count in family.items() if count)
            self._console.print(f"round {played.round}  {name}: {counts}")
        for reason in played.reasons:
            sys.stderr.write(f"round {played.round}: {reason}\n")
        self._console.print(f"round {played.round}  verdict: {played.verdict}; again: {played.replay}")
