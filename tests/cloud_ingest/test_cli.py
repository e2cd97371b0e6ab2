from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from cloud_ingest.deadletter import DeadLetters, Letter
from cloud_ingest.series import Row, make_series
from cloud_ingest.stores.opening import open_store
from telemetry.batch import encode_batch
from telemetry.counters import Counters
from tests.cloud_ingest.conftest import ROOT
from tests.cloud_ingest.gateway import NOW, attendance, batch, block, payload_of, sample, topic_of
from tests.servers import MakeServer, Server, free_port

if TYPE_CHECKING:
    from pathlib import Path

MINUTE = 60 * 10**9


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", "cloud_ingest.cli", *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
async def url(tmp_path: Path) -> str:
    url = f"sqlite://{tmp_path}/store.sqlite"
    store = open_store(url)
    for device in ("d1", "d2"):
        series = make_series("environment", {"site": "s", "room": "r", "device": device})
        start = NOW - NOW % MINUTE - 60 * MINUTE
        await store.write(
            [
                Row(series=series, time_ns=start + n * MINUTE // 2, fields={"co2": float(n), "co2_bad": "stale"})
                for n in range(4)
            ]
        )
    await store.close()
    return url


def test_help_names_the_exit_codes() -> None:
    for command in ([], ["run"], ["check"], ["query"], ["deadletter"]):
        done = run(*command, "--help")
        assert done.returncode == 0
        assert "Exit codes" in done.stdout


def test_query_in_each_form(url: str) -> None:
    raw = json.loads(
        run("query", "--store", url, "--measurement", "environment", "--last", "all", "--format", "json").stdout
    )
    assert len(raw) == 8
    assert raw == sorted(raw, key=lambda row: row["time_ns"])
    assert set(raw[0]) == {"time_ns", "site", "room", "device", "co2", "co2_bad"}
    means = json.loads(
        run(
            *("query", "--store", url, "--measurement", "environment", "--last", "2h", "--every", "1m"),
            *("--where", "device=d1", "--field", "co2", "--format", "json"),
        ).stdout
    )
    assert [row["co2"] for row in means] == [0.5, 2.5]
    text = run("query", "--store", url, "--measurement", "environment", "--last", "0", "--format", "csv").stdout
    rows = list(csv.DictReader(io.StringIO(text)))
    assert len(rows) == 8
    assert rows[0]["co2"] == "0.0"
    table = run("query", "--store", url, "--measurement", "environment", "--last", "2h").stdout
    assert "co2" in table
    assert json.loads(run("query", "--store", url, "--measurement", "none", "--format", "json").stdout) == []
    assert run("query", "--store", url, "--measurement", "none").returncode == 0


@pytest.mark.parametrize(
    "wrong",
    [["--last", "yesterday"], ["--every", "x"], ["--where", "room"], ["--format", "xml"]],
)
def test_wrong_usage_is_2(url: str, wrong: list[str]) -> None:
    assert run("query", "--store", url, "--measurement", "environment", *wrong).returncode == 2


def test_wrong_settings_are_78_and_an_absent_store_69(tmp_path: Path) -> None:
    done = run("run", "--mqtt", "http://x", "--data", tmp_path)
    assert done.returncode == 78
    assert "mqtt.url" in done.stderr
    assert "store" in done.stderr
    assert "Traceback" not in done.stderr
    done = run("query", "--store", "influx9://x", "--measurement", "m")
    assert done.returncode == 78
    done = run("query", "--store", f"influx1://[::1]:{free_port()}/db", "--measurement", "m")
    assert done.returncode == 69
    assert "Traceback" not in done.stderr
    (tmp_path / "file").write_text("")
    store = f"sqlite://{tmp_path}/s"
    done = run("run", "--mqtt", "mqtt://[::1]:1", "--store", store, "--data", tmp_path / "file" / "deeper")
    assert done.returncode == 78
    assert "data folder" in done.stderr


def test_check_names_every_problem_at_once(tmp_path: Path, make_mosquitto: MakeServer) -> None:
    broker = f"mqtt://[::1]:{free_port()}"
    store = f"influx1://[::1]:{free_port()}/db"
    done = run("check", "--mqtt", broker, "--store", store, "--data", tmp_path, "--json")
    assert done.returncode == 69
    states = {finding["what"]: finding["state"] for finding in json.loads(done.stdout)}
    assert states[f"broker {broker}"] == "unavailable"
    assert states[f"store {store}"] == "unavailable"

    (tmp_path / "acl").write_text("topic read nothing\n")
    closed = make_mosquitto(extra="allow_anonymous false")
    done = run("check", "--mqtt", f"mqtt://{closed.authority}", "--store", f"sqlite://{tmp_path}/s", "--data", tmp_path)
    assert done.returncode == 1
    assert "refuses our login" in done.stdout


def test_check_finds_all_well_and_shows_drops(tmp_path: Path, mosquitto: Server) -> None:
    (tmp_path / "counters.json").write_text(
        '{"counters":{"intake.shed_batches":3,"ack.published":5,"audit.rewritten":1}}'
    )
    arguments = ("--mqtt", f"mqtt://{mosquitto.authority}", "--store", f"sqlite://{tmp_path}/s", "--data", tmp_path)
    done = run("check", *arguments, "--json")
    assert done.returncode == 0, done.stdout
    states = {finding["what"]: (finding["state"], finding["detail"]) for finding in json.loads(done.stdout)}
    assert states["counter intake.shed_batches"] == ("warning", "3")
    assert states["counter audit.rewritten"] == ("warning", "1")
    assert states["counter ack.published"] == ("ok", "5")
    alone = run("check", "--data", tmp_path)
    assert alone.returncode == 0
    assert "intake.shed_batches: 3" in alone.stdout


def test_dead_letters_are_listed_shown_replayed_and_purged(tmp_path: Path) -> None:
    dead = DeadLetters(tmp_path / "deadletter.sqlite", max_bytes=1 << 20, counters=Counters())
    good, person = batch(1, [block([sample(NOW)])]), attendance(2)
    dead.add(
        [
            Letter(topic=topic_of(good), payload=payload_of(good), reason="the store was wrong then"),
            Letter(topic=topic_of(person), payload=payload_of(person), reason="no store"),
            Letter(topic=topic_of(good), payload=encode_batch(good)[:-5], reason="cut short"),
        ]
    )
    dead.close()
    data = ("--data", tmp_path)
    listed = json.loads(run("deadletter", "list", *data, "--json").stdout)
    assert [(one["id"], one["reason"]) for one in listed] == [
        (1, "the store was wrong then"),
        (2, "no store"),
        (3, "cut short"),
    ]
    assert "3 dead letters" in run("deadletter", "list", *data).stdout
    shown = json.loads(run("deadletter", "show", "1", *data, "--json").stdout)
    assert json.loads(shown["content"])["batch"] == 1
    assert run("deadletter", "show", "99", *data).returncode == 1
    url = f"sqlite://{tmp_path}/store.sqlite"
    assert run("deadletter", "replay", *data).returncode == 2
    done = run("deadletter", "replay", *data, "--json", CAMPUS_INGEST_STORE__URL=url)
    assert done.returncode == 1
    assert [one["stored"] for one in json.loads(done.stdout)] == [True, True, False]
    rows = json.loads(
        run("query", "--store", url, "--measurement", "environment", "--last", "all", "--format", "json").stdout
    )
    assert [row["time_ns"] for row in rows] == [NOW]
    assert len(json.loads(run("deadletter", "list", *data, "--json").stdout)) == 1
    assert run("deadletter", "purge", *data).returncode == 2
    assert json.loads(run("deadletter", "purge", "--all", *data, "--json").stdout) == {"removed": 1}
    assert run("deadletter", "list", "--data", tmp_path / "nowhere").returncode == 78


def test_starting_is_light() -> None:
    """`query` on SQLite loads neither HTTP nor MQTT, `--help` loads next to nothing."""
    heavy = ("aiohttp", "aiomqtt", "pydantic_settings", "influxdb_client")
    code = f"import sys, cloud_ingest.cli; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_conflict_is_replayed_only_by_its_number(tmp_path: Path) -> None:
    """It would write over what came first."""
    url = f"sqlite://{tmp_path}/store.sqlite"
    data = ("--data", tmp_path, "--store", url, "--json")
    conflict = batch(1, [block([sample(NOW, {"co2": 9.0})])])
    dead = DeadLetters(tmp_path / "deadletter.sqlite", max_bytes=1 << 20, counters=Counters())
    dead.add([Letter(topic=topic_of(conflict), payload=payload_of(conflict), reason="conflict: known otherwise")])
    dead.close()
    done = run("deadletter", "replay", *data)
    assert done.returncode == 1
    assert "name the letter's number" in json.loads(done.stdout)[0]["reason"]
    done = run("deadletter", "replay", "1", *data)
    assert (done.returncode, json.loads(done.stdout)[0]["stored"]) == (0, True)


def test_a_broken_letter_file_is_a_finding_not_a_crash(tmp_path: Path) -> None:
    (tmp_path / "deadletter.sqlite").write_bytes(b"nonsense" * 1000)
    done = run("check", "--data", tmp_path)
    assert done.returncode == 1
    assert "restore the file" in done.stdout
    done = run("deadletter", "list", "--data", tmp_path)
    assert done.returncode == 78
    assert "Traceback" not in done.stderr


def test_a_question_the_store_refuses_is_no_crash(influxd: Server) -> None:
    done = run("query", "--store", f"influx1://{influxd.authority}/nowhere", "--measurement", "environment")
    assert done.returncode == 69
    assert "database not found" in done.stderr
    assert "Traceback" not in done.stderr
