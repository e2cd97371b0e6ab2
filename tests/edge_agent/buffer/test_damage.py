"""Power cuts and flipped bits: the log always opens, every readable batch is saved, what is lost is counted exactly."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.buffer import EncodedBatch, read_status
from edge_agent.buffer.record import Damage, Found, Kind, frame, header_of, scan
from edge_agent.buffer.stream import Stream
from telemetry.sample import DataClass
from tests.edge_agent.buffer.helpers import drain, event, opened, plain, sample

if TYPE_CHECKING:
    from collections.abc import Iterator

EPOCH = "0123456789abcdef"
SEGMENT = 8192


def batch(number: int, size: int = 400) -> EncodedBatch:
    head = f'{{"epoch":"{EPOCH}","batch":{number},'.encode()
    return EncodedBatch(
        epoch=EPOCH,
        number=number,
        data_class=DataClass.OPEN,
        event=False,
        samples=1,
        values=number % 7 + 1,
        oldest_at_ns=number,
        payload=head + bytes((number * 31 + i) % 251 for i in range(size)),
    )


def stream(folder: Path) -> Stream:
    return Stream(
        folder / "samples",
        segment_bytes=SEGMENT,
        quarantine_folder=folder / "quarantine",
        keep_ns=0,
        now_ns=time.time_ns,
    )


def read_all(it: Stream) -> list[EncodedBatch]:
    batches = []
    while (one := it.read(frozenset())) is not None:
        batches.append(one)
    return batches


@dataclass(frozen=True)
class Region:
    file: str
    start: int
    end: int
    number: int | None
    """The batch in it; none for anything else."""


@dataclass(frozen=True)
class Template:
    folder: Path
    batches: dict[int, EncodedBatch]
    regions: list[Region]

    @property
    def files(self) -> list[str]:
        return sorted(path.name for path in (self.folder / "samples").iterdir())

    def size(self, name: str) -> int:
        return (self.folder / "samples" / name).stat().st_size

    def region(self, file: str, at: int) -> Region | None:
        return next((one for one in self.regions if one.file == file and one.start <= at < one.end), None)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Template:
    """Three segments, the last one active, with fifty batches, a few of them acknowledged."""
    folder = tmp_path_factory.mktemp("template")
    it = stream(folder)
    it.open()
    batches = {number: batch(number, 100 + number * 7) for number in range(1, 51)}
    for number in range(1, 51, 5):
        it.append([batches[one] for one in range(number, number + 5)])
    it.acknowledge(EPOCH, [(3, 4), (49, 49)])
    it.close()
    regions = [
        Region(path.name, item.start, item.end, item.header.number if item.header.kind == Kind.BATCH else None)
        for path in (folder / "samples").glob("*.log")
        for item in scan(path.read_bytes())
        if isinstance(item, Found)
    ]
    for acked in (3, 4, 49):
        del batches[acked]
    assert len(list((folder / "samples").glob("*.log"))) >= 3
    return Template(folder=folder, batches=batches, regions=regions)


@contextlib.contextmanager
def reopened(template: Template) -> Iterator[tuple[Path, Stream]]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shutil.copytree(template.folder, folder, dirs_exist_ok=True)
        yield folder, stream(folder)


def test_undamaged_all_is_there_once(template: Template) -> None:
    with reopened(template) as (_, it):
        it.open()
        assert it.state().batches == len(template.batches)
        assert {one.number: one for one in read_all(it)} == template.batches
        assert it.take_counts() == {}
        it.close()


def test_memory_grows_with_segments_not_with_batches(tmp_path: Path) -> None:
    it = stream(tmp_path)
    it.open()
    for number in range(1, 1001, 10):
        it.append([batch(one) for one in range(number, number + 10)])
    segments = it._segments
    assert len(segments) > 40
    assert sum(one.entries is not None for one in segments) == 1
    for number in range(1, 1001):
        one = it.read(frozenset())
        assert one is not None
        assert one.number == number
        it.acknowledge(EPOCH, [(number, number)])
        assert sum(one.entries is not None for one in it._segments) <= 3
    assert it.state().batches == 0
    assert it.state().segments <= 1
    it.close()


@settings(max_examples=100)
@given(data=st.data())
def test_one_flipped_bit_costs_one_batch_at_most(template: Template, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(template.files))
    at = data.draw(st.integers(0, template.size(name) - 1))
    bit = data.draw(st.integers(0, 7))
    with reopened(template) as (folder, it):
        file = folder / "samples" / name
        content = bytearray(file.read_bytes())
        content[at] ^= 1 << bit
        file.write_bytes(content)
        hit = template.region(file.name, at)
        lost = hit.number if hit is not None and hit.number in template.batches else None

        it.open()
        saved = {one.number: one for one in read_all(it)}
        counts = it.take_counts()
        expected = {number: one for number, one in template.batches.items() if number != lost}
        if file.name == "acked":
            # Losing an acknowledgement only means to send again.
            saved = {number: one for number, one in saved.items() if number in expected}
        assert saved == expected
        assert counts.get("buffer.lost_batches", 0) == (lost is not None)
        assert counts.get("buffer.lost_values", 0) == (0 if lost is None else batch(lost).values)
        if hit is not None and hit.number is not None:
            assert counts.get("buffer.corrupt_ranges", 0) + counts.get("buffer.torn_tail", 0) == 1
        it.append([batch(1000)])
        it.close()

        again = stream(folder)
        again.open()
        second = {one.number for one in read_all(again)}
        assert second >= {*expected, 1000}
        assert "buffer.lost_batches" not in again.take_counts()
        again.close()


@settings(max_examples=80)
@given(data=st.data())
def test_a_torn_tail_loses_only_what_was_not_synced(template: Template, data: st.DataObject) -> None:
    name = template.files[-2]
    at = data.draw(st.integers(0, template.size(name)))
    cut = data.draw(st.booleans())
    with reopened(template) as (folder, it):
        file = folder / "samples" / name
        content = file.read_bytes()
        if cut:
            file.write_bytes(content[:at])
        else:
            file.write_bytes(content[:at] + bytes(len(content) - at))
        it.open()
        saved = {one.number for one in read_all(it)}
        gone = {
            one.number
            for one in template.regions
            if one.file == file.name and one.end > at and one.number in template.batches
        }
        # A record whose last bytes are zeros anyway is whole.
        assert set(template.batches) - gone <= saved <= set(template.batches)
        assert len(set(template.batches) - gone) >= len(saved) - 1
        it.append([batch(1000), batch(1001)])
        it.close()
        again = stream(folder)
        again.open()
        assert {one.number for one in read_all(again)} == saved | {1000, 1001}
        again.close()


@settings(max_examples=80)
@given(garbage=st.binary(min_size=1, max_size=600), data=st.data())
def test_garbage_anywhere_never_stops_the_start(template: Template, garbage: bytes, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(template.files))
    at = data.draw(st.integers(0, template.size(name)))
    cut = data.draw(st.sampled_from([0, len(garbage)]))
    with reopened(template) as (folder, it):
        file = folder / "samples" / name
        content = file.read_bytes()
        file.write_bytes(content[:at] + garbage + content[at + cut :])
        it.open()
        saved = {one.number: one for one in read_all(it)}
        assert all(batch(number, 100 + number * 7) == one for number, one in saved.items())
        # What stands in other files is untouched.
        untouched = {one.number for one in template.regions if one.file != file.name and one.number is not None}
        assert set(saved) >= untouched & set(template.batches)
        it.close()


@given(st.binary(max_size=2000))
def test_scan_takes_any_bytes(data: bytes) -> None:
    end = 0
    for item in scan(data):
        assert item.start >= end
        assert item.end > item.start
        end = item.end
        assert isinstance(item, Found | Damage)
    assert end <= len(data)


@given(st.lists(st.integers(0, 300), max_size=10), st.binary(max_size=100))
def test_scan_finds_what_was_framed(sizes: list[int], tail: bytes) -> None:
    batches = [batch(number, size) for number, size in enumerate(sizes)]
    data = b"".join(frame(header_of(one), one.payload) for one in batches)
    found = [item for item in scan(data + bytes(100) + tail) if isinstance(item, Found)]
    assert [item.header for item in found[: len(batches)]] == [header_of(one) for one in batches]


def test_damage_is_quarantined_and_bounded(template: Template, monkeypatch: pytest.MonkeyPatch) -> None:
    with reopened(template) as (folder, it):
        file = min((folder / "samples").glob("*.log"))
        content = bytearray(file.read_bytes())
        region = next(one for one in template.regions if one.file == file.name and one.number == 2)
        content[region.end - 1] ^= 0xFF
        file.write_bytes(content)
        it.open()
        read_all(it)
        assert it.take_counts()["buffer.corrupt_ranges"] == 1
        kept = list((folder / "quarantine").iterdir())
        assert [path.read_bytes() for path in kept] == [bytes(content[region.start : region.end])]
        it.close()
    monkeypatch.setattr("edge_agent.buffer.quarantine.MAX_BYTES", 10)
    with reopened(template) as (folder, it):
        file = min((folder / "samples").glob("*.log"))
        content = bytearray(file.read_bytes())
        content[template.regions[1].start + 60] ^= 0xFF
        file.write_bytes(content)
        it.open()
        read_all(it)
        assert it.take_counts()["buffer.quarantine_full"] == 1
        it.close()


def test_what_goes_bad_after_it_was_read_in_is_lost_and_never_handed_out(tmp_path: Path) -> None:
    it = stream(tmp_path)
    it.open()
    it.append([batch(1), batch(2)])
    (file,) = (tmp_path / "samples").glob("*.log")
    content = bytearray(file.read_bytes())
    content[content.index(batch(1).payload) + 200] ^= 1
    with file.open("r+b") as there:
        there.write(content)
    assert read_all(it) == [batch(2)]
    assert it.take_counts() == {
        "buffer.corrupt_ranges": 1,
        "buffer.lost_batches": 1,
        "buffer.lost_values": batch(1).values,
    }
    it.append([batch(3)])
    it.close()
    again = stream(tmp_path)
    again.open()
    assert read_all(again) == [batch(2), batch(3)]
    assert again.take_counts() == {}
    again.close()


async def test_a_damaged_buffer_directory_opens_and_goes_on(tmp_path: Path) -> None:
    async with opened(tmp_path) as (buffer, _):
        for value in range(20):
            await buffer.append(sample(value=float(value)))
            await buffer.append(event(handle=f"{value:032x}"))
    for path in (tmp_path / "events").glob("*.log"):
        content = bytearray(path.read_bytes())
        content[300] ^= 0xFF
        path.write_bytes(content)
    (tmp_path / "samples" / "junk.log").write_text("not ours")
    (tmp_path / "meta").write_bytes(b"\xff" * 10)
    before = read_status(tmp_path, max_bytes=1)
    async with opened(tmp_path) as (buffer, counters):
        batches = await drain(buffer)
        assert len(batches) == before.batches == buffer.status().batches
        assert counters.get("buffer.corrupt_ranges") == 1
        assert all(plain(one) for one in batches)
        await buffer.append(event(handle="c" * 32))
        assert buffer.status().batches == before.batches + 1
