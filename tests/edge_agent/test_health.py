"""Health: the document a person sees, the gateway's own row, and a watchdog that is fed by progress only."""

import asyncio
import json
import socket
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import pytest

from device_profiles import load_profile
from edge_agent import health as health_module
from edge_agent.buffer import FlashState
from edge_agent.clock import Clock
from edge_agent.collector import DeviceState
from edge_agent.health import Health, Progress, feed_watchdog, rss_bytes, tell
from edge_agent.privacy import Documents
from edge_agent.settings import parse_settings
from telemetry.counters import Counters
from telemetry.errors import AuthError, DeviceUnavailable
from telemetry.sample import DataClass
from tests.drivers.helpers import running
from tests.waiting import until


@dataclass
class Buffer:
    batches: int = 3
    values: int = 120
    disk_bytes: int = 4096
    oldest_age_s: float | None = 1.5
    hours_left: float | None = None
    hours_left_of: dict[str, float] = field(default_factory=dict)
    rate: str | None = None
    disk_error: str | None = None
    flash: FlashState | None = None


def made(**changes):
    states = {"a": DeviceState(device="a"), "b": DeviceState(device="b"), "c": DeviceState(device="c")}
    states["a"].sampled()
    states["b"].down(DeviceUnavailable("link bus is lost"))
    counters = Counters()
    settings = parse_settings(
        {"site": "s", "gateway": "g", "mqtt": {"url": "mqtt://h"}, "buffer": {"path": "b"}, "simulated": True}, "f:"
    )
    documents = Documents(site="s", trusted={}, paths={}, state_file=None, now_ns=lambda: 0, counters=counters)
    documents.look()
    fields = {
        "epoch": "e",
        "clock": Clock(assume_synced=True),
        "counters": counters,
        "devices": states,
        "buffer": Buffer,
        "documents": documents,
        "keys": False,
    }
    return Health(settings, **(fields | changes)), counters


def test_the_document_says_how_everything_is():
    health, counters = made()
    counters.add("buffer.dropped_values.open", 5)
    document = json.loads(json.dumps(health.document()))
    assert document["devices"]["a"]["state"] == "up"
    assert document["devices"]["a"]["last_sample_age_s"] >= 0
    assert document["devices"]["b"] == {"state": "down", "last_sample_age_s": None, "error": "link bus is lost"}
    assert document["devices"]["c"] == {"state": "starting", "last_sample_age_s": None, "error": None}
    assert document["buffer"] == {
        "batches": 3,
        "values": 120,
        "bytes": 4096,
        "oldest_age_s": 1.5,
        "hours_left": None,
        "hours_left_of": {},
        "rate": None,
        "disk_error": None,
    }
    assert document["flash"] is None
    assert document["counters"] == {"buffer.dropped_values.open": 5}
    assert document["gate_closed_for_people"] == "policy none: no policy_file is set"
    assert {name: told["state"] for name, told in document["documents"].items()} == dict.fromkeys(
        ("policy", "consents", "roster"), "none"
    )
    assert (document["schema"], document["site"], document["gateway"], document["epoch"]) == (
        "campus.health/1",
        "s",
        "g",
        "e",
    )
    assert (document["clock"], document["simulated"]) == ("synced", True)
    assert document["uptime_s"] >= 0


def test_an_unsynchronised_clock_is_told(monkeypatch):
    monkeypatch.setattr(Clock, "synced", lambda _: False)
    assert made()[0].document()["clock"] == "unsynced"


def test_the_gateways_row_fits_its_profile():
    health, counters = made(buffer=lambda: Buffer(oldest_age_s=None))
    counters.add("buffer.dropped_values.open", 5)
    counters.add("buffer.dropped_values.group", 2)
    counters.add("buffer.dropped_batches", 9)
    row = health.row()
    profile = load_profile("campus/gateway")
    assert set(row.values) == {point.name for point in profile.points}
    assert all(type(value) is float for value in row.values.values())
    assert {point.data_class for point in profile.points} == {DataClass.OPS}
    assert row.device == "g"
    assert (row.values["devices_up"], row.values["devices_down"]) == (1.0, 2.0)
    assert (row.values["dropped_values"], row.values["buffer_age"], row.values["buffer_bytes"]) == (7.0, 0.0, 4096.0)


def test_memory_is_ours():
    vm_rss_kib = next(
        int(line.split()[1])
        for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        if line.startswith("VmRSS")
    )
    assert rss_bytes() == pytest.approx(vm_rss_kib * 1024, rel=0.2)


async def test_the_document_goes_out_each_period_and_the_row_less_often():
    health, _ = made()
    documents, rows = [], []

    async def publish(document):
        documents.append(document)

    async def emit(row):
        rows.append(row)

    async with running(tell(health, publish, emit, period_s=0.01)):
        await until(lambda: len(documents) >= 5)
    assert len(rows) == 1
    assert [document["at_ns"] for document in documents] == sorted(document["at_ns"] for document in documents)


@pytest.fixture
def supervisor(tmp_path, monkeypatch):
    path = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(path))
        listener.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", str(path))
        monkeypatch.setenv("WATCHDOG_USEC", "20000")
        monkeypatch.delenv("WATCHDOG_PID", raising=False)
        yield listener


def heard(listener) -> int:
    count = 0
    while True:
        try:
            assert listener.recv(100) == b"WATCHDOG=1"
        except BlockingIOError:
            return count
        count += 1


class Work:
    """An agent with one device that is read each second."""

    busy_s = 0.0

    def __init__(self):
        self.device = DeviceState(device="air")

    def progress(self):
        return Progress([(self.device, 1.0)], lambda: self.busy_s)


async def test_the_watchdog_is_fed_while_samples_move_and_no_longer(supervisor, monkeypatch):
    monkeypatch.setattr(health_module, "MIN_PATIENCE_S", 0.1)
    monkeypatch.setattr(health_module, "_PERIODS_OF_PATIENCE", 0)
    work = Work()
    async with running(feed_watchdog(work.progress())):
        fed = 0

        def moving():
            nonlocal fed
            work.device.passed += 1
            fed += heard(supervisor)
            return fed >= 10

        await until(moving)
        fed_s = time.monotonic()

        def starved():
            nonlocal fed_s
            if heard(supervisor):
                fed_s = time.monotonic()
            return time.monotonic() - fed_s > 0.3  # many times its period

        await until(starved)
        work.device.passed += 1
        await until(lambda: heard(supervisor))


@pytest.fixture
def later(monkeypatch):
    """Return what moves the clock of `Progress` on."""
    now = [1000.0]
    monkeypatch.setattr(health_module, "time", SimpleNamespace(monotonic=lambda: now[0]))

    def move(seconds):
        now[0] += seconds

    return move


def test_where_only_cards_make_samples_quiet_is_no_fault(later):
    progress = Progress([], lambda: 0.0)
    later(7 * 24 * 3600)
    assert progress.alive()


def test_patience_goes_by_the_longest_period(later):
    slow, quick = DeviceState(device="meter"), DeviceState(device="air")
    progress = Progress([(slow, 60.0), (quick, 1.0)], lambda: 0.0)
    assert progress.alive()
    later(299)
    assert progress.alive()
    later(2)
    assert not progress.alive()
    slow.passed += 1
    assert progress.alive()


def test_a_device_that_refused_the_login_is_not_waited_for_and_the_others_are(later):
    """A restart would only log in once more, long before the back-off of a refused login is over."""
    camera, air = DeviceState(device="camera"), DeviceState(device="air")
    alone, both = Progress([(camera, 2.0)], lambda: 0.0), Progress([(camera, 2.0), (air, 1.0)], lambda: 0.0)
    camera.down(AuthError("password refused"))
    assert (alone.alive(), both.alive()) == (True, True)
    later(250)
    assert (alone.alive(), both.alive()) == (True, False)
    camera.down(DeviceUnavailable("unplugged"))  # asked again: now it counts, from now on
    assert alone.alive()
    later(31)
    assert not alone.alive()


def test_a_disk_that_hangs_is_no_progress_however_many_samples_move():
    work = Work()
    progress = work.progress()
    work.device.passed += 1
    assert progress.alive()
    work.busy_s = health_module.DISK_HANGS_S + 1
    work.device.passed += 1
    assert not progress.alive()


async def test_without_a_watchdog_nothing_is_fed(monkeypatch):
    monkeypatch.delenv("WATCHDOG_USEC", raising=False)
    await asyncio.wait_for(feed_watchdog(Work().progress()), 1)
