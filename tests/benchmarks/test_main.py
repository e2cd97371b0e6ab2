"""The runner of the benchmarks: one that fails is reported, the others go on."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

RUNNER = Path(__file__).parent.parent.parent / "benchmarks" / "__main__.py"
GOOD = 'def run():\n    return [{"name": "speed of it", "figure": 2000, "unit": "x/s", "limit": 1000, "ratio": 2.0}]\n'
SLOW = GOOD.replace("2.0", "0.5")
BROKEN = 'def run():\n    raise RuntimeError("no")\n'
SHAPELESS = 'def run():\n    return [{"name": "x"}]\n'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "benchmarks"
    made.mkdir()
    (made / "__init__.py").touch()
    shutil.copy(RUNNER, made)
    return made


def bench(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks", *arguments]
    return subprocess.run(command, cwd=folder.parent, capture_output=True, text=True, timeout=60, check=False)


def test_figures_are_shown_and_written(folder: Path) -> None:
    (folder / "good.py").write_text(GOOD)
    (folder / "_helper.py").write_text(BROKEN)
    ended = bench(folder)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "speed of it" in ended.stdout
    written = json.loads((folder / "results.json").read_text())
    assert written == [{"name": "speed of it", "figure": 2000, "unit": "x/s", "limit": 1000, "ratio": 2.0}]


@pytest.mark.parametrize("bad", [BROKEN, SHAPELESS], ids=["raises", "shapeless"])
def test_a_failure_does_not_stop_the_others(folder: Path, bad: str) -> None:
    (folder / "a_bad.py").write_text(bad)
    (folder / "good.py").write_text(GOOD)
    ended = bench(folder)
    assert ended.returncode == 1
    assert "a_bad failed" in ended.stdout
    written = json.loads((folder / "results.json").read_text())
    assert [figure["name"] for figure in written] == ["speed of it"]


def test_a_missed_limit_is_a_failure(folder: Path) -> None:
    (folder / "slow.py").write_text(SLOW)
    assert bench(folder).returncode == 1


def test_a_share_of_what_the_machine_does_may_be_asked_for(folder: Path) -> None:
    (folder / "slow.py").write_text(SLOW.replace("}]", ', "at_least": 0.4}]'))
    assert bench(folder).returncode == 0
    assert "at_least" not in json.loads((folder / "results.json").read_text())[0]
    (folder / "slow.py").write_text(SLOW.replace("}]", ', "at_least": 0.6}]'))
    assert bench(folder).returncode == 1


def test_only(folder: Path) -> None:
    (folder / "good.py").write_text(GOOD)
    (folder / "broken.py").write_text(BROKEN)
    assert bench(folder, "--only", "good").returncode == 0
    ended = bench(folder, "--only", "absent")
    assert ended.returncode == 2
    assert "there are: broken, good" in ended.stderr


def test_the_document_gets_the_table(folder: Path) -> None:
    (folder / "good.py").write_text(GOOD)
    document = folder / "benchmarks.md"
    document.write_text("head\n<!-- figures -->\nold\n<!-- /figures -->\ntail\n")
    for _ in range(2):
        assert bench(folder, "--document", str(document)).returncode == 0
        text = document.read_text()
        assert text.startswith("head\n")
        assert text.endswith("\ntail\n")
        assert "old" not in text
        assert text.count("| speed of it | 2,000 | x/s | 1,000 | 2 | 1 |") == 1
