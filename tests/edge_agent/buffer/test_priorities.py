"""What is worth more is drained first and dropped last; what a former version left is drained as it lies."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import json
import os
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING

from edge_agent.buffer import Priority, priority_of, read_status
from edge_agent.buffer.writer import NO_ROOM
from telemetry.sample import DataClass
from tests.edge_agent.buffer.helpers import WINDOW_S, ack, device, drain, emptied, event, opened, sample, until
from tests.edge_agent.buffer.test_limits import Disk

if TYPE_CHECKING:
    import pytest

    from edge_agent.buffer import Buffer, EncodedBatch
    from telemetry.counters import Counters

FORMER = Path(__file__).parent / "former"
CAP = 450_000
QUICK = {"window_s": 0.15}
# Long names, so that a little is soon much.
ROOMS = {name: device(name) for name in (f"r{number}-{'x' * 50}" for number in range(100))}
DOOR = {"door": device("door")}


async def bring(buffer: Buffer, data_class: DataClass, rounds: int) -> int:
    """Append samples that soon fill a file; return how many."""
    for number in range(rounds):
        for index, name in enumerate(ROOMS):
            value = (number * 1000 + index) * 1.2345678901234567
            await buffer.append(sample(name=name, data_class=data_class, value=value))
    return rounds * len(ROOMS)


def counted(counters: Counters, what: str) -> dict[str, int]:
    return {priority.folder: counters.get(f"buffer.{what}.{priority.folder}") for priority in Priority}


def left(batches: list[EncodedBatch]) -> dict[str, int]:
    values = dict.fromkeys((priority.folder for priority in Priority), 0)
    for batch in batches:
        values[batch.priority.folder] += batch.values
    return values


async def spilled(buffer: Buffer) -> None:
    await until(lambda: buffer.status().memory_batches == 0 and not buffer._intake.open_batches)


def test_each_class_has_its_priority() -> None:
    assert {priority_of(data_class, event=True) for data_class in DataClass} == {Priority.EVENTS}
    assert {data_class: priority_of(data_class, event=False).folder for data_class in DataClass} == {
        DataClass.OPEN: "samples",
        DataClass.GROUP: "samples",
        DataClass.PERSONAL: "samples",
        DataClass.SENSITIVE: "bulk",
        DataClass.OPS: "bulk",
    }


async def test_live_and_backfill_go_by_priority(tmp_path: Path) -> None:
    async with opened(tmp_path, devices=ROOMS | DOOR) as (buffer, _):
        name = next(iter(ROOMS))
        for data_class in (DataClass.OPS, DataClass.SENSITIVE, DataClass.OPEN):
            await buffer.append(sample(name=name, data_class=data_class))
        await buffer.append(event())
        await asyncio.sleep(WINDOW_S / 3)
        order = [batch.priority for batch in await drain(buffer)]
        assert order == [Priority.EVENTS, Priority.SAMPLES, Priority.BULK, Priority.BULK]
    async with opened(tmp_path, devices=ROOMS | DOOR) as (buffer, _):
        batches = await drain(buffer)
        assert [batch.priority for batch in batches] == order
        assert {name: held.batches for name, held in buffer.status().held.items()} == {
            "events": 1,
            "samples": 1,
            "bulk": 2,
        }
        buffer.acknowledge(ack(*batches))
        await until(lambda: buffer.status().batches == 0)


async def test_the_least_valuable_goes_first_and_each_loss_is_counted(tmp_path: Path) -> None:
    async with opened(tmp_path, devices=ROOMS | DOOR, max_bytes=CAP, max_batch_values=500, **QUICK) as (
        buffer,
        counters,
    ):
        for number in range(20):
            await buffer.append(event(handle=f"{number:032x}"))
        came = {"events": 20, "samples": await bring(buffer, DataClass.OPEN, 40), "bulk": 0}
        await spilled(buffer)
        came["bulk"] += await bring(buffer, DataClass.SENSITIVE, 40)
        await spilled(buffer)
        assert counted(counters, "dropped_values") == dict.fromkeys(came, 0)
        # The room's data push vitals out, oldest first, as long as there are any; then the oldest of the room's.
        while counters.get("buffer.dropped_values.samples") == 0:
            came["samples"] += await bring(buffer, DataClass.OPEN, 20)
            await spilled(buffer)
            assert buffer.status().disk_bytes <= CAP
        dropped = counted(counters, "dropped_values")
        assert dropped["bulk"] == came["bulk"]
        assert dropped["events"] == 0
    async with opened(tmp_path, devices=ROOMS | DOOR, max_bytes=CAP) as (buffer, counters):
        batches = await drain(buffer)
        now = left(batches)
        assert {name: now[name] + dropped[name] for name in came} == came
        numbers = [batch.number for batch in batches if batch.priority is Priority.SAMPLES]
        assert numbers == sorted(numbers)
        assert counters.get("buffer.lost_values") == 0


async def test_what_is_worth_less_never_pushes_out_what_is_worth_more(tmp_path: Path) -> None:
    """The cap is full of the room's data: vitals find no place, wait in memory, and go there."""
    options = {"devices": ROOMS | DOOR, "max_bytes": 300_000, "max_memory_bytes": 60_000, **QUICK}
    async with opened(tmp_path, **options) as (buffer, counters):
        came = 0
        while counters.get("buffer.dropped_values.samples") == 0:
            came += await bring(buffer, DataClass.OPEN, 20)
            await spilled(buffer)
        kept = came - counters.get("buffer.dropped_values.samples")
        vitals = await bring(buffer, DataClass.SENSITIVE, 30)
        await until(lambda: buffer.status().disk_error == NO_ROOM)
        vitals += await bring(buffer, DataClass.SENSITIVE, 30)
        await buffer.append(event())
        held = buffer.status()
        assert held.held["samples"].values == kept
        assert held.held["events"].values == 1
        assert held.held["bulk"].values == 0
        in_memory = held.values - kept - 1
        assert vitals == in_memory + counters.get("buffer.dropped_values.bulk")
        assert counters.get("buffer.dropped_values.bulk") > 0
        await emptied(buffer)


async def test_what_would_not_fit_anyway_pushes_nothing_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that hung, under a small cap: more waits in memory than the cap lets in."""
    disk = Disk(monkeypatch)
    cap = 200_000
    monkeypatch.setattr("edge_agent.buffer.keeper.RETRY_MAX_S", 0.2)
    async with opened(tmp_path, devices=ROOMS | DOOR, max_bytes=cap, **QUICK) as (buffer, counters):
        kept = await bring(buffer, DataClass.OPEN, 2)
        await spilled(buffer)
        disk.gate.clear()
        kept_too = await bring(buffer, DataClass.OPEN, 1)
        await until(lambda: buffer._opened.spilled[0].busy_s > 0.02)
        came = kept_too + await bring(buffer, DataClass.OPEN, 200)
        disk.gate.set()
        await until(lambda: buffer.status().disk_error == NO_ROOM)
        assert counters.get("buffer.dropped_values.samples") == 0
        assert buffer.status().held["samples"].values >= kept + kept_too
        assert buffer.status().values == kept + came
        # In portions it fits, and the oldest go as ever.
        monkeypatch.setattr("edge_agent.buffer.writer.PORTION_BYTES", 20_000)
        await until(lambda: buffer.status().memory_batches == 0)
        assert buffer.status().disk_error is None
        dropped = counters.get("buffer.dropped_values.samples")
        assert 0 < dropped < came
        assert buffer.status().values == kept + came - dropped
        assert buffer.status().disk_bytes <= cap


async def test_a_smaller_cap_is_no_reason_to_refuse(tmp_path: Path) -> None:
    came = {"events": 0, "samples": 0, "bulk": 0}
    async with opened(tmp_path, devices=ROOMS | DOOR, max_bytes=CAP * 1000, **QUICK) as (buffer, _):
        for number in range(20):
            await buffer.append(event(handle=f"{number:032x}"))
        came["events"] = 20
        came["samples"] = await bring(buffer, DataClass.OPEN, 60)
        came["bulk"] = await bring(buffer, DataClass.OPS, 60)
    whole = read_status(tmp_path, max_bytes=CAP)
    assert whole.values == sum(came.values())
    cap = 300_000
    assert whole.bytes > cap / 3
    async with opened(tmp_path, devices=ROOMS | DOOR, max_bytes=cap) as (buffer, counters):
        await until(lambda: buffer.status().disk_bytes <= cap)
        # What a larger cap preallocated is given back; only what does not fit goes.
        await buffer.append(event(handle="f" * 32))
        came["events"] += 1
        await bring(buffer, DataClass.OPEN, 1)
        came["samples"] += len(ROOMS)
        await spilled(buffer)
        assert buffer.status().disk_bytes <= cap
        dropped = counted(counters, "dropped_values")
        assert dropped["events"] == 0
        batches = await drain(buffer)
        now = left(batches)
        assert {name: now[name] + dropped[name] for name in came} == came
    async with opened(tmp_path, devices=ROOMS | DOOR, max_bytes=CAP) as (buffer, _):
        assert buffer.status().values == sum(now.values())


async def test_memory_is_bounded_by_priority_when_the_disk_takes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    options = {"devices": ROOMS | DOOR, "max_memory_bytes": 60_000, "max_batch_values": 50}
    async with opened(tmp_path, **options) as (buffer, counters):
        monkeypatch.setattr("edge_agent.buffer.keeper.RETRY_MAX_S", 0.2)
        monkeypatch.setattr(os, "posix_fallocate", full)
        monkeypatch.setattr(os, "pwrite", full)
        for number in range(5):
            await buffer.append(event(handle=f"{number:032x}"))
        vitals = await bring(buffer, DataClass.SENSITIVE, 20)
        await until(lambda: buffer.status().disk_error is not None)
        room = await bring(buffer, DataClass.OPEN, 60)
        dropped = counted(counters, "dropped_values")
        assert vitals - 50 < dropped["bulk"] <= vitals
        assert 0 < dropped["samples"] < room
        assert dropped["events"] == 0
        # Events alone are bounded, too.
        for number in range(300):
            await buffer.append(event(handle=f"{number + 100:032x}"))
        assert buffer._intake.memory_bytes <= 60_000
        monkeypatch.undo()
        await until(lambda: buffer.status().disk_error is None and buffer.status().memory_batches == 0)
        dropped = counted(counters, "dropped_values")
        assert dropped["bulk"] > vitals - 50
        assert dropped["samples"] > room - 50
        assert 0 < dropped["events"] < 305
        now = left(await drain(buffer))
        assert {name: now[name] + dropped[name] for name in now} == {"events": 305, "samples": room, "bulk": vitals}


async def test_what_a_former_version_left_is_drained_unchanged(tmp_path: Path) -> None:
    """Two logs, no tallies, acknowledgements without numbers of files: written by the version before this one."""
    with tarfile.open(FORMER / "buffer.tar.gz") as archive:
        archive.extractall(tmp_path, filter="data")
    expected = json.loads((FORMER / "expected.json").read_text())
    async with opened(tmp_path / "buffer") as (buffer, counters):
        epoch = buffer.epoch
        assert buffer.status().batches == len(expected)
        await buffer.append(event())
        await buffer.append(sample(data_class=DataClass.OPS))
        batches = await drain(buffer)
        former = {f"{one.epoch}/{one.number}": one for one in batches if f"{one.epoch}/{one.number}" in expected}
        assert len(batches) in {len(expected) + 1, len(expected) + 2}
        assert {
            key: [one.data_class, one.event, one.values, hashlib.sha256(one.payload).hexdigest()]
            for key, one in former.items()
        } == expected
        assert {one.epoch for one in batches} == {epoch}
        assert not {name: n for name, n in counters.snapshot().items() if "lost" in name or "corrupt" in name}
        half = list(former.values())[::2]
        buffer.acknowledge(ack(*half))
        await until(lambda: buffer.status().batches <= len(expected) - len(half) + 2)
    async with opened(tmp_path / "buffer") as (buffer, counters):
        again = {f"{one.epoch}/{one.number}" for one in await drain(buffer)}
        assert again & set(expected) == set(expected) - {f"{one.epoch}/{one.number}" for one in half}
        assert len(again) == len(expected) - len(half) + 2
        assert counters.get("buffer.lost_values") == 0
