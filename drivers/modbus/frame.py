"""Modbus frames, pure: requests to bytes, reply bytes to payload. Garbage raises ProtocolError, never gives a value.

Source: MODBUS Application Protocol V1.1b3; MODBUS over Serial Line V1.02; MODBUS Messaging on TCP/IP V1.0b.
"""

from __future__ import annotations

import struct
from typing import Final

from telemetry.errors import DeviceUnavailable, ProtocolError

EXCEPTIONS: Final = {
    1: "illegal function: the device does not serve this table; check the profile's `table`",
    2: "illegal data address: check the profile's addresses",
    3: "illegal data value: the block is too long for this device; lower the option max_registers",
    4: "device failure",
    5: "acknowledged, still working",
    6: "device busy",
    8: "memory parity error in the device",
    10: "gateway path unavailable",
    11: "gateway got no answer from the device",
}
_SILENT: Final = frozenset({6, 10, 11})
"""Exceptions that mean `not now`, not `wrong request`."""

RTU_OVERHEAD: Final = 5
"""Unit, function, byte count, two CRC bytes around a reply's data."""
RTU_EXCEPTION_BYTES: Final = 5
MBAP_BYTES: Final = 7
_EXCEPTION_BIT: Final = 0x80


def _crc_table() -> tuple[int, ...]:
    table = []
    for byte in range(256):
        crc = byte
        for _ in range(8):
            crc = (crc >> 1) ^ 0xA001 if crc & 1 else crc >> 1
        table.append(crc)
    return tuple(table)


_CRC_TABLE: Final = _crc_table()


def crc16(data: bytes) -> int:
    """Return the Modbus CRC-16 of `data` (sent low byte first)."""
    crc = 0xFFFF
    for byte in data:
        crc = (crc >> 8) ^ _CRC_TABLE[(crc ^ byte) & 0xFF]
    return crc


def read_request(function: int, address: int, count: int) -> bytes:
    """Return the PDU that reads `count` registers or bits of `function`'s table from `address`."""
    return struct.pack(">BHH", function, address, count)


def data_bytes(function: int, count: int) -> int:
    """Return how many data bytes a reply to a read of `count` items has."""
    return (count + 7) // 8 if function in {1, 2} else 2 * count


def rtu_request(unit: int, pdu: bytes) -> bytes:
    """Return the RTU frame around `pdu`."""
    frame = bytes((unit,)) + pdu
    return frame + crc16(frame).to_bytes(2, "little")


def rtu_missing(received: bytes, expected_data: int) -> int:
    """Return how many bytes are still missing of the reply that starts `received`; 0 when complete."""
    if len(received) >= 2 and received[1] & _EXCEPTION_BIT:  # noqa: PLR2004 - unit, function
        return max(0, RTU_EXCEPTION_BYTES - len(received))
    return max(0, RTU_OVERHEAD + expected_data - len(received))


def rtu_is_from(frame: bytes, unit: int, function: int) -> bool:
    """Tell whether a frame, whole or broken, begins like `unit`'s own reply to `function`."""
    return len(frame) >= 2 and frame[0] == unit and frame[1] & ~_EXCEPTION_BIT == function  # noqa: PLR2004 - those two


def rtu_reply(frame: bytes, unit: int, function: int, expected_data: int) -> bytes:
    """Return the data bytes of an RTU reply. Raises ProtocolError, or DeviceUnavailable for a busy device."""
    if len(frame) < RTU_EXCEPTION_BYTES or crc16(frame[:-2]) != int.from_bytes(frame[-2:], "little"):
        raise ProtocolError(f"unit {unit}: reply of {len(frame)} bytes has a wrong CRC")
    if frame[0] != unit:
        raise ProtocolError(f"unit {unit}: reply comes from unit {frame[0]}; two masters or a late reply on the bus?")
    return _reply_data(frame[1:-2], unit, function, expected_data)


def tcp_request(transaction: int, unit: int, pdu: bytes) -> bytes:
    """Return the Modbus TCP frame around `pdu`."""
    return struct.pack(">HHHB", transaction, 0, len(pdu) + 1, unit) + pdu


def tcp_length(header: bytes) -> int:
    """Return how many bytes follow the 7-byte MBAP header. Raises ProtocolError if it is none."""
    _, protocol, length, _ = struct.unpack(">HHHB", header)
    if protocol != 0 or not 3 <= length <= 254:  # noqa: PLR2004 - shortest and longest PDU plus the unit
        raise ProtocolError(f"not a Modbus TCP header: {header.hex()}")
    return int(length) - 1


def tcp_transaction(header: bytes) -> int:
    """Return the transaction number of an MBAP header."""
    return int.from_bytes(header[:2], "big")


def tcp_reply(frame: bytes, unit: int, function: int, expected_data: int) -> bytes:
    """Return the data bytes of a whole Modbus TCP frame. Raises ProtocolError or DeviceUnavailable."""
    if frame[6] != unit:
        raise ProtocolError(f"unit {unit}: reply comes from unit {frame[6]}")
    return _reply_data(frame[MBAP_BYTES:], unit, function, expected_data)


def _reply_data(pdu: bytes, unit: int, function: int, expected_data: int) -> bytes:
    if pdu[0] == function | _EXCEPTION_BIT:
        code = pdu[1]
        text = f"unit {unit}: exception {code}, {EXCEPTIONS.get(code, 'unknown to the standard')}"
        raise DeviceUnavailable(text) if code in _SILENT else ProtocolError(text)
    if pdu[0] != function:
        raise ProtocolError(f"unit {unit}: reply to function {pdu[0]} where {function} was asked")
    if pdu[1] != expected_data or len(pdu) != 2 + expected_data:
        raise ProtocolError(f"unit {unit}: reply has {len(pdu) - 2} data bytes where {expected_data} were asked")
    return pdu[2:]
