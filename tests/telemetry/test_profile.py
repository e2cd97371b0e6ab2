"""Profiles: everything wrong is named at once, with its place and what to do; what is sound keeps its types."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from telemetry.errors import ConfigError, Problem
from telemetry.profile import DeviceProfile, Range
from telemetry.validation import validated

SOUND = {
    "id": "test/device",
    "version": "1.0.0",
    "name": {"zh": "测", "en": "test"},
    "manufacturer": "m",
    "model": "m",
    "driver": "modbus",
    "measurement": "environment",
    "point": [{"name": "co2", "quantity": "co2", "physical": {"low": 0, "high": 5000}}],
}


def problems_of(table: dict) -> dict[str, Problem]:
    found: list[Problem] = []
    profile = validated(DeviceProfile, table, "x.toml:", found, see="the guide")
    assert (profile is None) == bool(found)
    return {problem.where: problem for problem in found}


def with_point(**keys) -> dict:
    return SOUND | {"point": [{"name": "co2", "quantity": "co2"} | keys]}


def test_a_sound_profile_keeps_what_it_was_told():
    found: list[Problem] = []
    profile = validated(DeviceProfile, SOUND | {"period_s": 4, "heartbeat": "co2"}, "x", found, see="y")
    assert found == []
    assert profile.reference == "test/device@1.0.0"
    assert (profile.period_s, profile.points[0].physical.high) == (4.0, 5000.0)
    assert str(profile.points[0].data_class) == "open"


def test_sources_and_options_keep_their_types():
    source = {"address": 3, "scale": 0.1, "type": "uint16", "flag": True, "one": 1.0}
    found: list[Problem] = []
    profile = validated(DeviceProfile, with_point(source=source) | {"options": {"unit": 1}}, "x", found, see="y")
    assert [(k, type(v)) for k, v in profile.points[0].source.items()] == [(k, type(v)) for k, v in source.items()]
    assert profile.options == {"unit": 1}


@pytest.mark.parametrize(
    ("table", "where", "text"),
    [
        (SOUND | {"id": "Bad Id"}, "id", "pattern"),
        (SOUND | {"version": "1"}, "version", "pattern"),
        (SOUND | {"colour": "red"}, "colour", "remove the key or correct its spelling"),
        (SOUND | {"measurement": "weather"}, "measurement", "weather"),
        (SOUND | {"period_s": "1"}, "period_s", "'1'"),
        (SOUND | {"period_s": 0}, "period_s", "greater than 0"),
        (SOUND | {"period_s": math.inf}, "period_s", "finite"),
        (SOUND | {"period_s": True}, "period_s", "number"),
        (SOUND | {"name": {"en": "only"}}, "name.zh", "add the key"),
        (SOUND | {"point": []}, "", "at least one"),
        (SOUND | {"point": SOUND["point"] * 2}, "", "named twice: co2"),
        (SOUND | {"heartbeat": "beat"}, "", "not one of the points"),
        (with_point(quantity="mood"), "point.0", "unknown quantity 'mood'; known: battery"),
        (with_point(name="CO2"), "point.0.name", "pattern"),
        (with_point(physical={"low": 5, "high": 5}), "point.0.physical", "not below"),
        (with_point(physical={"low": math.nan, "high": 5}), "point.0.physical.low", "finite"),
        (with_point(report={"deadband": 1}), "point.0.report.at_least_every_s", "add the key"),
        (with_point(report={"deadband": -1, "at_least_every_s": 1}), "point.0.report.deadband", "greater than"),
        (with_point(quantity="presence", physical={"low": 0, "high": 1}), "point.0", "takes no range"),
        (with_point(quantity="presence", max_step_per_s=1.0), "point.0", "takes no range"),
        (with_point(max_step_per_s=0), "point.0.max_step_per_s", "greater than 0"),
        (with_point(**{"class": "secret"}), "point.0.class", "secret"),
        (with_point(data_class="open"), "point.0.data_class", "remove the key"),
        (with_point(source={"a": [1]}), "point.0.source.a.bool", "boolean"),
        ({key: value for key, value in SOUND.items() if key != "driver"}, "driver", "add the key"),
    ],
)
def test_each_problem_is_named_with_place_and_mend(table, where, text):
    found = problems_of(table)
    place = f"x.toml: {where}" if where else "x.toml"
    assert place in found
    assert text in str(found[place])
    assert found[place].mend


def test_every_problem_comes_at_once():
    table = SOUND | {"id": "?", "bogus": 1, "period_s": "x", "point": [{"name": "A", "quantity": "co2"}]}
    assert set(problems_of(table)) == {"x.toml: id", "x.toml: bogus", "x.toml: period_s", "x.toml: point.0.name"}


finite = st.floats(-1e6, 1e6)


@given(finite, finite, finite | st.just(math.nan) | st.just(math.inf))
def test_a_range_is_inclusive_and_nan_is_outside(low, high, value):
    if low >= high:
        return
    assert (value in Range(low=low, high=high)) == (low <= value <= high)


def test_a_config_error_shows_every_problem_and_keeps_its_fields():
    problems = [Problem(where="a.b", what="is wrong", mend="mend it"), Problem(where="c", what="too", mend="that")]
    error = ConfigError(problems)
    assert str(error) == "a.b: is wrong → mend it\nc: too → that"
    assert error.problems == problems
