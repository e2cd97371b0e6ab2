"""However much goes through the agent's stages, its memory does not grow."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

GROWTH_BYTES = 2_000_000
ROOT = Path(__file__).parent.parent.parent


@pytest.mark.parametrize("count", [40_000, pytest.param(1_000_000, marks=[pytest.mark.long, pytest.mark.timeout(600)])])
def test_memory_is_flat_however_many_samples_pass(tmp_path: Path, count: int) -> None:
    command = [sys.executable, "-m", "tests.edge_agent.memory_child", str(tmp_path), str(count)]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    warm, end, done = map(int, ended.stdout.split())
    assert done > 0.9 * count
    assert end - warm < GROWTH_BYTES, f"{warm} bytes resident after the warm-up, {end} after {count} samples"
