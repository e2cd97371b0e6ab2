"""How long it lasts, and what the flash card has to bear: told while the agent runs, and when it does not."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

from edge_agent.buffer import Priority, read_status
from edge_agent.buffer.housekeeping import KEEP_EVERY_S
from edge_agent.buffer.rates import DAY_S, HOUR_S, Flash, Incoming, Rate
from edge_agent.buffer.status import hours
from telemetry.sample import DataClass
from tests.edge_agent.buffer.helpers import WINDOW_S, ack, device, drain, event, opened, sample, until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MAX_BYTES = 2_000_000_000
BUDGET = 5_000_000
BLOCK = 4096
JOURNALLED = 16 * 1024
"""What one fsync of a small file costs a card at most: its block, its inode, the journal's descriptor and commit."""

CONFIG = """
site = "school"
gateway = "gw-1"
[mqtt]
url = "mqtt://localhost"
[buffer]
path = "{path}"
[[link]]
name = "bus"
kind = "serial"
path = "/dev/null"
[[device]]
name = "air"
room = "r1"
profile = "modbus/multisensor_6in1"
link = "bus"
options = {{ unit = 1 }}
"""


@pytest.fixture
def asked(tmp_path: Path) -> Callable[..., str]:
    (tmp_path / "agent.toml").write_text(CONFIG.format(path=tmp_path / "buffer"))

    def ask(*arguments: str) -> str:
        command = [sys.executable, "-m", "edge_agent", "buffer", "status", "--config", str(tmp_path / "agent.toml")]
        done = subprocess.run([*command, *arguments], capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return ask


def _now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rates are known after a moment, and kept."""
    monkeypatch.setattr("edge_agent.buffer.rates.MIN_SPAN_S", 0.05)
    monkeypatch.setattr("edge_agent.buffer.housekeeping.SURE_AFTER_S", 0.05)


async def test_pain_02_hours_left_are_told_before_in_and_after_every_run(
    tmp_path: Path, asked: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(tmp_path / "buffer", max_bytes=MAX_BYTES, estimate={"samples": 1e6}) as (buffer, _):
        status = buffer.status()
        assert (status.rate, round(status.hours_left or 0)) == ("estimated", 2000)
    # It never ran for long: what the configured devices may bring is all that is known.
    fresh: dict[str, Any] = json.loads(asked("--json"))
    assert fresh["rate"] == "estimated"
    # One value of each of its points a second, in batches of half a minute's gzip: some hundred MB a month.
    assert 200 < fresh["hours_left"] < 20_000
    assert fresh["hours_left_of"].keys() == {"samples", "bulk"}
    words = asked()
    assert f"{fresh['hours_left']:.0f} until something is dropped, an estimate from the configuration" in words

    _now_and_then(monkeypatch)
    async with opened(tmp_path / "buffer", max_bytes=MAX_BYTES) as (buffer, _):
        # On a healthy link nothing is ever stored.
        end = time.monotonic() + 0.5
        while time.monotonic() < end:
            await buffer.append(sample())
            for batch in await drain(buffer):
                buffer.acknowledge(ack(batch))
            await asyncio.sleep(0.01)
        running = buffer.status()
        assert running.rate == "measured"
        assert running.hours_left is not None
        assert running.hours_left_of == {"samples": running.hours_left, "bulk": running.hours_left}
    stopped = json.loads(asked("--json"))
    assert stopped["rate"] == "kept"
    # The last batches came after the agent was asked.
    assert stopped["hours_left"] == pytest.approx(running.hours_left, rel=0.5)
    assert "until something is dropped, at the rate that the agent measured last, " in asked()
    # The next run knows it from the start.
    monkeypatch.undo()
    async with opened(tmp_path / "buffer", max_bytes=MAX_BYTES, estimate={"samples": 1.0}) as (buffer, _):
        assert buffer.status().rate == "kept"
        assert buffer.status().hours_left == pytest.approx(stopped["hours_left"], rel=0.1)


async def test_pain_02_the_hours_told_are_those_until_the_first_drop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _now_and_then(monkeypatch)
    cap = 450_000
    async with opened(tmp_path, max_bytes=cap, window_s=0.1) as (buffer, counters):
        told = None
        value = 0
        while counters.get("buffer.dropped_values.samples") == 0:
            for _ in range(300):
                value += 1
                await buffer.append(sample(value=value * 1.2345678901234567))
            await asyncio.sleep(0.005)
            status = buffer.status()
            if told is None and status.held["samples"].bytes > cap / 6 and status.hours_left:
                # In bytes, so that a machine that is slower later does not matter.
                told = status.hours_left * sum(status.bytes_an_hour.values()) + status.held["samples"].bytes
        assert told is not None
        held = [read_status(tmp_path, max_bytes=cap).bytes, counters.get("buffer.dropped_batches.samples")]
        assert held[1] > 0
        # A file of 64 KiB is the unit in which space is taken, one is kept ready for events.
        assert told - 4 * 65536 < held[0] < told


def test_the_hours_go_by_priority_space_and_age() -> None:
    common = {"held": {}, "max_bytes": 1000, "disk_bytes": 0, "free": None, "max_age_h": None}
    rate = {"events": 1.0, "samples": 9.0, "bulk": 90.0}
    lasts = hours(rates={"measured": None, "kept": rate}, **common)  # type: ignore[arg-type]
    assert (lasts.rate, lasts.left) == ("kept", 10.0)
    assert lasts.left_of == {"events": 1000.0, "samples": 100.0, "bulk": 10.0}
    assert hours(rates={"measured": rate}, **common | {"free": 500}).left == 5.0  # type: ignore[arg-type]
    assert hours(rates={"measured": rate}, **common | {"max_age_h": 4.0}).left == 4.0  # type: ignore[arg-type]
    assert hours(rates={"measured": None}, **common).left is None  # type: ignore[arg-type]


async def test_pain_06_every_fsync_is_counted_and_a_group_shares_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []

    def counted(real: Callable[[int], None]) -> Callable[[int], None]:
        def call(descriptor: int) -> None:
            calls.append(descriptor)
            real(descriptor)

        return call

    for name in ("fsync", "fdatasync"):
        monkeypatch.setattr(os, name, counted(getattr(os, name)))
    monkeypatch.setattr("edge_agent.buffer.writer.MAINTAIN_S", 0.05)
    monkeypatch.setattr("edge_agent.buffer.rates.MIN_SPAN_S", 0.05)
    async with opened(tmp_path) as (buffer, counters):
        await buffer.append(event())
        before = len(calls)
        # A class comes in, fifty at once: nobody waits for fifty fsyncs.
        await asyncio.gather(*(buffer.append(event(handle=f"{number:032x}")) for number in range(50)))
        assert len(calls) - before <= 3
        # An outage: each window of samples of two priorities takes one each, however many there are.
        before, started = len(calls), time.monotonic()
        while time.monotonic() < started + 3 * WINDOW_S:
            for data_class in (DataClass.OPEN, DataClass.SENSITIVE):
                await buffer.append(sample(data_class=data_class))
            await asyncio.sleep(0.002)
        windows = (time.monotonic() - started) / (0.75 * WINDOW_S)
        assert counters.get("buffer.syncs.samples") <= windows + 1
        assert len(calls) - before <= 2 * (windows + 1) + 6, "with the two files' own"

        def told() -> int:
            flash = buffer.status().flash
            return flash.syncs if flash is not None else 0

        await until(lambda: told() == len(calls))
        flash = buffer.status().flash
        assert flash is not None
        assert flash.syncs_an_hour is not None
        assert flash.syncs_an_hour > len(calls)


async def test_pain_17_a_healthy_day_stays_within_the_flash_budget(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A day of three classes that close a batch each half second: only numbers are reserved, and figures kept."""
    monkeypatch.setattr("edge_agent.buffer.writer.MAINTAIN_S", 0.05)
    devices = {f"air-{number}": device(f"air-{number}") for number in range(3)}
    batches = 12_000
    async with opened(tmp_path, devices=devices, window_s=60.0, max_batch_values=1) as (buffer, counters):
        await until(lambda: buffer.status().flash is not None)
        files = _files(tmp_path)
        opening = await _written(buffer)
        for number in range(batches):
            await buffer.append(sample(name=f"air-{number % 3}"))
            if number % 100 == 99:
                buffer.acknowledge(ack(*await drain(buffer)))
                # A day's worth in a moment: wait for the numbers instead of racing the disk for them.
                await until(lambda: not buffer._opened.identity.low)
        written, syncs = (now - then for now, then in zip(await _written(buffer), opening, strict=True))
        assert counters.get("buffer.batches") == batches
        assert counters.get("buffer.syncs.samples") == 0
        await until(lambda: _files(tmp_path) == files)
    a_day = DAY_S / 0.5 * 3
    figures = DAY_S / KEEP_EVERY_S * JOURNALLED
    cost = (written + syncs * JOURNALLED) * a_day / batches + figures
    print(f"{cost / 1e6:.2f} MB a day, of {BUDGET / 1e6} MB")  # noqa: T201
    assert 0 < cost < BUDGET


def _files(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if path.is_file()}


async def _written(buffer: Any) -> tuple[int, int]:
    await buffer._housekeeping._look()
    flash = buffer.status().flash
    return flash.written_bytes, flash.syncs


async def test_pain_17_what_was_written_is_told_beside_the_budget(
    tmp_path: Path, asked: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge_agent.buffer.rates.MIN_SPAN_S", 0.05)
    writes = [0]

    def counted(descriptor: int, data: bytes, at: int, real: Any = os.pwrite) -> int:
        done: int = real(descriptor, data, at)
        writes[0] += done
        return done

    monkeypatch.setattr(os, "pwrite", counted)
    async with opened(tmp_path / "buffer", flash_budget_bytes=1000) as (buffer, _):
        for number in range(20):
            await buffer.append(event(handle=f"{number:032x}"))
        await asyncio.sleep(0.1)
        await buffer._housekeeping._look()
        flash = buffer.status().flash
        assert flash is not None
        assert flash.written_bytes == writes[0] > 20 * 300
        assert flash.written_bytes_a_day is not None
        assert flash.written_bytes_a_day > flash.budget_bytes_a_day
        assert flash.process_bytes_a_day is None or flash.process_bytes_a_day >= 0
    told = json.loads(asked("--json"))["flash"]
    assert told["written_bytes"] >= flash.written_bytes
    assert told["written_bytes_a_day"] > told["budget_bytes_a_day"] == 1000
    assert "a day of 5 MB (over the budget: right only in an outage); " in asked()
    assert "fsyncs an hour" in asked()


def test_rates_look_back_over_an_hour_and_a_day() -> None:
    rate = Rate(0.0)
    assert rate.per(10.0, HOUR_S) is None
    for second in range(0, 7200, 10):
        rate.add(float(second), 10.0 if second < 3600 else 100.0)
    assert rate.per(7200.0, HOUR_S) == pytest.approx(36_000, rel=0.02)
    incoming = Incoming(0.0)
    assert incoming.per_hour(100.0) is None
    incoming.add(50.0, Priority.BULK, 1000)
    assert incoming.per_hour(3600.0) == {"events": 0.0, "samples": 0.0, "bulk": 1000.0}
    flash = Flash(budget_bytes_a_day=BUDGET, start=0.0)
    for hour in range(48):
        flash.note(hour * HOUR_S, written=hour * 1000, syncs=hour * 60, outside={"device": 10**9 + hour * BLOCK})
    state = flash.state(48 * HOUR_S)
    assert state.written_bytes_a_day == pytest.approx(24_000, rel=0.1)
    assert state.device_bytes_a_day == pytest.approx(24 * BLOCK, rel=0.1)
    assert state.budget_bytes_a_day == BUDGET
    assert 23 * HOUR_S < state.over_s < 26 * HOUR_S
