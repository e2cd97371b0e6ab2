"""The whole path: a simulated camera, agent, mosquitto, ingest: rows of numbers in the store, and nothing else."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests import leaks
from tests.edge_agent.privacy.files import policy_text, write_documents
from tests.servers import make_mosquitto, mosquitto  # noqa: F401 - fixtures

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from simulators.held import HeldDevice, Shelf
    from tests.servers import Server

PROGRAMS = Path(sys.executable).parent
PASSWORD = "s3cr:t w/ord"  # noqa: S105 - a simulated camera's
LAG_NS = 1_500_000_000
CONFIG = """
site = "demo-school"
gateway = "gw-101"
[mqtt]
url = "mqtt://{broker}"
[buffer]
path = "{folder}/buffer"
max_bytes = 64000000
[privacy]
{privacy}[clock]
assume_synced = true
[health]
period_s = 0.5
[log]
level = "debug"
[[link]]
name = "lens"
kind = "camera"
url = "{url}"
username = "admin"
password_file = "{folder}/password"
[[link]]
name = "box"
kind = "tcp"
host = "::1"
port = {box}
[[device]]
name = "r101-camera"
room = "r101"
profile = "camera/people_counter"
link = "lens"
period_s = 0.5
options = {{ records_file = "{folder}/records.jsonl", stalled_s = 1.0 }}
[[device]]
name = "r101-air"
room = "r101"
profile = "modbus/airbox_tcp"
link = "box"
"""


@contextmanager
def running(*command: str, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("ab") as file, subprocess.Popen(command, stdout=file, stderr=file) as process:
        try:
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(15) == 0, log.read_text()


class School:
    """A camera and an air box, an agent and an ingest, with a store to ask."""

    def __init__(self, folder: Path, devices: Shelf, broker: Server) -> None:
        self.folder = folder
        self.camera: HeldDevice = devices("camera", capture="rtsp", scene_s=2.0, username="admin", password=PASSWORD)
        box = devices("modbus-tcp", seed=7)
        self.store = f"sqlite://{folder}/store.sqlite"
        privacy = write_documents(folder, policy=policy_text())
        (folder / "password").write_text(PASSWORD)
        (folder / "password").chmod(0o600)
        self.config = folder / "agent.toml"
        self.config.write_text(
            CONFIG.format(folder=folder, broker=broker.authority, url=self.camera.url, box=box.port, privacy=privacy)
        )
        self.ingest = (str(PROGRAMS / "cloud-ingest"), "run", "--mqtt", f"mqtt://{broker.authority}")
        self.ingest += ("--store", self.store, "--data", str(folder / "ingest"))

    def rows(self, measurement: str, **where: str) -> list[dict[str, Any]]:
        command = [str(PROGRAMS / "cloud-ingest"), "query", "--store", self.store, "--measurement", measurement]
        command += ["--last", "all", "--format", "json"]
        command += [word for name, value in where.items() for word in ("--where", f"{name}={value}")]
        done = subprocess.run(command, capture_output=True, timeout=30, check=False)
        return json.loads(done.stdout) if done.returncode == 0 and done.stdout.strip() else []

    def until(self, condition: Callable[[list[dict[str, Any]]], object], *, within_s: float = 30.0) -> float:
        """Wait for rows of the camera; return how long that took."""
        started = time.monotonic()
        while not condition(self.rows("occupancy")):
            assert time.monotonic() - started < within_s, (self.folder / "agent.log").read_text()[-3000:]
            time.sleep(0.2)
        return time.monotonic() - started


def workers() -> list[int]:
    """Return the cameras' worker processes."""
    return [process.pid for process in leaks.descendants() if "camera_people.worker" in process.command]


def newest_after(at_ns: int) -> Callable[[list[dict[str, Any]]], object]:
    return lambda rows: [row for row in rows if row["time_ns"] > at_ns and "people" in row]


@pytest.mark.server("mosquitto")
def test_people_are_rows_of_numbers_through_death_and_silence(
    tmp_path: Path,
    campus_device: Shelf,
    mosquitto: Server,  # noqa: F811 - the fixture
) -> None:
    school = School(tmp_path, campus_device, mosquitto)
    log = tmp_path / "agent.log"
    with (
        running(*school.ingest, log=tmp_path / "ingest.log"),
        running(sys.executable, "-m", "edge_agent", "run", "--config", str(school.config), log=log) as agent,
    ):
        school.until(lambda rows: len({row["people"] for row in rows if "people" in row}) >= 3)
        maps = Path(f"/proc/{agent.pid}/maps").read_text()
        assert not [name for name in ("cv2", "onnxruntime", "numpy") if f"/{name}" in maps]

        (worker,) = workers()
        os.kill(worker, signal.SIGKILL)
        assert school.until(newest_after(time.time_ns())) < 10
        school.camera.fault("stall")
        school.until(lambda rows: any(row.get("people_bad") == "stale" for row in rows))
        school.camera.fault("dark")
        school.camera.clear("stall")
        school.until(lambda rows: any(row.get("people_bad") == "dark" for row in rows))
        school.camera.clear()
        assert school.until(newest_after(time.time_ns())) < 10
        (last,) = workers()
    assert not Path(f"/proc/{last}").exists()

    rows = school.rows("occupancy")
    air = school.rows("environment", device="r101-air")
    assert max(later["time_ns"] - row["time_ns"] for row, later in pairwise(air)) < 3e9
    assert not [row for row in rows if ("people" in row) == ("people_bad" in row)]
    assert {row["people"] for row in rows if "people" in row} <= {0.0, 4.0, 5.0, 8.0, 12.0}
    assert_true(rows, school.camera.said())
    records = [json.loads(line) for line in (tmp_path / "records.jsonl").read_text().splitlines()]
    # The record tells UTC, the sample the even clock: two looks at the clock, a moment apart.
    taken_ms = {line["at_ns"] // 10**6 + late for line in records for late in (-1, 0, 1)}
    assert {row["time_ns"] // 10**6 for row in rows if "people" in row} <= taken_ms

    said = log.read_bytes() + (tmp_path / "ingest.log").read_bytes()
    assert PASSWORD.encode() not in said
    # No picture lies anywhere: neither a JPEG's nor an H.264 stream's beginning.
    files = [path for path in tmp_path.rglob("*") if path.is_file() and path.name != "password"]
    assert not [path for path in files if b"\xff\xd8\xff" in path.read_bytes() or b"\0\0\1\x67" in path.read_bytes()]


def assert_true(rows: list[dict[str, Any]], said: list[dict[str, Any]]) -> None:
    """Fail unless each number is what the camera showed at its time."""
    scenes = [line for line in said if line["type"] == "scene"]
    ends = [line["at_ns"] for line in scenes[1:]] + [time.time_ns()]
    for row in (row for row in rows if "people" in row):
        shown = {
            0 if line["people"] == 0 else max(4, line["people"])
            for line, end_ns in zip(scenes, ends, strict=True)
            if line["at_ns"] <= row["time_ns"] <= end_ns + LAG_NS
        }
        assert row["people"] in shown
