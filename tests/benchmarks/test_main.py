"""The runner of the benchmarks: one that fails is reported, the others go on; what is measured is kept and compared."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from tests.benchmarks.conftest import Frame

BROKEN = 'def run():\n    raise RuntimeError("no")\n'
SHAPELESS = 'def run():\n    return [{"name": "x"}]\n'
CHANGING = (
    "import time\ndef run():\n"
    "    return [{'name': str(time.monotonic()), 'figure': 1, 'unit': 'x', 'limit': None, 'ratio': None}]\n"
)


def test_figures_are_shown_and_written(frame: Frame) -> None:
    frame.write("good", 2000)
    (frame.folder / "_helper.py").write_text(BROKEN)
    ended = frame()
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "speed of good" in ended.stdout
    written = json.loads((frame.folder / "results.json").read_text())
    assert written == [{"name": "speed of good", "figure": 2000, "unit": "x/s", "limit": 1000, "ratio": 2.0}]


@pytest.mark.parametrize("bad", [BROKEN, SHAPELESS], ids=["raises", "shapeless"])
def test_a_failure_does_not_stop_the_others(frame: Frame, bad: str) -> None:
    (frame.folder / "a_bad.py").write_text(bad)
    frame.write("good", 2000)
    ended = frame()
    assert ended.returncode == 1
    assert "a_bad failed" in ended.stdout
    written = json.loads((frame.folder / "results.json").read_text())
    assert [figure["name"] for figure in written] == ["speed of good"]


def test_a_missed_limit_is_a_failure(frame: Frame) -> None:
    frame.write("slow", 500)
    assert frame().returncode == 1


def test_a_share_of_what_the_machine_does_may_be_asked_for(frame: Frame) -> None:
    frame.write("slow", 500, at_least=0.4)
    assert frame().returncode == 0
    assert "at_least" not in json.loads((frame.folder / "results.json").read_text())[0]
    frame.write("slow", 500, at_least=0.6)
    assert frame().returncode == 1


def test_only(frame: Frame) -> None:
    frame.write("good", 2000)
    (frame.folder / "broken.py").write_text(BROKEN)
    assert frame("--only", "good").returncode == 0
    ended = frame("--only", "absent")
    assert ended.returncode == 2
    assert "there are: broken, good" in ended.stderr


def test_of_several_repeats_the_median_counts_and_the_spread_is_told(frame: Frame) -> None:
    frame.write("good", 2000, 3000, 2200)
    ended = frame("--repeat", "3")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "45 %" in ended.stdout
    assert json.loads((frame.folder / "results.json").read_text())[0]["figure"] == 2200
    kept = json.loads((frame.root / "test-reports" / "benchmarks.json").read_text())
    assert kept["rows"][0]["figures"] == [2000, 3000, 2200]
    assert kept["calibration"] > 0
    assert kept["machine"]["cores"]


def test_a_figure_whose_name_changes_between_repeats_is_a_failure(frame: Frame) -> None:
    (frame.folder / "odd.py").write_text(CHANGING)
    ended = frame("--repeat", "2")
    assert ended.returncode == 1
    assert "must not hold what was measured" in ended.stdout


def test_the_document_gets_table_and_plots(frame: Frame, tmp_path: Path) -> None:
    frame.write("ingest_it", 2000, unit="values/s", curve=[[1, 0.1], [99, 0.4]])
    document = tmp_path / "benchmarks.md"
    document.write_text("head\n<!-- figures -->\nold\n<!-- /figures -->\ntail\n")
    for _ in range(2):
        assert frame("--document", str(document)).returncode == 0
        text = document.read_text()
        assert text.startswith("head\n")
        assert text.endswith("\ntail\n")
        assert "old" not in text
        assert text.count("| speed of ingest_it | 2,000 | - | values/s | 1,000 | 2 | 1 |") == 1
        for name in ("margins", "rates", "gateways"):
            assert text.count(f"(images/benchmarks/{name}.svg)") == 1
            assert (tmp_path / "images" / "benchmarks" / f"{name}.svg").is_file()


def test_the_last_run_becomes_the_baseline_and_a_slower_one_is_told(frame: Frame) -> None:
    frame.write("good", 2000)
    frame.write("other", 2000)
    assert frame("compare", "--only", "good").returncode == 2
    assert frame("--only", "good").returncode == 0
    ended = frame("baseline")
    assert ended.returncode == 1
    assert "other missing" in ended.stdout
    assert frame().returncode == 0
    assert frame("baseline").returncode == 0
    last = str(frame.root / "test-reports" / "benchmarks.json")
    ended = frame("compare", "--from", last)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "nothing got slower" in ended.stdout
    frame.write("good", 1500)
    ended = frame("compare", "--only", "good")
    assert ended.returncode == 1
    assert "something got slower" in ended.stdout
    assert "+25 %" in ended.stdout
    assert frame("compare", "--from", last, "--threshold", "30").returncode == 0


def test_what_is_not_measured_now_can_be_kept(frame: Frame) -> None:
    frame.write("good", 2000)
    frame.write("other", 1500)
    assert frame().returncode == 0
    frame.write("good", 3000)
    assert frame("--only", "good", "--keep").returncode == 0
    written = json.loads((frame.folder / "results.json").read_text())
    assert {row["name"]: row["figure"] for row in written} == {"speed of good": 3000, "speed of other": 1500}
    assert frame("--only", "good").returncode == 0
    assert len(json.loads((frame.folder / "results.json").read_text())) == 1
