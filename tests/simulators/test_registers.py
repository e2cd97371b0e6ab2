from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulators.registers import HOLDING, INPUT, MODELS, Field

AIR = {"temperature": -5.52, "humidity": 48.24, "co2": 812.4, "pm2_5": 35.2, "noise": 55.31, "illuminance": 70000.4}


def block(model: str, function: int, start: int, count: int, sequence: int = 65537) -> list[int]:
    registers = MODELS[model].registers(AIR, sequence)
    return [registers[function, address] for address in range(start, start + count)]


def test_multisensor_registers_as_written_in_its_data_sheet() -> None:
    # 48.2 %RH, -5.5 Cel, 812 ppm, 35 ug/m3, 55.3 dB, 70000 lx = 0x00011170, sequence 65537 = 0x00010001
    expected = [482, 0xFFC9, 812, 35, 553, 0x0001, 0x1170, 0x0001, 0x0001]
    assert block("multisensor_6in1", HOLDING, 0, 9) == expected


def test_airbox_floats_have_the_low_word_first() -> None:
    registers = MODELS["airbox_tcp"].registers(AIR | {"temperature": 21.5, "humidity": 50.0}, 7)
    # 21.5 = 41AC 0000, 50.0 = 4248 0000
    assert [registers[INPUT, address] for address in range(100, 104)] == [0x0000, 0x41AC, 0x0000, 0x4248]
    assert [registers[HOLDING, address] for address in (0, 1)] == [0, 7]


def test_airbox_order_of_points() -> None:
    words = block("airbox_tcp", INPUT, 100, 12)
    values = [
        struct.unpack(">f", struct.pack(">HH", high, low))[0] for low, high in zip(words[::2], words[1::2], strict=True)
    ]
    assert values == pytest.approx([-5.52, 48.24, 812.4, 35.2, 70000.4, 55.31])


def test_renke_and_senseair() -> None:
    assert block("renke_rs_co2ws", HOLDING, 0, 3) == [482, 0xFFC9, 812]
    assert block("senseair_s8", INPUT, 0, 4) == [0, 0, 0, 812]
    assert MODELS["renke_rs_co2ws"].baudrate == 4800


def test_truth_is_what_the_registers_can_say() -> None:
    assert MODELS["multisensor_6in1"].truths(AIR, 3) == {
        "humidity": 48.2,
        "temperature": -5.5,
        "co2": 812.0,
        "pm2_5": 35.0,
        "noise": 55.3,
        "illuminance": 70000.0,
        "sequence": 3.0,
    }
    truth = MODELS["airbox_tcp"].truths(AIR, 3)["temperature"]
    assert truth == struct.unpack("<f", struct.pack("<f", -5.52))[0] != -5.52


@given(st.floats(-4000, 4000, allow_nan=False), st.sampled_from(["i16", "f32_low_first"]), st.sampled_from([1, 10]))
def test_words_decode_to_the_truth(value: float, code: str, counts: int) -> None:
    field = Field(point="x", function=HOLDING, address=0, code=code, counts=counts)
    words = field.words(value)
    if code == "i16":
        decoded = struct.unpack(">h", struct.pack(">H", words[0]))[0] / counts
    else:
        decoded = struct.unpack(">f", struct.pack(">HH", words[1], words[0]))[0]
    assert decoded == field.truth(value)


@given(st.floats(-1e9, 1e9), st.sampled_from(["u16", "i16", "u32"]), st.sampled_from([1, 10, 100]))
def test_integers_stay_in_their_range(value: float, code: str, counts: int) -> None:
    field = Field(point="x", function=HOLDING, address=0, code=code, counts=counts)
    words = field.words(value)
    assert len(words) == len(field.addresses)
    assert all(0 <= word <= 0xFFFF for word in words)


def test_points_covered_by_a_read() -> None:
    model = MODELS["multisensor_6in1"]
    assert model.covered(HOLDING, range(2)) == ["humidity", "temperature"]
    # Half of a 32-bit value says nothing.
    assert model.covered(HOLDING, range(4, 6)) == ["noise"]
    assert model.covered(INPUT, range(9)) == []
