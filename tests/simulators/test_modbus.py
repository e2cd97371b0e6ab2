from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulators.faults import Active, Faults
from simulators.ledger import Journal, read_measurements
from simulators.modbus import Unit
from simulators.registers import MODELS
from simulators.school_day import SchoolDay

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SENSOR_BLOCK = bytes.fromhex("03 0000 0009")


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    with contextlib.closing(Journal(tmp_path / "said.jsonl")) as journal:
        yield journal


def make(model: str = "multisensor_6in1", journal: Journal | None = None) -> tuple[Unit, Faults]:
    faults = Faults()
    day = SchoolDay(seed=1, device="air", scenario="classroom", step_s=480)
    return Unit(name="air", model=MODELS[model], day=day, faults=faults, journal=journal or Journal(None)), faults


@pytest.mark.parametrize(
    ("request_", "reply"),
    [
        ("06 0000 0001", "86 01"),  # writing is not offered
        ("01 0000 0001", "81 01"),  # no coils
        ("04 0000 0001", "84 01"),  # this model has no input registers
        ("03 0009 0001", "83 02"),
        ("03 0008 0002", "83 02"),
        ("03 FFFF 0002", "83 02"),
        ("03 0000 0000", "83 03"),
        ("03 0000 007E", "83 03"),
        ("03 0000", "83 03"),
        ("03 0000 0001 00", "83 03"),
    ],
)
def test_exceptions(request_: str, reply: str) -> None:
    unit, _ = make()
    assert unit.answer(bytes.fromhex(request_), now_ns=0).pdu == bytes.fromhex(reply)
    assert unit.sequence == 0


def test_a_read_of_the_sequence_latches_a_new_measurement() -> None:
    unit, _ = make()
    sequences = [int.from_bytes(unit.answer(SENSOR_BLOCK, now_ns=0).pdu[-4:], "big") for _ in range(3)]
    assert sequences == [1, 2, 3]
    before = unit.answer(bytes.fromhex("03 0000 0007"), now_ns=0)
    assert before == unit.answer(bytes.fromhex("03 0000 0007"), now_ns=0)
    assert unit.sequence == 3


def test_what_is_said_is_journalled(tmp_path: Path, journal: Journal) -> None:
    unit, _ = make(journal=journal)
    first = unit.answer(SENSOR_BLOCK, now_ns=0)
    unit.said(first, at_ns=5, fault=None)
    unit.said(unit.answer(SENSOR_BLOCK, now_ns=0), at_ns=6, fault="corruption")
    one, two = read_measurements(tmp_path / "said.jsonl")
    assert (one.seq, one.at_ns, one.delivered, one.fault, one.values) == (1, 5, True, None, first.values)
    assert (two.seq, two.delivered, two.fault) == (2, False, "corruption")
    assert one.values["sequence"] == 1.0
    assert set(one.values) == {"temperature", "humidity", "co2", "pm2_5", "noise", "illuminance", "sequence"}


def test_an_airbox_measurement_that_nobody_reads_is_journalled_as_unread(tmp_path: Path, journal: Journal) -> None:
    unit, _ = make("airbox_tcp", journal)
    latch, read = bytes.fromhex("03 0000 0002"), bytes.fromhex("04 0064 000C")
    for pdu in (latch, latch, read, latch):
        unit.said(unit.answer(pdu, now_ns=9), at_ns=7, fault=None)
    unit.close(now_ns=9)
    said = read_measurements(tmp_path / "said.jsonl")
    assert [(item.seq, item.delivered, item.fault) for item in said] == [
        (1, False, "unread"),
        (2, True, None),
        (3, False, "unread"),
    ]


def test_stall_keeps_measurement_and_sequence(tmp_path: Path, journal: Journal) -> None:
    unit, faults = make(journal=journal)
    fresh = unit.answer(SENSOR_BLOCK, now_ns=0)
    faults.begin(Active(name="stall", device="air"))
    stalled = unit.answer(SENSOR_BLOCK, now_ns=0)
    assert stalled == fresh
    unit.said(stalled, at_ns=1, fault=None)
    faults.clear("stall")
    assert unit.answer(SENSOR_BLOCK, now_ns=0).sequence == 2
    (said,) = read_measurements(tmp_path / "said.jsonl")
    assert (said.delivered, said.fault) == (True, "stall")


def test_drift_grows_with_each_measurement() -> None:
    unit, faults = make()
    straight, _ = make()
    unit.answer(SENSOR_BLOCK, now_ns=0)
    straight.answer(SENSOR_BLOCK, now_ns=0)
    faults.begin(Active(name="drift", point="co2", per_sample=25.0))
    for step in range(1, 5):
        drifted, plain = (item.answer(SENSOR_BLOCK, now_ns=0).values for item in (unit, straight))
        assert drifted["co2"] - plain["co2"] == pytest.approx(25.0 * step, abs=1)
        assert drifted["temperature"] == plain["temperature"]
    faults.clear()
    assert unit.answer(SENSOR_BLOCK, now_ns=0).values == straight.answer(SENSOR_BLOCK, now_ns=0).values


@given(st.binary(min_size=1, max_size=253))
def test_no_request_is_too_odd_for_an_answer(pdu: bytes) -> None:
    unit, _ = make("airbox_tcp")
    reply = unit.answer(pdu, now_ns=0).pdu
    assert reply[0] & 0x7F == pdu[0] & 0x7F
    assert len(reply) == 2 if reply[0] & 0x80 else len(reply) == 2 + reply[1]
