"""VictoriaMetrics in settings and on the command line: a mirror, never a store."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from cloud_ingest.series import Row, make_series
from cloud_ingest.settings import describe, load
from cloud_ingest.stores.opening import open_store
from telemetry.errors import ConfigError
from telemetry.sample import DataClass
from tests.cloud_ingest.test_cli import run
from tests.servers import Server, free_port

if TYPE_CHECKING:
    from cloud_ingest.settings import Settings

VM = "victoriametrics://u:tok3n@[::1]:8428"


def loaded(**store: Any) -> Settings:
    return load(None, {"mqtt": {"url": "mqtt://b"}, "store": {"url": "sqlite:///s", **store}, "data": Path("d")})


def test_mirrors_are_read_also_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    other = "victoriametricss://host"
    assert loaded().store.mirrors == ()
    settings = loaded(mirrors=[VM, other])
    assert settings.store.mirrors == (VM, other)
    assert "mirror victoriametrics://[::1]:8428, mirror victoriametricss://host" in describe(settings)
    assert "tok3n" not in describe(settings) + repr(settings)
    monkeypatch.setenv("CAMPUS_INGEST_STORE__MIRRORS", json.dumps([VM]))
    monkeypatch.setenv("CAMPUS_INGEST_STORE__MIRROR_VALUES", "7")
    assert (loaded().store.mirrors, loaded().store.mirror_values) == ((VM,), 7)


@pytest.mark.parametrize(
    ("mirrors", "words"),
    [
        (["sqlite:///m"], "sqlite:///m is a store, not a mirror"),
        (["influx1://u:tok3n@h/d"], "is a store, not a mirror"),
        ([VM, VM.replace("u:tok3n@", "")], "the same mirror twice"),
        (["victoriametrics://u:tok3n@h/path"], "must be"),
    ],
)
def test_wrong_mirrors(mirrors: list[str], words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        loaded(mirrors=mirrors)
    assert "tok3n" not in str(caught.value)


@pytest.mark.parametrize("data_class", DataClass)
def test_as_a_store_it_is_refused_for_every_class(tmp_path: Path, data_class: DataClass) -> None:
    url = f"victoriametrics://[::1]:{free_port()}"
    arguments = ("run", "--mqtt", f"mqtt://[::1]:{free_port()}", "--data", tmp_path / "d")
    routes = json.dumps({data_class: url})
    done = run(*arguments, "--store", f"sqlite://{tmp_path}/s", CAMPUS_INGEST_STORE__ROUTES=routes)
    assert done.returncode == 78
    assert f"cannot keep class {data_class}: it acknowledges rows before they are durable" in done.stderr
    assert "name this one in store.mirrors" in done.stderr


def test_check_and_query(tmp_path: Path, mosquitto: Server, victoria_metrics: Server) -> None:
    url, gone = f"victoriametrics://{victoria_metrics.authority}", f"victoriametrics://[::1]:{free_port()}"
    store = ("--mqtt", f"mqtt://{mosquitto.authority}", "--data", tmp_path, "--json", "--store")

    def findings(*arguments: Any, **environment: str) -> tuple[int, list[tuple[str, str, str]]]:
        done = run("check", *arguments, **environment)
        return done.returncode, [(f["what"], f["state"], f["detail"]) for f in json.loads(done.stdout)]

    code, found = findings(*store, f"sqlite://{tmp_path}/s", CAMPUS_INGEST_STORE__MIRRORS=json.dumps([url]))
    assert code == 0
    assert (f"mirror {url}", "ok", "VictoriaMetrics, keeps 100y") in found
    (tmp_path / "counters.json").write_text('{"counters":{"mirror.dropped.full":3,"mirror.written_values":5}}')
    code, found = findings(*store, f"sqlite://{tmp_path}/s", CAMPUS_INGEST_STORE__MIRRORS=json.dumps([url, gone]))
    assert code == 69
    assert {what: state for what, state, _ in found if "mirror" in what} == {
        f"mirror {url}": "ok",
        f"mirror {gone}": "unavailable",
        "counter mirror.dropped.full": "warning",
        "counter mirror.written_values": "ok",
    }
    code, found = findings(*store, url)
    assert code == 1
    states = [(state, detail) for what, state, detail in found if what == f"store {url}"]
    assert [state for state, _ in states] == ["ok", "failed", "warning", "warning", "warning", "warning"]
    assert all("before they are durable" in detail for _, detail in states[1:])


async def test_query_shows_what_was_mirrored(victoria_metrics: Server) -> None:
    url = f"victoriametrics://{victoria_metrics.authority}"
    start = time.time_ns() // 60_000_000_000 * 60_000_000_000 - 120_000_000_000
    series = make_series("environment", {"site": "s", "room": "r", "device": "d1"})
    opened = open_store(url)
    rows = [Row(series=series, time_ns=start + n * 10**10, fields={"co2": float(n), "ok": True}) for n in range(8)]
    await opened.write(rows)
    await opened.close()
    victoria_metrics.stop()
    victoria_metrics.start()
    done = run("query", "--store", url, "--measurement", "environment", "--format", "json", "--where", "room=r")
    assert [(row["time_ns"], row["co2"], row["ok"]) for row in json.loads(done.stdout)] == [
        (start + n * 10**10, float(n), 1.0) for n in range(8)
    ]
    every = ("--every", "1m", "--field", "co2", "--format", "csv")
    done = run("query", "--store", url, "--measurement", "environment", *every)
    assert [line.rsplit(",", 1)[1] for line in done.stdout.splitlines()] == ["co2", "2.5", "6.5"]
    done = run("query", "--store", url, "--measurement", "vitals")
    assert done.returncode == 0
    assert "no rows of 'vitals'" in done.stderr
