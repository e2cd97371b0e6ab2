"""The texts of problems: place, what was given, what to do; a credential in an address is never repeated."""

import pytest
from pydantic import Field
from pydantic.dataclasses import dataclass

from telemetry.profile import FORBID
from telemetry.validation import validated


@dataclass(frozen=True, slots=True, kw_only=True, config=FORBID)
class Inner:
    number: int


@dataclass(frozen=True, slots=True, kw_only=True, config=FORBID)
class Outer:
    inner: Inner
    text: str = Field(default="x", max_length=3)


def texts(table: dict, where: str) -> list[str]:
    found = []
    assert validated(Outer, table, where, found, see="the guide") is None
    return [str(problem) for problem in found]


@pytest.mark.parametrize(
    ("where", "place"),
    [("f.toml:", "f.toml: inner.number"), ("[[device]] d", "[[device]] d.inner.number"), ("", "inner.number")],
)
def test_the_place_is_the_path_below_where(where, place):
    (text,) = texts({"inner": {"number": "x1"}}, where)
    assert text.startswith(f"{place}: ")
    assert "(it is 'x1')" in text
    assert text.endswith("→ see the guide")


def test_missing_and_unknown_keys_say_what_to_do_and_repeat_no_table():
    found = texts({"inner": {}, "txet": {"password": "geheim"}}, "f:")
    assert any(text.startswith("f: inner.number: ") and text.endswith("→ add the key") for text in found)
    assert any(text.startswith("f: txet: ") and "spelling" in text for text in found)
    assert "geheim" not in "".join(found)


def test_a_credential_in_an_address_is_not_repeated():
    (text,) = texts({"inner": {"number": 1}, "text": "mqtt://gw:geheim@host:1883"}, "f:")
    assert "geheim" not in text
    assert "host:1883" in text


def test_a_sound_table_is_a_record():
    found = []
    assert validated(Outer, {"inner": {"number": 1}}, "f:", found, see="") == Outer(inner=Inner(number=1))
    assert found == []
