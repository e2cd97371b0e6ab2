"""A disk that refuses something, or hangs, while the agent goes on or ends: nothing stops, nothing is counted twice."""

from __future__ import annotations

import asyncio
import errno
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from edge_agent.buffer import Buffer, read_status
from edge_agent.buffer.acked import AckedLog, read_acked
from edge_agent.buffer.disk import Disk as CountingDisk
from edge_agent.buffer.files import RESET_NS
from edge_agent.buffer.segment import Segment
from edge_agent.buffer.stream import Stream
from edge_agent.buffer.totals import Totals
from telemetry.counters import Counters
from telemetry.sample import DataClass, Durability
from tests.edge_agent.buffer.helpers import DEVICES, ack, drain, event, opened, sample, until
from tests.edge_agent.buffer.test_damage import EPOCH, batch, read_all, stream
from tests.edge_agent.buffer.test_limits import Disk
from tests.edge_agent.buffer.test_purge import HIM, Cut, batch_of, him, killed_at, purge
from tests.edge_agent.buffer.traces import traces

if TYPE_CHECKING:
    from collections.abc import Callable

    from edge_agent.buffer.rest import Purged

SECOND = 1_000_000_000


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(monkeypatch)


def read_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no file of the log be removed."""
    unlink = Path.unlink

    def refused(path: Path, missing_ok: bool = False) -> None:
        if path.suffix == ".log":
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        unlink(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", refused)


async def running(path: Path) -> tuple[Buffer, asyncio.Task[None]]:
    buffer = await Buffer.open(
        path, site="school", gateway="gw-1", simulated=False, window_s=30.0, max_bytes=64_000_000, devices=DEVICES,
        counters=Counters(),
    )  # fmt: skip
    return buffer, asyncio.create_task(buffer.run(), name="buffer")


async def kept_once(path: Path, values: int) -> None:
    async with opened(path) as (buffer, counters):
        assert sum(one.values for one in await drain(buffer)) == buffer.status().values == values
        assert counters.get("buffer.lost_batches") == 0


async def test_a_file_that_cannot_be_removed_stops_nothing_and_goes_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A flash card that the kernel made read-only."""
    monkeypatch.setattr("edge_agent.buffer.writer.MAINTAIN_S", 0.02)
    async with opened(tmp_path) as (buffer, counters):
        await buffer.append(event())
        buffer.acknowledge(ack(*await drain(buffer)))
        await until(lambda: buffer.status().batches == 0)
        (file,) = (tmp_path / "events").glob("*.log")
        with monkeypatch.context() as broken:
            read_only(broken)
            broken.setattr(buffer._opened.events.stream, "_keep_ns", 0)
            os.utime(file, ns=(0, 0))
            await until(lambda: counters.get("buffer.disk_errors") > 1)
            await buffer.append(event(handle="c" * 32))
            assert buffer.status().batches == 1
        buffer.acknowledge(ack(*await drain(buffer)))
        await until(lambda: buffer.status().batches == 0)


def test_what_cannot_be_dropped_is_not_counted_as_dropped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    it = stream(tmp_path)
    it.open()
    it.append([batch(1), batch(2)])
    with monkeypatch.context() as broken:
        read_only(broken)
        with pytest.raises(OSError, match="Read-only"):
            it.drop_oldest()
    assert it.take_counts() == {}
    assert it.state().batches == len(read_all(it)) == 2
    assert it.drop_oldest()
    assert it.take_counts()["buffer.dropped_batches.samples"] == 2
    it.close()


def test_what_is_stored_elsewhere_does_not_lie_here_for_weeks(tmp_path: Path) -> None:
    """A reader that sees ten cards a day needs months to fill a file."""
    it = stream(tmp_path)
    it.open()
    it.append([batch(1)])
    it.acknowledge(EPOCH, [(1, 1)])
    (file,) = (tmp_path / "samples").glob("*.log")
    it.maintain()
    assert file.exists()
    written_ns = file.stat().st_mtime_ns
    os.utime(file, ns=(written_ns, written_ns - RESET_NS - SECOND))
    it.maintain()
    assert not file.exists()
    it.append([batch(2)])
    it.close()
    again = stream(tmp_path)
    again.open()
    assert [one.number for one in read_all(again)] == [2]
    assert again.take_counts() == {}
    again.close()


async def test_a_disk_that_could_not_be_read_once_is_not_called_full_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(tmp_path) as (buffer, _):
        await buffer.append(sample(value=7.0))
    async with opened(tmp_path) as (buffer, counters):

        def bad(*_: object) -> bytes:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

        with monkeypatch.context() as broken:
            broken.setattr(os, "pread", bad)
            assert await buffer.take_backfill() is None
        assert "Input/output" in str(buffer.status().disk_error)
        assert counters.get("buffer.disk_errors") == 1
        assert all(keeper.error is None for keeper in buffer._opened.keepers)
        buffer._opened.keepers[1].rewind()
        assert await buffer.take_backfill() is not None
        assert buffer.status().disk_error is None


async def test_a_commit_whose_loop_is_cancelled_goes_to_its_end_once(tmp_path: Path, disk: Disk) -> None:
    buffer, loops = await running(tmp_path)
    await buffer.append(sample())
    disk.gate.clear()
    appending = asyncio.create_task(buffer.append(event()))
    await until(lambda: buffer._opened.events.busy_s > 0.02)
    loops.cancel()
    await asyncio.wait([loops])
    disk.gate.set()
    await buffer.close()
    await asyncio.wait_for(appending, 10)
    await kept_once(tmp_path, 2)


async def test_a_close_that_is_cancelled_goes_to_its_end_all_the_same(tmp_path: Path, disk: Disk) -> None:
    buffer, loops = await running(tmp_path)
    await buffer.append(sample())
    disk.gate.clear()
    closing = asyncio.create_task(buffer.close())
    await until(lambda: buffer.status().disk_busy_s > 0)
    closing.cancel()
    await asyncio.wait([closing])
    disk.gate.set()
    await buffer.close()
    await loops
    assert read_status(tmp_path, max_bytes=1).values == 1
    await kept_once(tmp_path, 1)


async def test_what_a_failed_purge_took_away_is_told_by_the_next_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the publisher goes on sending it."""
    async with opened(tmp_path, window_s=30.0) as (buffer, _):
        await buffer.append(event(handle=HIM))
        sent = buffer.take_live()
        assert sent is not None

        def refused(descriptor: int, _: CountingDisk) -> None:
            os.close(descriptor)
            raise OSError(errno.EIO, os.strerror(errno.EIO))

        with monkeypatch.context() as broken:
            broken.setattr("edge_agent.buffer.segment.shred", refused)
            with pytest.raises(OSError, match="Input/output"):
                await buffer.purge(him, reason="withdrawn")
        assert (await buffer.purge(him, reason="withdrawn")).gone == [(sent.epoch, sent.number)]
        assert (await buffer.purge(him, reason="withdrawn")).gone == []
        assert buffer.status().batches == 0


async def test_one_file_that_cannot_be_purged_keeps_nobody_in_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(tmp_path) as (buffer, counters):
        await buffer.append(event(handle=HIM))
        await buffer.append(msgspec.structs.replace(event(handle=HIM), durability=Durability.SAMPLE))
        await until(lambda: buffer.status().memory_batches == 0 and bool(traces(tmp_path / "samples", HIM)))
        real = Stream.purge

        def refused(stream: Stream, *arguments: Any) -> Purged | int:
            if stream.name == "events":
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            return real(stream, *arguments)

        with monkeypatch.context() as broken:
            broken.setattr(Stream, "purge", refused)
            with pytest.raises(OSError, match="Input/output"):
                await buffer.purge(him, reason="withdrawn")
        assert not traces(tmp_path / "samples", HIM)
        assert traces(tmp_path / "events", HIM)
        assert len((await buffer.purge(him, reason="withdrawn")).gone) == 2
        assert not traces(tmp_path, HIM)
        assert counters.get("buffer.purged_values.withdrawn") == 2


def test_a_file_that_could_not_be_read_at_the_start_is_purged_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    it = stream(tmp_path)
    it.open()
    it.append([batch_of(1, [HIM], DataClass.PERSONAL)])
    it.close()

    def unreadable(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    it = stream(tmp_path)
    with monkeypatch.context() as broken:
        broken.setattr(Segment, "open", unreadable)
        it.open()
    assert it.take_counts() == {"buffer.unreadable_segments": 1}
    assert purge(it, 100).samples == 1
    assert not traces(tmp_path, HIM)
    it.close()


def steps_of(work: Callable[[], None]) -> int:
    with killed_at(10**9, half=False) as steps:
        work()
    return steps[0]


def test_killed_while_it_is_written_anew_the_log_of_acknowledgements_forgets_nothing(tmp_path: Path) -> None:
    def log_in(folder: Path) -> tuple[AckedLog, Segment]:
        folder.mkdir()
        disk = CountingDisk()
        segment = Segment.create(folder / "000000000001.log", epoch=EPOCH, size=8192, disk=disk)
        segment.append([batch(1), batch(2)])
        segment.acknowledge([(1, 1)])
        log = AckedLog(folder / "acked", disk)
        log.open()
        log.note(segment, [(1, 1)], Totals(batches=1, values=2))
        log.flush([segment], sync=False)
        return log, segment

    log, segment = log_in(tmp_path / "whole")
    steps = steps_of(lambda: log.flush([segment], sync=False, anew=True))
    log.close()
    segment.close()
    assert steps > 1
    for call in range(1, steps + 1):
        for half in (False, True):
            folder = tmp_path / f"{call}-{half}"
            log, segment = log_in(folder)
            with killed_at(call, half=half), pytest.raises(Cut):
                log.flush([segment], sync=False, anew=True)
            log.close()
            segment.close()
            assert read_acked(folder / "acked").by_sequence[1].ranges == [(1, 1)], (call, half)
