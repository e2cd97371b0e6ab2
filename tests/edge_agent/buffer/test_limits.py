"""Caps, full disks, slow disks: bounded and counted, never silent."""

from __future__ import annotations

import asyncio
import errno
import os
import threading
import time
from typing import TYPE_CHECKING

import pytest

from edge_agent.buffer.identity import BLOCK
from tests.edge_agent.buffer.helpers import (
    DEVICES,
    WINDOW_S,
    ack,
    device,
    drain,
    event,
    opened,
    sample,
    until,
    values_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

CAP = 600_000


class Disk:
    """Lets preallocation and writes of segments fail, or wait."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.full = False
        self.gate = threading.Event()
        self.gate.set()
        for name in ("posix_fallocate", "pwrite", "fdatasync"):
            monkeypatch.setattr(os, name, self._guarded(getattr(os, name)))

    def _guarded(self, call: Callable[..., object]) -> Callable[..., object]:
        def guarded(*arguments: object) -> object:
            self.gate.wait(10)
            if self.full:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return call(*arguments)

        return guarded


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(monkeypatch)


async def test_pain_03_over_the_cap_the_oldest_samples_go_and_are_counted(tmp_path: Path) -> None:
    devices = {f"d{number}-{'x' * 50}": device(f"d{number}-{'x' * 50}") for number in range(100)} | DEVICES
    async with opened(tmp_path, max_bytes=CAP, devices=devices, max_batch_values=50) as (buffer, counters):
        for number in range(10):
            await buffer.append(event(handle=f"{number:032x}"))
        count = 0
        while counters.get("buffer.dropped_values.samples") == 0:
            for name in devices:
                count += 1
                await buffer.append(sample(name=name, value=count * 1.2345678901234567))
            await asyncio.sleep(WINDOW_S / 20)
            assert buffer.status().disk_bytes <= CAP
        await until(lambda: buffer.status().memory_batches == 0)
    async with opened(tmp_path, max_bytes=CAP, devices=devices) as (buffer, after):
        batches = await drain(buffer)
        left = sum(one.values for one in batches if not one.event)
        assert left + counters.get("buffer.dropped_values.samples") == count
        assert counters.get("buffer.dropped_batches.samples") > 0
        assert sum(one.event for one in batches) == 10
        assert counters.get("buffer.dropped_values.events") == 0
        assert after.get("buffer.lost_values") == 0
        buffer.acknowledge(ack(*batches))
        await until(lambda: buffer.status().batches == 0)


async def test_pain_03_a_full_disk_is_said_and_drains_when_there_is_space_again(tmp_path: Path, disk: Disk) -> None:
    async with opened(tmp_path, max_memory_bytes=20_000) as (buffer, counters):
        disk.full = True
        await asyncio.wait_for(buffer.append(event()), 1)
        assert counters.get("buffer.events_not_durable") == 1
        assert "No space" in str(buffer.status().disk_error)
        live = buffer.take_live()
        assert live is not None
        assert live.event
        for value in range(2000):
            await asyncio.wait_for(buffer.append(sample(value=float(value))), 5)
            if value % 500 == 0:
                await asyncio.sleep(WINDOW_S)
        assert counters.get("buffer.dropped_values.samples") > 0
        assert buffer.status().bytes < 30_000
        kept = buffer.status().values
        assert kept + counters.get("buffer.dropped_values.samples") == 2001
        disk.full = False
        await until(lambda: buffer.status().disk_error is None and buffer.status().memory_batches == 0)
        assert buffer.status().values == kept
        buffer.acknowledge(ack(live))
    async with opened(tmp_path) as (buffer, _):
        assert len(values_of(await drain(buffer))) == kept - 1


async def test_what_a_full_disk_does_not_take_at_the_stop_is_counted_and_said(
    tmp_path: Path, disk: Disk, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened(tmp_path) as (buffer, counters):
        await buffer.append(event())
        await buffer.append(sample())
        disk.full = True
        await buffer.append(sample())
        await buffer.append(event(handle="f" * 32))
    assert counters.get("buffer.dropped_values.samples") == 2
    assert counters.get("buffer.dropped_values.events") == 1
    assert "2 values of samples are lost, the disk does not take them: [Errno 28] No space left" in caplog.text
    disk.full = False
    async with opened(tmp_path) as (buffer, _):
        assert buffer.status().values == 1


async def test_what_a_disk_took_before_it_was_full_is_neither_counted_nor_written_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A group that fills one segment and finds no room for the next."""
    allocate, full = os.posix_fallocate, [False]

    def allocated(descriptor: int, at: int, size: int) -> None:
        if full[0]:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        allocate(descriptor, at, size)

    monkeypatch.setattr(os, "posix_fallocate", allocated)
    async with opened(tmp_path, max_batch_values=1, max_bytes=CAP) as (buffer, _):
        await buffer.append(sample(value=0.0))
        await until(lambda: buffer.status().memory_batches == 0 and buffer.status().values == 1)
        full[0] = True
        for value in range(1, 300):
            await buffer.append(sample(value=float(value)))
        await until(lambda: buffer.status().disk_error is not None)
        assert 0 < buffer.status().memory_batches < 299
        assert buffer.status().values == 300
        full[0] = False
        await until(lambda: buffer.status().memory_batches == 0)
        assert buffer.status().values == 300
    async with opened(tmp_path, max_bytes=CAP) as (buffer, _):
        assert sorted(values_of(await drain(buffer))) == [float(value) for value in range(300)]


async def test_when_memory_is_full_appending_waits_for_the_disk(tmp_path: Path, disk: Disk) -> None:
    async with opened(tmp_path, max_memory_bytes=20_000) as (buffer, counters):
        disk.gate.clear()

        async def fill() -> None:
            for value in range(3000):
                await buffer.append(sample(value=value * 1.1))

        filling = asyncio.create_task(fill())
        await asyncio.sleep(0.2)
        assert not filling.done()
        assert buffer.status().disk_busy_s > 0.05
        disk.gate.set()
        await asyncio.wait_for(filling, 10)
        assert counters.get("buffer.dropped_values.samples") == 0
    async with opened(tmp_path) as (buffer, _):
        assert len(values_of(await drain(buffer))) == 3000


async def test_a_slow_spill_does_not_delay_an_event(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, begun, done = os.fdatasync, threading.Event(), threading.Event()

    def slow(descriptor: int) -> None:
        if "samples" in threading.current_thread().name:
            begun.set()
            done.wait(30)
        real(descriptor)

    monkeypatch.setattr(os, "fdatasync", slow)
    async with opened(tmp_path) as (buffer, counters):
        await buffer.append(sample())
        await until(begun.is_set)
        await asyncio.wait_for(buffer.append(event()), 10)
        assert counters.get("buffer.syncs.events") == 1
        assert counters.get("buffer.syncs.samples") == 0
        done.set()


async def test_numbers_never_run_out_and_never_repeat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge_agent.buffer.identity.BLOCK", 20)
    seen: set[tuple[str, int]] = set()
    async with opened(tmp_path, max_batch_values=1) as (buffer, counters):
        for _ in range(200):
            await buffer.append(sample())
            # The block is tiny here, so wait for the next instead of racing the disk for it.
            await until(lambda: not buffer._opened.identity.low)
            batches = await drain(buffer)
            assert not seen & {(one.epoch, one.number) for one in batches}
            seen.update((one.epoch, one.number) for one in batches)
            if batches:
                buffer.acknowledge(ack(*batches))
        assert counters.get("buffer.identity_unsaved") == 0
        assert {epoch for epoch, _ in seen} == {buffer.epoch}
    assert BLOCK == 10_000


async def test_a_disk_that_takes_no_numbers_gets_a_new_epoch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge_agent.buffer.identity.BLOCK", 4)
    async with opened(tmp_path, max_batch_values=1) as (buffer, counters):
        old = buffer.epoch

        def fail(*_: object) -> None:
            raise OSError(errno.EROFS, "read-only")

        monkeypatch.setattr("edge_agent.buffer.writer.write_meta", fail)
        for _ in range(10):
            await buffer.append(sample())
        batches = await drain(buffer)
        assert len({(one.epoch, one.number) for one in batches}) == 10
        assert counters.get("buffer.identity_unsaved") == 1
        assert buffer.epoch != old
    monkeypatch.undo()
    async with opened(tmp_path) as (buffer, _):
        assert buffer.epoch == old
        assert len(await drain(buffer)) == 10


async def test_pain_17_a_healthy_link_leaves_the_flash_card_alone(tmp_path: Path) -> None:
    devices = {f"air-{number}": device(f"air-{number}") for number in range(20)}

    def files() -> dict[str, tuple[int, int]]:
        return {
            str(path.relative_to(tmp_path)): (path.stat().st_mtime_ns, path.stat().st_size)
            for path in tmp_path.rglob("*")
            if path.is_file()
        }

    async with opened(tmp_path, devices=devices, window_s=1.2) as (buffer, counters):
        before = files()
        end = time.monotonic() + 2.0
        while time.monotonic() < end:
            for name in devices:
                await buffer.append(sample(name=name))
            for batch in await drain(buffer):
                buffer.acknowledge(ack(batch))
            await asyncio.sleep(WINDOW_S / 20)
        assert counters.get("buffer.values") > 200
        assert files() == before
