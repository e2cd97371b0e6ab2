"""Whole-way tests: real processes, real brokers and stores."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from tests.servers import influxd, make_influxd, make_mosquitto  # noqa: F401 - fixtures

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

COMMAND = [sys.executable, "-c", "from simulators.cli import main; main()", "demo"]
TIMEOUT_S = 110.0


@pytest.fixture
def run_demo(tmp_path: Path) -> Callable[..., tuple[int, dict[str, Any]]]:
    """A function that runs `campus-sim demo` with options and returns (exit code, report)."""

    def run(*options: str) -> tuple[int, dict[str, Any]]:
        report = tmp_path / "report.json"
        # The console has tests of its own: two more processes would only slow these down.
        console = [] if "--console" in options else ["--no-console"]
        command = [*COMMAND, "--quiet", *console, "--data", str(tmp_path / "data"), "--report", str(report), *options]
        done = subprocess.run(command, capture_output=True, timeout=TIMEOUT_S, check=False)
        assert report.exists(), done.stderr.decode()
        return done.returncode, json.loads(report.read_bytes())

    return run
