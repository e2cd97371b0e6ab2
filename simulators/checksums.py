"""Checksums as the data sheets give them; written here on purpose, so that a driver's mistake is not repeated."""

from __future__ import annotations

from functools import reduce
from operator import xor
from typing import Final


def _crc_table() -> tuple[int, ...]:
    table = []
    for byte in range(256):
        crc = byte
        for _ in range(8):
            crc = crc >> 1 ^ 0xA001 if crc & 1 else crc >> 1
        table.append(crc)
    return tuple(table)


_CRC16: Final = _crc_table()


def crc16_modbus(data: bytes) -> bytes:
    """Return the two CRC bytes that follow `data` in a Modbus RTU frame, low byte first (Serial Line guide 6.2)."""
    crc = 0xFFFF
    for byte in data:
        crc = crc >> 8 ^ _CRC16[(crc ^ byte) & 0xFF]
    return crc.to_bytes(2, "little")


def xor8(data: bytes) -> int:
    """Return the exclusive or of all bytes (RDM6300's checksum)."""
    return reduce(xor, data, 0)
