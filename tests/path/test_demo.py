"""`campus-sim demo` as a user calls it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests import leaks
from tests.path.conftest import COMMAND

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.servers import MakeServer, Server

    RunDemo = Callable[..., tuple[int, dict[str, Any]]]


def test_a_fresh_demo_loses_doubles_alters_and_leaks_nothing(run_demo: RunDemo, tmp_path: Path) -> None:
    code, report = run_demo("--seconds", "20", "--seed", "3")
    assert (code, report["verdict"], report["reasons"]) == (0, "green", [])
    air, cards, vitals, people = (
        report["families"][name] for name in ("environment", "attendance", "vitals", "occupancy")
    )
    assert air["stored"] > 150
    assert cards["stored"] > 5
    assert vitals["stored"] > 600
    assert vitals["aggregates"] >= 1
    assert set(report["withheld"]) == {"personal.no_consent", "sensitive.no_consent", "unbound"}
    assert cards["withheld"] == {"no_consent": report["withheld_by_agent"]["personal.no_consent"]}
    assert people["stored"] > 2 * 5  # each count stands beside the picture's brightness
    assert people["truths"] >= 3
    for family in (air, cards, vitals, people):
        assert family["lost"] == family["duplicated"] == family["altered"] == family["younger_than_w"] == 0
        accounted = ("stored", "suppressed", "unobserved", "bad")
        assert family["said"] == sum(family[name] for name in accounted) + sum(family["withheld"].values())
    assert report["first_stored_s"] < 10
    assert all(at_s < 20 for at_s in report["first_stored_by_family_s"].values())
    assert {"agent", "ingest", "broker", "device:bus-1", "device:gym-radio", "agent's helpers"} <= set(
        report["processes"]
    )
    assert all(process["rss_mb"] > 1 for process in report["processes"].values())
    assert report["leaks"] == []
    assert report["simulated"] is True
    assert report["site"] not in (tmp_path / "data" / "ledger.jsonl").read_text()


@pytest.mark.parametrize(
    ("sabotage", "category"), [("drop", "lost"), ("dup", "duplicated"), ("alter", "altered"), ("leak", "leaks")]
)
def test_sabotage_of_the_path_turns_it_red(run_demo: RunDemo, sabotage: str, category: str) -> None:
    code, report = run_demo("--seconds", "7", "--sabotage", sabotage)
    assert (code, report["verdict"]) == (1, "red")
    assert report["sabotaged_batches"] > 0
    if category == "leaks":
        assert any("mqtt.tap" in leak for leak in report["leaks"])
    else:
        assert all(report["families"][name][category] > 0 for name in ("environment", "vitals"))
    others = {"lost", "duplicated", "altered"} - {category}
    assert not any(report["families"][family][name] for family in ("environment", "vitals") for name in others)


def test_a_real_broker_with_mqtt_5_and_a_real_database(
    run_demo: RunDemo, make_mosquitto: MakeServer, influxd: Server
) -> None:
    broker = make_mosquitto(host="::1")
    options = ("--mqtt", f"mqtt://{broker.authority}", "--mqtt-protocol", "5")
    code, report = run_demo("--seconds", "10", "--store", f"influx1://{influxd.authority}/demo", *options)
    assert (code, report["reasons"]) == (0, [])
    assert report["families"]["environment"]["stored"] > 20
    assert report["families"]["vitals"]["stored"] > 100
    assert report["store"].startswith("influx1://[::1]:")


def test_a_real_broker_with_mqtt_3_1_1_over_ipv4(run_demo: RunDemo, make_mosquitto: MakeServer) -> None:
    broker = make_mosquitto(host="127.0.0.1")
    options = ("--mqtt", f"mqtt://{broker.authority}", "--mqtt-protocol", "3.1.1")
    code, report = run_demo("--seconds", "8", "--scenario", "classroom", *options)
    assert (code, report["reasons"]) == (0, [])
    assert set(report["families"]) == {"attendance", "environment"}


@contextlib.contextmanager
def running_demo(folder: str) -> Iterator[tuple[subprocess.Popen[bytes], set[leaks.Process]]]:
    """A demo whose agent runs already, and all the processes it has started."""
    environment = os.environ | {"TMPDIR": folder}
    with subprocess.Popen(
        [*COMMAND, "--seconds", "60"], stderr=subprocess.PIPE, env=environment, start_new_session=True
    ) as demo:
        try:
            deadline = time.monotonic() + 30
            while not any(b"reading" in log.read_bytes() for log in Path(folder).glob("*/log/agent.log")):
                assert time.monotonic() < deadline
                assert demo.poll() is None
                time.sleep(0.05)
            yield demo, {process for process in leaks.descendants() if process.pid != demo.pid}
        finally:
            demo.kill()


def ended(processes: set[leaks.Process]) -> bool:
    deadline = time.monotonic() + 5
    while (left := leaks.descendants() & processes) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not left


@pytest.fixture
def short_folder() -> Iterator[str]:
    # Not tmp_path: the demo leaves a TMPDIR that is too long for a socket's path.
    with tempfile.TemporaryDirectory(prefix="campus-test-") as folder:
        yield folder


def test_ctrl_c_stops_everything_and_leaves_no_file(short_folder: str) -> None:
    with running_demo(short_folder) as (demo, processes):
        demo.send_signal(signal.SIGINT)
        assert demo.wait(15) == 130
        assert len(processes) >= 6
        assert ended(processes)
    assert list(Path(short_folder).iterdir()) == []


def test_kill_9_of_the_demo_leaves_no_process(short_folder: str) -> None:
    with running_demo(short_folder) as (demo, processes):
        demo.kill()
        demo.wait(5)
        assert ended(processes)


@pytest.mark.parametrize(
    ("options", "code", "says"),
    [
        (["--mqtt", "mqtts://host"], 2, b"mqtt://"),
        (["--mqtt", "mqtt://[::1]:1"], 69, b"no MQTT broker answers"),
        (["--mqtt-protocol", "4"], 2, b"3.1.1"),
    ],
)
def test_what_cannot_work_says_why(tmp_path: Path, options: list[str], code: int, says: bytes) -> None:
    command = [*COMMAND, "--data", str(tmp_path / "data"), "--quiet", *options]
    done = subprocess.run(command, capture_output=True, timeout=60, check=False)
    assert done.returncode == code
    assert says in done.stderr


def test_a_folder_of_another_run_is_refused(tmp_path: Path) -> None:
    (tmp_path / "ledger.jsonl").write_text("{}")
    done = subprocess.run([*COMMAND, "--data", str(tmp_path)], capture_output=True, timeout=60, check=False)
    assert done.returncode == 2
    assert b"empty folder" in done.stderr
