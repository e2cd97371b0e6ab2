"""What counts as slower, and whether the plots can be read on light and on dark ground."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree as ET

import pytest

from benchmarks import _plot
from benchmarks._compare import Verdict, compare, failed
from benchmarks._record import SCHEMA, Record, Row, calibrate, to_rows


def row(*figures: float, name: str = "f", unit: str = "values/s", more: bool = True, **rest: Any) -> Row:
    return Row(benchmark="b", name=name, unit=unit, figures=list(figures), more=more, **rest)


def record(*rows: Row, calibration: float = 100.0) -> Record:
    return Record(schema=SCHEMA, made="2026-01-01", machine={}, calibration=calibration, rows=list(rows))


def verdict(now: Row, before: Row, *, speed: float = 1.0) -> Verdict:
    (change,) = compare(record(now, calibration=100 * speed), record(before))
    return change.verdict


def test_a_clear_change_counts_in_its_own_direction() -> None:
    assert verdict(row(70, 72, 71), row(100, 99, 101)) is Verdict.SLOWER
    assert verdict(row(130, 131, 132), row(100, 99, 101)) is Verdict.FASTER
    cost = {"unit": "µs", "more": False}
    assert verdict(row(1.3, 1.31, **cost), row(1.0, 1.01, **cost)) is Verdict.SLOWER
    assert verdict(row(0.7, 0.71, **cost), row(1.0, 1.01, **cost)) is Verdict.FASTER


def test_what_lies_within_the_threshold_or_within_the_noise_does_not_count() -> None:
    assert verdict(row(90, 91, 92), row(100, 99, 101)) is Verdict.SAME
    noisy = compare(record(row(60, 75, 105)), record(row(100, 99, 101)))
    assert noisy[0].verdict is Verdict.NOISY
    assert not failed(noisy)


def test_a_slower_machine_is_not_slower_code() -> None:
    assert verdict(row(50, compare="speed"), row(100, compare="speed"), speed=0.5) is Verdict.SAME
    assert verdict(row(50, compare="speed"), row(100, compare="speed")) is Verdict.SLOWER
    cost = {"unit": "µs", "more": False, "compare": "speed"}
    assert verdict(row(2.0, **cost), row(1.0, **cost), speed=0.5) is Verdict.SAME
    # Memory does not shrink on a faster machine.
    memory = {"unit": "MB", "more": False}
    assert verdict(row(60, **memory), row(40, **memory), speed=2.0) is Verdict.SLOWER


def test_a_share_of_its_own_limit_is_compared_as_that() -> None:
    before = row(1_000_000, limits=[1_250_000], ratios=[0.8], compare="ratio")
    assert verdict(row(500_000, limits=[625_000], ratios=[0.8], compare="ratio"), before) is Verdict.SAME
    assert verdict(row(1_200_000, limits=[2_400_000], ratios=[0.5], compare="ratio"), before) is Verdict.SLOWER


def test_next_to_nothing_of_a_budget_is_no_news() -> None:
    budget = {"unit": "MB/day", "more": False, "limits": [5.0], "ratios": [1000.0]}
    assert verdict(row(0.02, **budget), row(0.0, **budget)) is Verdict.SAME
    assert verdict(row(0.2, **budget), row(0.0, **budget)) is Verdict.SLOWER


def test_figures_that_came_or_went_are_told() -> None:
    changes = compare(record(row(1, name="new")), record(row(1, name="old")))
    assert {change.name: change.verdict for change in changes} == {"new": Verdict.NEW, "old": Verdict.GONE}
    assert failed(changes)
    # A benchmark that was not run at all is not missing.
    other = Row(benchmark="not run", name="x", unit="s", figures=[1.0])
    assert not failed(compare(record(row(1)), record(row(1), other)))


def test_direction_and_medians_come_from_the_repeats() -> None:
    made = to_rows(
        "b",
        [
            [
                {"name": "cost", "figure": cost, "unit": "µs", "limit": 2.0, "ratio": 2.0 / cost},
                {"name": "rate", "figure": 900, "unit": "x", "limit": 600, "ratio": 1.5},
                {"name": "told", "figure": 5, "unit": "values/s", "limit": None, "ratio": None},
            ]
            for cost in (1.0, 4.0, 1.1)
        ],
    )
    assert [one.more for one in made] == [False, True, True]
    assert [one.compare for one in made] == ["speed", "figure", "speed"]
    cost = made[0]
    assert (cost.figure, cost.limit, cost.ratio) == (1.1, 2.0, pytest.approx(2 / 1.1))
    assert cost.spread == pytest.approx(3 / 1.1)
    assert not cost.missed
    assert made[2].limit is None


def test_the_calibration_is_a_rate() -> None:
    assert calibrate() > 0


@pytest.mark.parametrize(
    "picture",
    [
        _plot.bars("T <1>", [("a & b", 1000.0, True), ("c", 0.5, False)], mark="asked"),
        _plot.bars("all just reached", [("a", 1.0, True)], mark="asked"),
        _plot.amounts("T", [("a", 3.2e6, 5e5), ("b" * 200, 0.0, None)], unit="values a second"),
        _plot.curve("T", [[1, 0.1], [50, 0.2], [99, 3.0]], x_name="percentile", y_name="s", asked=2.0),
    ],
)
def test_plots_are_svg_that_brings_its_own_ground_for_light_and_dark(picture: str) -> None:
    drawn = ET.fromstring(picture)  # noqa: S314 - our own
    _, _, width, height = map(float, drawn.attrib["viewBox"].split())
    space = "{http://www.w3.org/2000/svg}"
    assert "prefers-color-scheme:dark" in (drawn.find(f"{space}style").text or "")
    ground = drawn.find(f"{space}rect")
    assert (float(ground.attrib["width"]), float(ground.attrib["height"])) == (width - 1, height - 1)
    for shape in drawn.iter(f"{space}rect"):
        assert float(shape.attrib["x"]) + float(shape.attrib["width"]) <= width
        assert float(shape.attrib["width"]) > 0
    for text in drawn.iter(f"{space}text"):
        assert 0 <= float(text.attrib["x"]) <= width
        assert 0 < float(text.attrib["y"]) <= height
