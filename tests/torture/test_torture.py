"""The torture itself, as a user starts it: green where nothing is wrong, red where the path is harmed."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from simulators.demo.scene import make_scene
from simulators.torture import command
from simulators.torture.disk import Unavailable
from simulators.torture.plan import plan
from simulators.torture.report import RoundReport, TortureReport
from simulators.torture.round import Round
from tests import leaks

if TYPE_CHECKING:
    from collections.abc import Callable

    Torture = Callable[..., tuple[int, dict[str, Any], str]]

COMMAND = [sys.executable, "-m", "simulators", "torture"]
LONG_S = 900
WRONG_CLOCK_SEED = "144"


@pytest.fixture
def torture(tmp_path: Path) -> Torture:
    """A function that runs `campus-sim torture` with options and returns (exit code, report, standard error)."""

    def run(*options: str, within_s: float = 110.0) -> tuple[int, dict[str, Any], str]:
        report = tmp_path / "torture.json"
        report.unlink(missing_ok=True)
        command = [*COMMAND, "--quiet", "--report", str(report), *options]
        environment = os.environ | {"TMPDIR": str(tmp_path)}
        done = subprocess.run(command, capture_output=True, timeout=within_s, check=False, env=environment)
        assert report.exists(), done.stderr.decode()
        return done.returncode, json.loads(report.read_bytes()), done.stderr.decode()

    return run


def kept(report: dict[str, Any], *, cycles: int) -> None:
    """Nothing was lost, and everything that was planned was done."""
    reasons = [(played["replay"], reason) for played in report["rounds"] for reason in played["reasons"]]
    assert (report["verdict"], reasons) == ("green", [])
    assert report["cycles_done"] == cycles
    for played in report["rounds"]:
        assert played["leaks"] == []
        for family in played["families"].values():
            assert family["stored"] > 0
            assert family["lost"] == family["duplicated"] == family["altered"] == family["leaked"] == 0
        for done in played["actions"]:
            assert done.get("failed") is None
            if done.get("skipped") is None:  # times are rounded to a millisecond
                assert done["ended_s"] - done["began_s"] >= done["action"]["hold_s"] - 0.01


def as_planned(report: dict[str, Any]) -> None:
    scenario = make_scene(report["scenario"], seed=0).scenario
    rounds = plan(scenario, seed=report["seed"], cycles=report["cycles"])
    for played in report["rounds"]:
        planned = [action.at_s for action in rounds[played["round"] - 1]]
        assert [done["action"]["at_s"] for done in played["actions"]] == planned
        assert all(done["began_s"] >= done["action"]["at_s"] - 0.01 for done in played["actions"])


@pytest.mark.parametrize("number", range(1, 5))
def test_forty_cycles_lose_nothing_and_can_be_repeated(torture: Torture, tmp_path: Path, number: int) -> None:
    """A round each, so that they can be played beside each other."""
    code, report, error = torture("--cycles", "40", "--seed", "40", "--round", str(number))
    assert (code, error) == (0, "")
    kept(report, cycles=10)
    as_planned(report)
    (played,) = report["rounds"]
    assert played["replay"] == f"campus-sim torture --seed 40 --cycles 40 --scenario classroom --round {number}"
    assert [path for path in tmp_path.iterdir() if path.is_dir()] == []


def long(*values: str) -> Any:
    return pytest.param(*values, marks=pytest.mark.long)


@pytest.mark.parametrize(
    ("sabotage", "scenario", "category"),
    [
        ("drop", "classroom", "lost"),
        long("dup", "classroom", "duplicated"),
        long("alter", "classroom", "altered"),
        long("leak", "classroom", "leaked"),
        long("leak-band", "school", "leaked"),
    ],
)
def test_a_harmed_path_is_found_in_the_middle_of_it(
    torture: Torture, sabotage: str, scenario: str, category: str
) -> None:
    code, report, error = torture("--cycles", "1", "--seed", "1", "--sabotage", sabotage, "--scenario", scenario)
    assert (code, report["verdict"]) == (1, "red")
    if category == "leaked":
        assert report["rounds"][0]["leaks"]
    else:
        assert report["rounds"][0]["families"]["environment"][category] > 0
    assert category in error
    assert "What was left is kept in" in error
    assert f"--sabotage {sabotage}" in report["replay"]


@pytest.mark.server("faketime")
def test_a_gateway_that_boots_with_a_wrong_clock_loses_nothing(torture: Torture) -> None:
    code, report, error = torture("--cycles", "1", "--seed", WRONG_CLOCK_SEED)
    assert (code, error) == (0, "")
    kept(report, cycles=1)
    assert [(done["action"]["kind"], done["action"]["target"]) for done in report["rounds"][0]["actions"]] == [
        ("clock", "agent")
    ]
    assert report["skipped"] == []


@pytest.mark.long
@pytest.mark.server("influxd")
def test_a_database_that_is_killed_too(torture: Torture) -> None:
    code, report, error = torture("--cycles", "20", "--seed", "2", "--store", "influx", within_s=LONG_S)
    assert (code, error) == (0, "")
    kept(report, cycles=20)
    assert "database killed" in {told for played in report["rounds"] for told in played["outages"]}


@pytest.mark.long
@pytest.mark.timeout(LONG_S)
def test_forty_cycles_of_a_school_lose_nothing(torture: Torture) -> None:
    code, report, error = torture("--cycles", "40", "--seed", "40", "--scenario", "school", within_s=LONG_S)
    assert (code, error) == (0, "")
    kept(report, cycles=40)
    as_planned(report)


def test_ctrl_c_leaves_no_process_and_no_mount(tmp_path: Path) -> None:
    mounts = Path("/proc/self/mounts").read_text(encoding="utf-8")
    report = tmp_path / "torture.json"
    command = [*COMMAND, "--cycles", "40", "--seed", "1", "--report", str(report)]
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, start_new_session=True) as running:
        try:
            assert running.stdout is not None
            for line in running.stdout:
                if b"kill agent" in line:
                    break
            started = {process for process in leaks.descendants() if process.pid != running.pid}
            running.send_signal(signal.SIGINT)
            assert running.wait(20) == 130
        finally:
            with contextlib.suppress(ProcessLookupError):
                running.kill()
    deadline = time.monotonic() + 5
    while leaks.descendants() & started and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not leaks.descendants() & started
    assert Path("/proc/self/mounts").read_text(encoding="utf-8") == mounts
    assert json.loads(report.read_bytes())["cycles_done"] == 0


def test_a_disk_that_cannot_be_mounted_after_all_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def play(_: Round, *, replay: str) -> RoundReport:
        raise Unavailable("mount: no more loop devices")

    monkeypatch.setattr(Round, "play", play)
    monkeypatch.setattr(command, "_lacking", dict)
    outcome = TortureReport(seed=1, scenario="classroom", store="sqlite", cycles=1, replay="")
    rounds = list(enumerate(plan(make_scene("classroom", seed=1).scenario, seed=1, cycles=1), start=1))
    run = command._Run(outcome, rounds, folder=tmp_path, keep=True, sabotage=None, minutes=None, quiet=True)
    assert run.play() == command.UNAVAILABLE
    assert "mount: no" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--scenario", "moon"], b"moon"),
        (["--round", "5"], b"40 cycles are 4 rounds"),
        (["--sabotage", "leak-band"], b"--scenario school"),
        (["--data", "."], b"empty folder"),
        (["--store", "stone"], b"sqlite or influx"),
    ],
)
def test_wrong_options_say_why(options: list[str], says: bytes) -> None:
    done = subprocess.run([*COMMAND, *options], capture_output=True, timeout=60, check=False)
    assert done.returncode == 2
    assert says in done.stderr


def test_no_round_begins_when_the_minutes_are_over(torture: Torture) -> None:
    code, report, _ = torture("--cycles", "40", "--seed", "1", "--minutes", "0")
    assert (code, report["rounds"], report["verdict"]) == (0, [], "green")
