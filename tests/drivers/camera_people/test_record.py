"""The record: numbers only, and nothing that no sound worker says is believed."""

import re
import struct
import zlib
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.camera_people.record import (
    MAX_LOOKS,
    MAX_PEOPLE,
    MAX_WIDTH,
    NOTHING,
    SEEN,
    SIZE,
    Record,
    State,
    decode,
    encode,
)
from telemetry.crowd import FEW, told
from telemetry.errors import ProtocolError

U16, U32, U64 = (st.integers(0, 2**bits - 1) for bits in (16, 32, 64))
GOLDEN = bytes.fromhex(
    "0200 0100 07000000 0c00 8813 8002 e001 00e1f50500000000 64000000 5a000000 01000000 02000000 88900000"
    "fa00 1100 2800 0500"
)
"""Made by hand after the README: 12 people, brightness 0.5, 640x480, received at 100 ms, 37 ms of inference,
motion 0.025, faces of 17 to 40 px, the median of five looks."""


def with_sum(body: bytes) -> bytes:
    return body + struct.pack("<I", zlib.crc32(body))


def records():
    seen = {
        "brightness": st.integers(0, 10_000).map(lambda number: number / 10_000),
        "width": st.integers(1, 65535),
        "height": st.integers(1, 65535),
        "captured_ns": st.integers(1, 2**64 - 1),
    }
    counts = dict.fromkeys(("sequence", "frames", "skipped", "undecodable", "reopened", "inference_us"), U32)
    people = st.just(0) | st.integers(FEW, MAX_PEOPLE)
    moved = {"motion": st.none() | st.integers(0, 10_000).map(lambda number: number / 10_000)}
    faces = st.just((None, None)) | st.tuples(st.integers(0, 99), st.integers(99, MAX_WIDTH))
    counted = st.builds(
        Record, state=st.just(State.COUNTED), people=people, looks=st.integers(1, MAX_LOOKS), **seen, **moved, **counts
    )
    return st.one_of(
        st.tuples(counted, faces).map(lambda both: replace(both[0], narrowest_px=both[1][0], widest_px=both[1][1])),
        st.builds(Record, state=st.sampled_from(sorted(SEEN - {State.COUNTED})), **seen, **moved, **counts),
        st.builds(Record, state=st.sampled_from(sorted(set(State) - SEEN)), **counts),
    )


def test_golden_record():
    record = decode(with_sum(GOLDEN))
    assert record == Record(
        state=State.COUNTED,
        sequence=7,
        people=12,
        brightness=0.5,
        width=640,
        height=480,
        captured_ns=100_000_000,
        frames=100,
        skipped=90,
        undecodable=1,
        reopened=2,
        inference_us=37_000,
        motion=0.025,
        narrowest_px=17,
        widest_px=40,
        looks=5,
    )
    assert encode(record) == with_sum(GOLDEN)
    assert len(encode(record)) == SIZE == 56


@given(records())
def test_what_is_written_is_read(record):
    data = encode(record)
    assert len(data) == SIZE
    assert decode(data) == record


@given(st.binary(max_size=64))
def test_any_bytes_are_refused_by_our_own_error(data):
    with pytest.raises(ProtocolError):
        decode(data)


@given(
    st.tuples(
        *(st.just(2) | U16, U16 | st.integers(0, 11), U32, U16, U16, U16, U16, U64, U32, U32, U32, U32, U32),
        *(U16, U16, U16, U16),
    )
)
def test_a_right_sum_alone_is_not_enough(fields):
    data = with_sum(struct.pack("<HHIHHHHQIIIIIHHHH", *fields))
    try:
        record = decode(data)
    except ProtocolError:
        return
    assert encode(record) == data
    assert (record.people is not None) == (record.state is State.COUNTED)
    assert record.people is None or record.people == 0 or FEW <= record.people <= MAX_PEOPLE


@given(records(), st.data())
def test_one_damaged_bit_is_noticed(record, data):
    bit = data.draw(st.integers(0, SIZE * 8 - 1))
    damaged = bytearray(encode(record))
    damaged[bit // 8] ^= 1 << bit % 8
    with pytest.raises(ProtocolError):
        decode(bytes(damaged))


@pytest.mark.parametrize("people", [1, 2, 3, MAX_PEOPLE + 1, NOTHING])
def test_no_smaller_number_is_believed(people):
    with pytest.raises(ProtocolError, match="people"):
        decode(with_sum(GOLDEN[:8] + people.to_bytes(2, "little") + GOLDEN[10:]))


@given(st.integers(0, 2000))
def test_one_to_four_are_told_as_four(people):
    assert told(people) == (0 if people == 0 else max(4, people))


def test_the_readme_tells_the_layout():
    text = Path(__file__).parents[3].joinpath("drivers/camera_people/README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ([\d, ]+) \| (u\d+) \|", text, re.MULTILINE)
    places = [(int(offset), kind) for offsets, kind in rows for offset in offsets.split(",")]
    assert places[-1] == (SIZE - 4, "u32")
    sizes = {"u16": 2, "u32": 4, "u64": 8}
    assert [at for at, _ in places] == [sum(sizes[kind] for _, kind in places[:n]) for n in range(len(places))]
