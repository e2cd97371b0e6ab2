from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulators.checksums import crc16_modbus, xor8


@pytest.mark.parametrize(
    ("frame", "crc"),
    [
        # Senseair S8, Modbus documentation: read CO2.
        ("FE 04 00 03 00 01", "D5 C5"),
        ("FE 04 02 01 90", "AC D8"),
        # Modbus over Serial Line, and the classic read of ten registers.
        ("01 03 00 00 00 0A", "C5 CD"),
        ("02 07", "41 12"),
    ],
)
def test_crc_of_known_frames(frame: str, crc: str) -> None:
    assert crc16_modbus(bytes.fromhex(frame)) == bytes.fromhex(crc)


@given(st.binary(max_size=64))
def test_a_frame_with_its_crc_has_crc_zero(data: bytes) -> None:
    assert crc16_modbus(data + crc16_modbus(data)) == b"\0\0"


@given(st.binary(min_size=1, max_size=32), st.data())
def test_crc_shows_every_single_damaged_byte(data: bytes, draw: st.DataObject) -> None:
    index = draw.draw(st.integers(0, len(data) - 1))
    change = draw.draw(st.integers(1, 255))
    damaged = bytearray(data)
    damaged[index] ^= change
    assert crc16_modbus(bytes(damaged)) != crc16_modbus(data)


def test_xor_of_the_data_sheets_card() -> None:
    assert xor8(bytes.fromhex("62E3086CED")) == 0x08
