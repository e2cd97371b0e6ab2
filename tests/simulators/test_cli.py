from __future__ import annotations

import base64
import json
import signal
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from simulators.cli import app
from simulators.launch import environment
from tests.simulators.conftest import opened

if TYPE_CHECKING:
    from pathlib import Path

    from click.testing import Result

    from simulators.held import Shelf

CLI = [sys.executable, "-m", "simulators"]


def start(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen([*CLI, *arguments], env=environment(), stdout=subprocess.PIPE, text=True)


def test_list() -> None:
    inventory = json.loads(CliRunner().invoke(app, ["list", "--json"]).stdout)
    assert set(inventory["kinds"]) == {"rdm6300", "modbus-rtu", "modbus-tcp", "ble-bands", "camera"}
    assert set(inventory["models"]) == {"multisensor_6in1", "airbox_tcp", "renke_rs_co2ws", "senseair_s8"}
    wire = {"silence", "corruption", "drop", "unplug", "stall", "drift", "hang", "vanish"}
    assert set(inventory["faults"]) == wire | {"dark", "garbage"}
    assert set(inventory["scenes"]) == {"lesson", "empty", "full", "rooms", "empty-room", "covered"}
    assert "gate-reader" in inventory["scenarios"]["classroom"]["devices"]
    text = CliRunner().invoke(app, ["list"]).stdout
    assert all(name in text for names in inventory.values() for name in names)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_device(tmp_path: Path, number: signal.Signals) -> None:
    link = tmp_path / "ttyAIR"
    arguments = ["--link", str(link), "--units", "1,2:renke_rs_co2ws", "--name", "bus", "--corrupt", "0.05"]
    with start("device", "modbus-rtu", *arguments) as process:
        try:
            ready = json.loads(process.stdout.readline())
            assert ready["link"] == str(link)
            assert ready["devices"] == ["bus-1", "bus-2"]
            assert ready["pid"] == process.pid
            with opened(str(link)):
                pass
        finally:
            process.send_signal(number)
        assert process.wait(5) == 0
    assert not link.is_symlink()


def test_camera(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("secret\n")
    login = ["--username", "admin", "--password-file", str(tmp_path / "password")]
    with start(
        "device", "camera", "--capture", "snapshot", "--host", "127.0.0.1", "--scene", "empty", *login
    ) as process:
        try:
            ready = json.loads(process.stdout.readline())
            assert ready["url"] == f"http://127.0.0.1:{ready['port']}/snapshot.jpg"
            answers = []
            for password in ("secret", "wrong"):
                proof = base64.b64encode(f"admin:{password}".encode()).decode()
                request = f"GET /snapshot.jpg HTTP/1.1\r\nHost: h\r\nAuthorization: Basic {proof}\r\n\r\n"
                with socket.create_connection(("127.0.0.1", ready["port"]), timeout=10) as client:
                    client.sendall(request.encode())
                    answers.append(client.recv(12))
        finally:
            process.terminate()
        assert process.wait(10) == 0
    assert answers == [b"HTTP/1.1 200", b"HTTP/1.1 401"]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["device", "toaster"], "toaster"),
        (["device", "modbus-rtu", "--units", "one"], "'one' are not units"),
        (["device", "camera", "--capture", "film"], "choose one of rtsp, mjpeg, snapshot"),
        (["device", "camera", "--password-file", "/nowhere"], "give a file that can be read"),
        (["run", "--scenario", "war"], "classroom"),
    ],
)
def test_usage(arguments: list[str], complaint: str) -> None:
    result = CliRunner().invoke(app, arguments, env={"COLUMNS": "200"})
    assert result.exit_code == 2
    assert complaint in result.output


def test_fault(device: Shelf) -> None:
    bus = device("modbus-rtu", name="bus", units=(1, 2))

    def fault(*arguments: str) -> Result:
        return CliRunner().invoke(app, ["fault", *arguments], env={"COLUMNS": "200"})

    drift = fault(bus.ready.control, "drift", "--point", "co2", "--per-sample", "5", "--device", "bus-1")
    assert json.loads(drift.stdout)["faults"] == bus.state()["faults"] == ["drift"]
    assert fault(bus.ready.control, "drift", "--clear").exit_code == 0
    assert bus.state()["faults"] == []
    wrong = fault(bus.ready.control, "fire")
    assert wrong.exit_code == 2
    assert "choose one of silence" in wrong.output
    assert fault("/nowhere", "silence").exit_code == 69


def test_run_prints_endpoints_and_writes_the_truth(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with start("run", "--data", str(data), "--seed", "5", "--seconds", "30", "--json") as process:
        try:
            printed = json.loads(process.stdout.readline())
        finally:
            process.terminate()
        assert process.wait(10) == 0
    devices = {row["device"]: row for row in printed["devices"]}
    assert (
        devices["r101-air"]["endpoint"] == devices["r102-air"]["endpoint"] == str(data / "dev" / "usb-campus-sim-bus-1")
    )
    assert (devices["r102-air"]["unit"], devices["hall-air"]["profile"]) == (2, "modbus/airbox_tcp")
    assert devices["hall-air"]["endpoint"].startswith("[::1]:")
    assert (data / "ledger.jsonl").read_bytes().count(b"\n") > 90
    assert {path.stem for path in (data / "said").iterdir()} == set(devices)
    again = CliRunner().invoke(app, ["run", "--data", str(data)])
    assert again.exit_code == 2, "a run never mixes its truth with another's"


def test_run_the_school_and_its_bands(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with start("run", "--data", str(data), "--scenario", "school", "--json") as process:
        try:
            printed = json.loads(process.stdout.readline())
        finally:
            process.terminate()
        assert process.wait(10) == 0
    (bands,) = [row for row in printed["devices"] if row["device"] == "gym-bands"]
    assert bands["endpoint"].startswith("tcp-client:")
    assert (bands["room"], bands["profile"]) == ("g1", "ble/heart_rate_service")


def test_run_for_people_ends_after_its_seconds(tmp_path: Path) -> None:
    with start("run", "--data", str(tmp_path), "--seconds", "0.1") as process:
        text, _ = process.communicate(timeout=20)
    assert process.returncode == 0
    assert "gate-reader" in text
    assert "ledger.jsonl" in text


def test_demo_has_options_of_its_own() -> None:
    pytest.importorskip("simulators.demo.command")
    result = CliRunner().invoke(app, ["demo", "--help"], env={"COLUMNS": "120"})
    assert result.exit_code == 0
    assert "campus-sim demo" in result.output
