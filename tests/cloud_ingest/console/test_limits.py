"""Limits: the built-in standards, what a file replaces, what it may not say."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

import pytest

from cloud_ingest.console.limits import BUILT_IN, Limits, load_limits
from cloud_ingest.console.model import LimitState
from telemetry.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

WINTER_LESSON = datetime(2026, 11, 18, 10, 0)  # noqa: DTZ001 - a school's local time
WINTER_NIGHT = datetime(2026, 11, 18, 22, 0)  # noqa: DTZ001
SUNDAY = datetime(2026, 11, 22, 10, 0)  # noqa: DTZ001
SUMMER_LESSON = datetime(2026, 6, 10, 10, 0)  # noqa: DTZ001
SPRING_LESSON = datetime(2026, 4, 8, 10, 0)  # noqa: DTZ001


@pytest.mark.parametrize(
    ("quantity", "value", "when", "state"),
    [
        ("co2", 1000.0, WINTER_LESSON, LimitState.WITHIN),
        ("co2", 1000.1, WINTER_LESSON, LimitState.ABOVE),
        ("temperature", 15.9, WINTER_LESSON, LimitState.BELOW),
        ("temperature", 26.0, WINTER_LESSON, LimitState.ABOVE),
        ("temperature", 26.0, SUMMER_LESSON, LimitState.WITHIN),
        ("temperature", 35.0, SPRING_LESSON, LimitState.UNJUDGED),
        ("humidity", 70.0, WINTER_LESSON, LimitState.ABOVE),
        ("humidity", 70.0, SUMMER_LESSON, LimitState.WITHIN),
        ("illuminance", 299.0, WINTER_LESSON, LimitState.BELOW),
        ("illuminance", 0.0, WINTER_NIGHT, LimitState.UNJUDGED),
        ("illuminance", 0.0, SUNDAY, LimitState.UNJUDGED),
        ("noise", 80.0, WINTER_LESSON, LimitState.UNJUDGED),
        ("pm2_5", 400.0, WINTER_LESSON, LimitState.UNJUDGED),
        ("power", 1.0, WINTER_LESSON, LimitState.UNJUDGED),
    ],
)
def test_built_in_limits(quantity: str, value: float, when: datetime, state: LimitState) -> None:
    found, limit = Limits().judge(quantity, value, when)
    assert found is state
    if state is not LimitState.UNJUDGED:
        assert limit is not None
        assert limit.source.startswith("GB")


def test_what_is_not_judged_is_still_shown_with_its_source() -> None:
    state, limit = Limits().judge("noise", 60.0, WINTER_LESSON)
    assert (state, limit and limit.high, limit and limit.source) == (LimitState.UNJUDGED, 45.0, "GB 50118-2010")
    assert [one.high for one in Limits().shown("pm2_5", 11)] == [50.0]
    assert Limits().shown("temperature", 4) == ()


def test_every_built_in_limit_has_both_languages_and_a_source() -> None:
    for rule in BUILT_IN:
        assert rule.label is not None
        assert rule.label.zh != rule.label.en
        assert rule.source


def limits_file(folder: Path, text: str) -> Path:
    path = folder / "limits.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_file_replaces_quantity_by_quantity(tmp_path: Path) -> None:
    path = limits_file(
        tmp_path,
        """
        off = ["humidity"]
        [[limit]]
        quantity = "co2"
        high = 1500
        source = "our district"
        label = { zh = "区标准", en = "district" }
        [[limit]]
        quantity = "co2"
        high = 800
        source = "advice"
        judged = false
        """,
    )
    limits = load_limits(path)
    assert limits.judge("co2", 1400.0, WINTER_LESSON)[0] is LimitState.WITHIN
    assert limits.judge("co2", 1501.0, WINTER_LESSON)[1].source == "our district"
    assert [one.source for one in limits.shown("co2", 1)] == ["our district", "advice"]
    assert limits.judge("humidity", 99.0, WINTER_LESSON) == (LimitState.UNJUDGED, None)
    assert limits.judge("temperature", 5.0, WINTER_LESSON)[0] is LimitState.BELOW
    assert load_limits(None).judge("co2", 1400.0, WINTER_LESSON)[0] is LimitState.ABOVE


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[[limit]]\nquantity = "co2"\nhigh = 1\n', "source"),
        ('[[limit]]\nquantity = "c02"\nhigh = 1\nsource = "x"\n', "'c02' is no quantity with a number; known: battery"),
        ('[[limit]]\nquantity = "presence"\nhigh = 1\nsource = "x"\n', "'presence' is no quantity with a number"),
        ('[[limit]]\nquantity = "co2"\nsource = "x"\n', "needs low, high or both"),
        ('[[limit]]\nquantity = "co2"\nlow = 5\nhigh = 5\nsource = "x"\n', "low 5 is not below high 5"),
        ('[[limit]]\nquantity = "co2"\nhigh = nan\nsource = "x"\n', "finite"),
        ('[[limit]]\nquantity = "co2"\nhigh = "9"\nsource = "x"\n', "number"),
        ('[[limit]]\nquantity = "co2"\nhihg = 5\nsource = "x"\n', "remove the key or correct its spelling"),
        ('[[limit]]\nquantity = "co2"\nhigh = 5\nsource = "x"\nmonths = [13]\n', "months"),
        ('[[limit]]\nquantity = "co2"\nhigh = 5\nsource = "x"\nhours = [17, 8]\n', "from 17 to 8"),
        ('off = ["smell"]\n', "off names no quantity: smell"),
        ("co2 = 5\n", "co2"),
        ("[[limit\n", "is not TOML"),
    ],
)
def test_a_wrong_file_is_refused_with_place_and_mend(tmp_path: Path, text: str, said: str) -> None:
    path = limits_file(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        load_limits(path)
    assert said in str(caught.value)
    assert str(path) in str(caught.value)
    assert "→" in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        load_limits(tmp_path / "none.toml")
