"""Purging somebody: every trace of him goes, and nobody else's row changes, whenever the process is killed."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.buffer.acked import AckedLog
from edge_agent.buffer.disk import Disk
from edge_agent.buffer.record import EncodedBatch
from edge_agent.buffer.rest import Purged, without
from edge_agent.buffer.segment import Segment
from edge_agent.buffer.stream import Stream
from edge_agent.buffer.totals import Totals
from telemetry.batch import Batch, BatchSample, DeviceBlock, encode_batch, pack
from telemetry.sample import DataClass, Reason
from tests.edge_agent.buffer.helpers import DEVICES, ack, drain, event, opened, plain, sample
from tests.edge_agent.buffer.traces import traces

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

ROOT = Path(__file__).parents[3]
EPOCH = "0123456789abcdef"
HIM = "ee" * 16
OTHERS = [f"{number:032x}" for number in range(1, 6)]
SEGMENT = 4096


def him(handle: str) -> bool:
    return handle == HIM


def rows_of(batches: Iterable[EncodedBatch]) -> set[tuple[str, int, str | None, str]]:
    return {
        (block.device, one.acquired_at_ns, one.subject, repr((sorted(one.values.items()), one.bad)))
        for batch in batches
        for block in plain(batch).devices
        for one in block.samples
    }


def batch_of(number: int, subjects: list[str | None], data_class: DataClass, *, event: bool = False) -> EncodedBatch:
    """A batch with one row a subject; every third is bad, and enough of them are compressed."""
    samples = [
        BatchSample(
            acquired_at_ns=number * 1000 + index + 1,
            values={} if index % 3 == 2 else {"temperature": number + index / 8},
            bad={"temperature": Reason.TIMEOUT} if index % 3 == 2 else None,
            subject=subject,
        )
        for index, subject in enumerate(subjects)
    ]
    info = DEVICES["air-1" if number % 2 else "door"]
    block = DeviceBlock(
        device=info.device, room=info.room, profile=info.profile, measurement=info.measurement,
        quantities=info.quantities, samples=samples,
    )  # fmt: skip
    batch = Batch(
        schema="campus.batch/1", site="school", gateway="gw-1", epoch=EPOCH, number=number, data_class=data_class,
        devices=[block],
    )  # fmt: skip
    return EncodedBatch(
        epoch=EPOCH, number=number, data_class=data_class, event=event, samples=len(samples), values=len(samples),
        oldest_at_ns=number * 1000 + 1, payload=pack(encode_batch(batch)),
    )  # fmt: skip


def stream_in(folder: Path) -> Stream:
    return Stream(
        folder / "samples", segment_bytes=SEGMENT, quarantine_folder=folder / "quarantine", keep_ns=0,
        now_ns=time.time_ns,
    )  # fmt: skip


def read_all(stream: Stream) -> list[EncodedBatch]:
    stream.rewind()
    batches = []
    while (one := stream.read(frozenset())) is not None:
        batches.append(one)
    stream.rewind()
    return batches


def purge(stream: Stream, first: int) -> Purged:
    """Purge him, numbering what is left from `first` on, as `Purger` does."""
    total = Purged()
    for sequence in stream.sequences():
        found = stream.purge(sequence, him, [], [])
        while not isinstance(found, Purged):
            identities = [(EPOCH, number) for number in range(first, first + found)]
            first += found
            found = stream.purge(sequence, him, identities, [])
        total.add(found)
    return total


class Cut(Exception):
    """The process was killed here."""


@contextlib.contextmanager
def killed_at(call: int, *, half: bool) -> Iterator[list[int]]:
    """Within it the `call`-th thing done to the disk never happens, or half of it, and nothing after it."""
    patch = pytest.MonkeyPatch()
    done = [0]

    def guard(known: Callable[..., object], name: str) -> Callable[..., object]:
        def guarded(*arguments: object, **options: object) -> object:
            done[0] += 1
            if done[0] == call and half and name == "pwrite":
                descriptor, data, at = arguments
                known(descriptor, bytes(data)[: len(bytes(data)) // 2], at)  # type: ignore[call-overload]
            if done[0] >= call:
                raise Cut
            return known(*arguments, **options)

        return guarded

    for name in ("pwrite", "fsync", "fdatasync", "posix_fallocate", "ftruncate"):
        patch.setattr(os, name, guard(getattr(os, name), name))
    for name in ("replace", "unlink"):
        patch.setattr(Path, name, guard(getattr(Path, name), name))
    try:
        yield done
    finally:
        patch.undo()


def abandoned(stream: Stream) -> None:
    """Close its files as the end of the process does: nothing is written."""
    for segment in stream._segments:
        with contextlib.suppress(OSError):
            segment.close()
    stream._acked.close()


batches_of_people = st.lists(
    st.tuples(
        st.lists(st.sampled_from([HIM, HIM, *OTHERS]), min_size=1, max_size=14),
        st.sampled_from([DataClass.PERSONAL, DataClass.SENSITIVE]),
        st.booleans(),
    ),
    min_size=1,
    max_size=12,
)


@settings(max_examples=25)
@given(batches_of_people, st.data())
def test_killed_at_any_step_nobody_else_changes(
    made: list[tuple[list[str], DataClass, bool]], data: st.DataObject
) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        written = [batch_of(n, list(subjects), kind) for n, (subjects, kind, _) in enumerate(made, 1)]
        written += [batch_of(n, [None] * 3, DataClass.OPEN) for n in range(50, 53)]
        stream = stream_in(folder / "whole")
        stream.open()
        for batch in written:
            stream.append([batch])
        acked = [batch for batch, (_, _, was_acked) in zip(written, made, strict=False) if was_acked]
        for batch in acked:
            stream.acknowledge(EPOCH, [(batch.number, batch.number)])
        stream.close()
        others = {row for row in rows_of(b for b in written if b not in acked) if row[2] != HIM}

        shutil.copytree(folder / "whole", folder / "count")
        stream = stream_in(folder / "count")
        stream.open()
        with killed_at(10**9, half=False) as steps:
            total = purge(stream, 1000)
        assert rows_of(read_all(stream)) == others
        assert not traces(folder / "count", HIM)
        mine = [row for row in rows_of(b for b in written if b not in acked) if row[2] == HIM]
        assert (total.samples, total.values) == (len(mine), len(mine))
        again = purge(stream, 2000)
        assert (again.batches, again.files) == (0, 0)
        stream.close()

        for _ in range(8):
            call, half = data.draw(st.integers(1, max(1, steps[0]))), data.draw(st.booleans())
            place = folder / f"at-{call}-{half}"
            if place.exists():
                continue
            shutil.copytree(folder / "whole", place)
            stream = stream_in(place)
            stream.open()
            with killed_at(call, half=half), contextlib.suppress(Cut):
                purge(stream, 1000)
            abandoned(stream)

            stream = stream_in(place)
            stream.open()
            assert {row for row in rows_of(read_all(stream)) if row[2] != HIM} == others, (
                "lost, before it is asked again"
            )
            purge(stream, 2000)
            shutil.rmtree(place / "quarantine", ignore_errors=True)
            assert rows_of(read_all(stream)) == others
            assert not traces(place, HIM)
            stream.close()


@given(st.lists(st.sampled_from([HIM, None, *OTHERS]), min_size=1, max_size=30))
def test_the_rest_of_a_batch_is_everybody_else(subjects: list[str | None]) -> None:
    batch = batch_of(7, subjects, DataClass.PERSONAL)
    rest = without(batch.payload, him)
    before = [one for block in plain(batch).devices for one in block.samples]
    if HIM not in subjects:
        assert rest is None
        return
    assert rest is not None
    left = [one for block in rest.batch.devices for one in block.samples] if rest.batch is not None else []
    assert left == [one for one in before if one.subject != HIM]
    assert rest.samples == subjects.count(HIM)


def test_a_batch_of_another_version_that_names_him_goes_as_a_whole() -> None:
    assert without(b'{"schema":"campus.batch/9","who":"%s"}' % HIM.encode(), him) is not None
    assert without(b'{"schema":"campus.batch/9","who":"%s"}' % OTHERS[0].encode(), him) is None
    assert without(b"\x1f\x8bnot gzip at all", him) is None


def test_damaged_bytes_go_too(tmp_path: Path) -> None:
    stream = stream_in(tmp_path)
    stream.open()
    for number in range(1, 20):
        stream.append([batch_of(number, [HIM] if number == 3 else [OTHERS[0]], DataClass.PERSONAL)])
    stream.close()
    victim = next(path for path in sorted((tmp_path / "samples").glob("*.log")) if HIM.encode() in path.read_bytes())
    data = bytearray(victim.read_bytes())
    data[data.index(HIM.encode()) - 20] ^= 1
    victim.write_bytes(data)
    stream = stream_in(tmp_path)
    stream.open()
    assert len(read_all(stream)) == 18
    assert traces(tmp_path, HIM)
    purge(stream, 100)
    shutil.rmtree(tmp_path / "quarantine")
    assert len(read_all(stream)) == 18
    assert not traces(tmp_path, HIM)
    stream.close()


async def test_memory_disk_and_flight(tmp_path: Path) -> None:
    """He is in an open batch, in one in flight, in durable events and in backfill; afterwards nowhere."""
    async with opened(tmp_path, window_s=0.5) as (buffer, counters):
        old = time.time_ns() - 60_000_000_000
        expected = set()
        for index in range(40):
            row = sample(old + index, value=float(index), data_class=DataClass.OPEN)
            await buffer.append(row)
        for index, handle in enumerate([HIM, OTHERS[0], HIM, OTHERS[1]] * 5):
            at = time.time_ns() + index
            await buffer.append(event(at, handle=handle))
            if handle != HIM:
                expected.add((handle, at))
        taken = [buffer.take_live() for _ in range(3)]
        assert any(batch is not None and HIM in {row[2] for row in rows_of([batch])} for batch in taken)
        assert traces(tmp_path, HIM)

        purged = await buffer.purge({HIM}.__contains__, reason="withdrawn")

        assert counters.get("buffer.purged_values.withdrawn") == purged.values == 10
        assert not traces(tmp_path, HIM)
        in_flight = [b for b in taken if b is not None and (b.epoch, b.number) not in purged.gone]
        buffer.close_open_batches()
        left = [*in_flight, *await drain(buffer)]
        assert {(row[2], row[1]) for row in rows_of(left) if row[2] is not None} == expected
        assert len([row for row in rows_of(left) if row[2] is None]) == 40
        assert len({(b.epoch, b.number) for b in left}) == len(left)
        buffer.acknowledge(ack(*left))
    async with opened(tmp_path) as (buffer, _):
        assert buffer.status().batches == 0
    assert not traces(tmp_path, HIM)


async def test_a_sample_that_is_only_in_memory(tmp_path: Path) -> None:
    async with opened(tmp_path, window_s=30.0) as (buffer, counters):
        async with asyncio.TaskGroup() as group:
            group.create_task(buffer.append(event(handle=HIM)))
            group.create_task(buffer.append(event(handle=OTHERS[0])))
        await buffer.purge(him, reason="erased")
        assert counters.get("buffer.purged_values.erased") == 1
        assert buffer.status().values == 1
    assert not traces(tmp_path, HIM)


async def test_purging_while_rows_come_and_go(tmp_path: Path) -> None:
    """Rows of many, appended, sent and acknowledged meanwhile: what he had goes, all else arrives once or more."""
    sent: set[tuple[str | None, int]] = set()
    got: set[tuple[str | None, int]] = set()
    stop = asyncio.Event()
    async with opened(tmp_path, window_s=0.5, max_batch_values=20) as (buffer, _):

        async def write(handle: str) -> None:
            while not stop.is_set():
                at = time.time_ns()
                sent.add((handle, at))
                await buffer.append(event(at, handle=handle))

        async def take() -> None:
            while not stop.is_set():
                batch = buffer.take_live() or await buffer.take_backfill()
                if batch is None:
                    await asyncio.sleep(0.002)
                    continue
                got.update((row[2], row[1]) for row in rows_of([batch]))
                buffer.acknowledge(ack(batch))

        async with asyncio.TaskGroup() as group:
            for handle in (*OTHERS[:3], HIM):
                group.create_task(write(handle))
            group.create_task(take())
            for _ in range(10):
                await asyncio.sleep(0.05)
                await buffer.purge(him, reason="withdrawn")
            stop.set()
        await buffer.purge(him, reason="withdrawn")
        assert not traces(tmp_path, HIM)
        buffer.close_open_batches()
        left = await drain(buffer)
        got.update((row[2], row[1]) for row in rows_of(left))
    assert {row for row in sent if row[0] != HIM} == {row for row in got if row[0] != HIM}


def test_kill_9_while_purging(tmp_path: Path) -> None:
    """The process dies at random moments of a purge; after the next one he is gone, and nobody lacks a row."""
    chance = random.Random(11)  # noqa: S311
    for number in range(6):
        command = [sys.executable, "-m", "tests.edge_agent.buffer.purge_child", str(tmp_path), HIM, str(number)]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as child:
            assert child.stdout is not None
            expected = int(child.stdout.readline().split()[1])
            time.sleep(chance.uniform(0.0, 0.06))
            child.kill()
        rows = asyncio.run(_recover(tmp_path))
        assert len(rows) == expected
        assert not traces(tmp_path, HIM)


async def _recover(path: Path) -> set[tuple[str, int, str | None, str]]:
    async with opened(path) as (buffer, counters):
        await buffer.purge(him, reason="withdrawn")
        batches = await drain(buffer)
        assert counters.get("buffer.lost_values") == 0
        buffer.acknowledge(ack(*batches))
        return rows_of(batches)


def test_the_log_of_acknowledgements_names_nobody(tmp_path: Path) -> None:
    disk = Disk()
    segment = Segment.create(tmp_path / "000000000001.log", epoch=EPOCH, size=SEGMENT, disk=disk)
    log = AckedLog(tmp_path / "acked", disk)
    log.open()
    log.note(segment, [(1, 2)], Totals(batches=2, values=2))
    log.flush([segment], sync=True)
    log.close()
    segment.close()
    assert not traces(tmp_path, HIM)
