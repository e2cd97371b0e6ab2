"""Frames against the standard's own examples, pymodbus as a second opinion, and garbage."""

import contextlib
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymodbus.framer.rtu import FramerRTU

from drivers.modbus import frame
from telemetry.errors import DeviceUnavailable, ProtocolError


def test_golden_request_of_the_senseair_s8_data_sheet():
    assert frame.rtu_request(0xFE, frame.read_request(4, 3, 1)) == bytes.fromhex("fe0400030001d5c5")


def test_golden_reply_of_the_senseair_s8_data_sheet():
    assert frame.rtu_reply(bytes.fromhex("fe04020190acd8"), 0xFE, 4, 2) == bytes.fromhex("0190")


def test_golden_read_of_the_modbus_specification():
    """Application Protocol V1.1b3, 6.3: registers 108 to 110 are 022B 0000 0064."""
    assert frame.read_request(3, 0x6B, 3) == bytes.fromhex("03006b0003")
    reply = bytes.fromhex("000100000009") + bytes.fromhex("11") + bytes.fromhex("0306022b00000064")
    assert frame.tcp_length(reply[:7]) == 8
    assert frame.tcp_reply(reply, 0x11, 3, 6) == bytes.fromhex("022b00000064")


def test_golden_tcp_request():
    assert frame.tcp_request(1, 0x11, frame.read_request(3, 0x6B, 3)) == bytes.fromhex("0001000000061103006b0003")


@given(st.binary(max_size=300))
def test_crc_agrees_with_pymodbus(data):
    assert frame.crc16(data).to_bytes(2, "little") == FramerRTU.compute_CRC(data).to_bytes(2, "big")


@given(st.binary(max_size=64), st.integers(1, 247), st.sampled_from([1, 2, 3, 4]), st.integers(1, 250))
def test_garbage_is_an_error_never_a_value(data, unit, function, expected):
    with pytest.raises((ProtocolError, DeviceUnavailable)):
        frame.rtu_reply(data, unit, function, expected)


def test_exceptions_say_what_to_mend():
    body = bytes((1, 0x83, 2))
    with pytest.raises(ProtocolError, match="check the profile's addresses"):
        frame.rtu_reply(body + frame.crc16(body).to_bytes(2, "little"), 1, 3, 2)


def test_a_busy_device_is_unavailable_not_wrong():
    body = bytes((1, 0x83, 6))
    with pytest.raises(DeviceUnavailable, match="busy"):
        frame.rtu_reply(body + frame.crc16(body).to_bytes(2, "little"), 1, 3, 2)


def test_a_reply_of_another_unit_or_length_is_refused():
    body = bytes((2, 3, 2, 1, 0x90))
    reply = body + frame.crc16(body).to_bytes(2, "little")
    assert frame.rtu_reply(reply, 2, 3, 2) == b"\x01\x90"
    with pytest.raises(ProtocolError, match="unit 2"):
        frame.rtu_reply(reply, 1, 3, 2)
    with pytest.raises(ProtocolError, match="2 data bytes"):
        frame.rtu_reply(reply, 2, 3, 4)
    with pytest.raises(ProtocolError, match="function 3"):
        frame.rtu_reply(reply, 2, 4, 2)


def test_five_percent_corrupted_bytes_lose_replies_and_falsify_none():
    chance = random.Random(5)  # noqa: S311 - noise, repeatable
    body = bytes((1, 3, 18, *range(18)))
    reply = body + frame.crc16(body).to_bytes(2, "little")
    lost = 0
    for _ in range(20_000):
        wire = bytes(byte ^ chance.randrange(1, 256) if chance.random() < 0.05 else byte for byte in reply)
        try:
            assert frame.rtu_reply(wire, 1, 3, 18) == bytes(range(18))
        except ProtocolError:
            lost += 1
    assert 10_000 < lost < 18_000


@given(st.binary(min_size=7, max_size=7))
def test_any_header_gives_a_sane_length_or_an_error(header):
    with contextlib.suppress(ProtocolError):
        assert 2 <= frame.tcp_length(header) <= 253
