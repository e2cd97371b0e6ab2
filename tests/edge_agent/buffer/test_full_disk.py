"""Pain 3: on a disk that is really full it goes on, says so, stays bounded, and drains when there is space again."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.edge_agent.buffer.full_disk_child import CAP

ROOT = Path(__file__).parents[3]


def test_pain_03_a_really_full_disk_is_told_bounded_and_drained(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.edge_agent.buffer.full_disk_child", str(tmp_path / "disk")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=90, check=False)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    if "unavailable" in said:
        pytest.skip(f"{said['unavailable']}; a simulated full disk is in test_limits.py")
    assert "No space left" in said["error"]
    assert said["goes_on"]
    assert said["memory_bytes"] <= 60_000
    assert said["disk_bytes"] <= CAP
    assert said["dropped"]["buffer.dropped_values.samples"] > 0
    assert "buffer.dropped_values.events" not in said["dropped"]
    assert said["lost_track_of"] == 0
    assert said["drained"] == said["expected"] >= said["stored_before"]
    assert said["lost"] == 0
