"""Clocks of single processes: they jump while the process runs, and nothing that waits notices."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from simulators.demo.clocks import Clocks, library

if TYPE_CHECKING:
    from pathlib import Path

TELLS = """
import sys, threading, time
for _ in sys.stdin:
    waited = time.monotonic()
    threading.Event().wait(0.05)
    print(time.time(), time.monotonic() - waited, flush=True)
"""
DAY_S = 86_400.0


@pytest.mark.server("faketime")
def test_a_clock_jumps_both_ways_under_a_running_process(tmp_path: Path) -> None:
    faketime = library()
    assert faketime is not None
    clocks = Clocks(tmp_path / "clock", faketime)
    environment = {**os.environ, **clocks.environment("agent")}
    with subprocess.Popen(
        [sys.executable, "-c", TELLS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as process:

        def told() -> float:
            """How many seconds before the truth the process is."""
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write("\n")
            process.stdin.flush()
            now, waited = map(float, process.stdout.readline().split())
            assert 0.05 <= waited < 5
            return now - time.time()

        assert abs(told()) < 5
        clocks.wrong_by("agent", -400 * DAY_S)
        assert abs(told() + 400 * DAY_S) < 5
        clocks.wrong_by("agent", 7200.0)
        assert abs(told() - 7200) < 5
        clocks.at_the_epoch("agent")
        assert told() < -50 * 365 * DAY_S
        clocks.right("agent")
        assert abs(told()) < 5


def test_synchronised_is_a_file(tmp_path: Path) -> None:
    clocks = Clocks(tmp_path / "clock", tmp_path / "none")
    assert clocks.sync_file.exists()
    clocks.unsynchronise()
    clocks.unsynchronise()
    assert not clocks.sync_file.exists()
    clocks.synchronise()
    assert clocks.sync_file.exists()
