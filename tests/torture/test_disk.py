"""The small disk, in a process of its own: this one keeps its mounts."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

FILLS = """
import errno, pathlib, sys
from simulators.torture.disk import Unavailable, full, own_mounts, small_disk
folder = pathlib.Path(sys.argv[1])
try:
    own_mounts()
except Unavailable as reason:
    sys.exit(f"skipped: {reason}")
with small_disk(folder):
    (folder / "before").write_bytes(b"1" * 100)
    with full(folder):
        for path in (folder / "more", folder / "before"):
            try:
                path.write_bytes(b"1" * 10_000)
            except OSError as error:
                assert error.errno == errno.ENOSPC
            else:
                sys.exit(f"{path} could be written")
    (folder / "after").write_bytes(b"1" * 1_000_000)
assert sorted(path.name for path in folder.iterdir()) == ["after", "before", "more"]
print("done")
"""


def test_a_full_disk_takes_nothing_and_its_files_stay(tmp_path: Path) -> None:
    command = [sys.executable, "-c", FILLS, str(tmp_path / "disk")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    if done.stderr.startswith("skipped"):
        pytest.skip(done.stderr)
    assert (done.stdout, done.stderr, done.returncode) == ("done\n", "", 0)
