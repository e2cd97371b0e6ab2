"""Fitness bands, pure and seeded: who wears them, what they measure, and the bytes that they say it with.

Bytes are written from Bluetooth SIG's Heart Rate Service 1.0 and from what is known of the Mi Band's broadcast. The
energy is a counter: 1 kJ more with each measurement, so that what was stored can be matched with what was said.
"""

from __future__ import annotations

import hashlib
import math
import struct
from dataclasses import dataclass
from typing import Final

HUAMI: Final = 0x0157
HEART_RATE: Final = 0x180D
_FLAGS: Final = 0x01
_SERVICE_UUIDS: Final = 0x03
_SERVICE_DATA: Final = 0x16
_MANUFACTURER: Final = 0xFF
_CONTACT_ENERGY_RR: Final = 0x1E
_LESSON: Final = 900
KJ_PER_KWH: Final = 3600
RR_PER_S: Final = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Beat:
    """Measurement `n` of a band, as its bytes can say it."""

    n: int
    rate: int
    """beat/min"""
    rr: int
    """Last interval between two beats, 1/1024 s."""
    energy: int
    """kJ"""

    @property
    def values(self) -> dict[str, float]:
        """The points, in canonical units."""
        return {
            "heart_rate": float(self.rate),
            "rr_interval": self.rr / RR_PER_S,
            "energy": self.energy / KJ_PER_KWH,
        }


class Band:
    """One band on one wrist; measurement n depends on (seed, name, n) alone."""

    def __init__(self, *, seed: int, name: str) -> None:
        self.name = name
        digest = hashlib.sha256(f"{seed}/{name}/band".encode()).digest()
        self.id = digest[:6]
        """Static id in all that it says; its address is another one."""
        self.address = ":".join(f"{byte:02X}" for byte in (digest[6] | 0xC0, *digest[7:12]))
        self._rest = 68 + digest[12] % 20
        self._effort = 60 + digest[13] % 30
        self._phase = digest[14] / 255

    def beat(self, n: int) -> Beat:
        """Return measurement `n`; the first is 1."""
        effort = math.sin(math.pi * (n / _LESSON + self._phase)) ** 2
        wobble = hashlib.sha256(self.id + n.to_bytes(8, "big")).digest()[0] % 7 - 3
        rate = round(self._rest + self._effort * effort) + wobble
        return Beat(n=n, rate=rate, rr=round(60 * RR_PER_S / rate), energy=n % 0x10000)


def measurement(beat: Beat) -> bytes:
    """Return the value of characteristic 2A37: rate as u8, skin contact, energy and one interval."""
    return struct.pack("<BBHH", _CONTACT_ENERGY_RR, beat.rate, beat.energy, beat.rr)


def service_advert(band: Band, beat: Beat, *, connectable: bool = False) -> bytes:
    """Return advertising data that holds the measurement and then the id as service data of 0x180D."""
    uuid = struct.pack("<H", HEART_RATE)
    offered = _structure(_SERVICE_UUIDS, uuid) if connectable else b""
    return _structure(_FLAGS, b"\x06") + offered + _structure(_SERVICE_DATA, uuid + measurement(beat) + band.id)


def mi_advert(band: Band, beat: Beat) -> bytes:
    """Return advertising data of a Mi Band that shares its heart rate."""
    payload = bytes((0x02, 0x01, 0x0D, beat.rate)) + b"\xff" * 14 + band.id
    return _structure(_FLAGS, b"\x06") + _structure(_MANUFACTURER, struct.pack("<H", HUAMI) + payload)


def _structure(kind: int, data: bytes) -> bytes:
    return bytes((len(data) + 1, kind)) + data
