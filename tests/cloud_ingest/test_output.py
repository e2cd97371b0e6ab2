"""What a person or a program reads: tables, CSV, JSON."""

from __future__ import annotations

import io
import json
import time
from typing import TYPE_CHECKING

import pytest

from cloud_ingest.output import _shown, write_records
from cloud_ingest.series import Row, make_series
from cloud_ingest.stores.opening import open_store
from tests.cloud_ingest.test_cli import run

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

AT = 1_760_000_040 * 10**9
ROW = {
    "time_ns": AT + 123_456_789,
    "site": "demo-school-with-a-long-name",
    "room": "r101",
    "device": "r101-air-quality-by-the-window",
    **{f"point_number_{n}": 20.123456789 + n for n in range(8)},
    "state": "[bold]ok[/bold]",
}


@pytest.fixture
def shanghai(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "Asia/Shanghai")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def table_of(*records: dict) -> str:
    out = io.StringIO()
    write_records(records, "table", out)
    return out.getvalue()


@pytest.mark.usefixtures("shanghai")
def test_a_table_in_a_pipe_is_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    text = table_of(ROW, {**ROW, "time_ns": AT})
    assert "…" not in text
    assert len(text.splitlines()) == 6
    for part in (*(name for name in ROW if name != "time_ns"), "demo-school-with-a-long-name", "[bold]ok[/bold]"):
        assert part in text
    assert "20.123 " in text
    assert "2025-10-09 08:54:00.123" in text
    assert "2025-10-09 16:54:00.123+08:00" in text
    assert "2025-10-09 08:54:00 " in table_of({**ROW, "time_ns": AT}), "no fraction where none has any"


def test_where_local_time_is_utc_it_is_shown_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    text = table_of(ROW)
    monkeypatch.undo()
    time.tzset()
    assert "UTC" in text
    assert "local" not in text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (21.0, "21"),
        (20.99949, "20.999"),
        (1 / 3, "0.333"),
        (-0.5, "-0.5"),
        (0.0, "0"),
        (0.000_012_3, "1.23e-05"),
        (1e16, "1e+16"),
        (1013.25, "1013.25"),
        (100_000.0, "100000"),
        (True, "true"),
        (None, ""),
        ("stale", "stale"),
    ],
)
def test_values_in_a_table(value: object, text: str) -> None:
    assert _shown(value) == text


def test_csv_and_json_are_exact() -> None:
    out = io.StringIO()
    write_records([ROW], "json", out)
    assert json.loads(out.getvalue()) == [ROW]
    out = io.StringIO()
    write_records([ROW], "csv", out)
    assert repr(ROW["point_number_0"]) in out.getvalue()


async def test_what_finds_nothing_says_why(tmp_path: Path) -> None:
    url = f"sqlite://{tmp_path}/s.sqlite"
    store = open_store(url)
    series = make_series("environment", {"site": "s", "room": "r", "device": "d"})
    await store.write([Row(series=series, time_ns=AT, fields={"co2": 1.0})])
    await store.close()
    done = run("query", "--store", url, "--measurement", "environment", "--last", "1h", "--format", "json")
    assert (done.returncode, json.loads(done.stdout)) == (0, [])
    assert "--last all" in done.stderr
    done = run("query", "--store", url, "--measurement", "enviroment", "--last", "all")
    assert (done.returncode, done.stdout) == (0, "")
    assert "known: attendance, energy, environment" in done.stderr


@pytest.mark.parametrize(
    ("option", "text", "words"),
    [
        ("--last", "yesterday", "is not a duration such as"),
        ("--every", "1", "is not a duration such as"),
        ("--last", "99999999w", "longer than"),
        ("--every", "9" * 400 + "d", "longer than"),
    ],
)
def test_a_wrong_duration_names_option_and_mend(tmp_path: Path, option: str, text: str, words: str) -> None:
    done = run("query", "--store", f"sqlite://{tmp_path}/s", "--measurement", "environment", option, text)
    assert done.returncode == 2
    assert option in done.stderr
    assert words in done.stderr.replace("\n│ ", " ").replace("  ", " ")
    assert "Traceback" not in done.stderr


def test_a_missing_store_is_69_with_a_mend_and_stays_missing(tmp_path: Path) -> None:
    done = run("query", "--store", f"sqlite://{tmp_path}/none.sqlite", "--measurement", "environment")
    assert done.returncode == 69
    assert "correct the path" in done.stderr
    assert list(tmp_path.iterdir()) == []
