from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from influxdb_client import Point, WritePrecision

from cloud_ingest.escaping import series_key
from cloud_ingest.line_protocol import LineEncoder
from cloud_ingest.series import Row, make_series

# What both can write: the library drops empty tags and alters line breaks and closing backslashes, we refuse them.
NAMES = st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=12).filter(
    lambda text: not text.endswith("\\") and not text.startswith("#") and not text.isspace()
)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.one_of(FLOATS, st.booleans(), st.text(st.characters(exclude_categories=["Cs"]), max_size=20))


def parse_fields(text: str) -> dict[str, str]:
    """Split `a=1,b="x"` at what is neither escaped nor quoted: independent of the encoder."""
    fields, key, current, quoted, index = {}, None, "", False, 0
    while index < len(text):
        character = text[index]
        # In a key only , = and space are escaped; a backslash before anything else is itself.
        if character == "\\" and index + 1 < len(text) and (quoted or text[index + 1] in ",= "):
            current += text[index : index + 2]
            index += 2
            continue
        if character == '"' and key is not None:
            quoted = not quoted
        if character == "=" and key is None:
            key, current = current, ""
        elif character == "," and not quoted:
            fields[key], key, current = current, None, ""
        else:
            current += character
        index += 1
    fields[key] = current
    return fields


def split_line(line: str, key: str) -> tuple[str, str, str]:
    return line[: len(key)], line[len(key) + 1 : line.rindex(" ")], line[line.rindex(" ") :]


@given(NAMES, st.dictionaries(NAMES, NAMES, max_size=3), st.dictionaries(NAMES, FLOATS, min_size=1, max_size=3))
def test_agrees_with_the_client_library_on_series_and_numbers(measurement, tags, fields) -> None:
    point = Point(measurement)
    for key, value in tags.items():
        point.tag(key, value)
    for name, value in fields.items():
        point.field(name, value)
    expected = point.time(1_700_000_000_000_000_001, WritePrecision.NS).to_line_protocol()
    row = Row(
        series=make_series(measurement, tags), time_ns=1_700_000_000_000_000_001, fields=dict(sorted(fields.items()))
    )
    ours = LineEncoder().encode([row]).decode()
    assert ours.startswith(series_key(measurement, sorted(tags.items())) + " ")
    series, body, at = split_line(ours, row.series.key)
    their_series, their_body, their_at = split_line(expected, row.series.key)
    assert (series, at) == (their_series, their_at)
    # The library writes 5 where we write 5.0: the same float to the server.
    ours_read = {name: float(text) for name, text in parse_fields(body).items()}
    assert ours_read == {name: float(text) for name, text in parse_fields(their_body).items()}
    assert list(ours_read.values()) == list(row.fields.values())


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=40))
def test_agrees_with_the_client_library_on_strings(text) -> None:
    expected = Point("m").field("s", text).to_line_protocol()
    assert LineEncoder().encode([Row(series=make_series("m", {}), time_ns=1, fields={"s": text})]).decode() == (
        f"{expected} 1"
    )


@given(st.lists(VALUES, min_size=1, max_size=30))
def test_memory_of_texts_never_changes_a_value(values) -> None:
    encoder = LineEncoder()
    series = make_series("m", {})
    for value in [*values, *values]:
        row = Row(series=series, time_ns=1, fields={"v": value})
        assert encoder.encode([row]) == LineEncoder().encode([row])


POINTS = st.from_regex(r"[a-z][a-z0-9_]{0,39}", fullmatch=True)
PLAIN = st.dictionaries(POINTS, st.one_of(FLOATS, st.booleans()), min_size=1, max_size=4)


@given(st.lists(st.tuples(st.booleans(), PLAIN), min_size=1, max_size=8))
def test_plain_rows_are_written_like_any_others(rows) -> None:
    series = [make_series("m", {"room": f"r {number}:}},{{"}) for number in range(len(rows))]
    made = [
        Row(series=one, time_ns=number, fields=fields, plain=plain)
        for number, (one, (plain, fields)) in enumerate(zip(series, rows, strict=True))
    ]
    lines = LineEncoder().encode(made).decode().split("\n")
    for row, line in zip(made, lines, strict=True):
        key, body, at = split_line(line, row.series.key)
        assert (key, at) == (row.series.key, f" {row.time_ns}")
        read = parse_fields(body)
        assert list(read) == list(row.fields)
        for name, value in row.fields.items():
            assert read[name] == str(value).lower() if isinstance(value, bool) else float(read[name]) == value


def test_zero_keeps_its_sign_and_booleans_are_no_numbers() -> None:
    encoder = LineEncoder()
    series = make_series("m", {})
    for plain in (False, True):
        rows = [Row(series=series, time_ns=1, fields={"v": v}, plain=plain) for v in (0.0, -0.0, 1.0, True, False)]
        assert [encoder.encode([row]) for row in rows] == [
            b"m v=0.0 1",
            b"m v=-0.0 1",
            b"m v=1.0 1",
            b"m v=true 1",
            b"m v=false 1",
        ]


@pytest.mark.parametrize("text", ["", "closing\\", "line\nbreak", "carriage\rreturn", "nul\0"])
def test_what_cannot_be_written_unaltered_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="cannot be written"):
        series_key("m", [("tag", text)])
    with pytest.raises(ValueError, match="cannot be written"):
        series_key("m", [(text, "value")])
    with pytest.raises(ValueError, match="cannot be written"):
        series_key(text, [])
    with pytest.raises(ValueError, match="cannot be written"):
        LineEncoder().encode([Row(series=make_series("m", {}), time_ns=1, fields={text: 1.0})])


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_numbers_that_are_none_are_refused(value: float) -> None:
    with pytest.raises(ValueError, match="cannot be written"):
        LineEncoder().encode([Row(series=make_series("m", {}), time_ns=1, fields={"v": value})])
    with pytest.raises(ValueError, match="cannot be written"):
        LineEncoder().encode([Row(series=make_series("m", {}), time_ns=1, fields={"v": value}, plain=True)])


def test_a_measurement_never_becomes_a_comment() -> None:
    with pytest.raises(ValueError, match="comment"):
        series_key("#m", [])
