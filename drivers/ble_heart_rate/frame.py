"""Heart-rate bytes of fitness bands, pure: bytes in, a reading out. What is not exactly such a frame raises.

Heart Rate Measurement (2A37): Bluetooth SIG, Heart Rate Service 1.0. Mi Band: its broadcast of the heart rate during
an activity, known from the field: 24 bytes after company 0x0157, the rate at 3, the band's static id in the last 6.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from telemetry.errors import ProtocolError
from telemetry.sample import Reason

HUAMI: Final = 0x0157
HEART_RATE_SERVICE: Final = "0000180d-0000-1000-8000-00805f9b34fb"
HEART_RATE_MEASUREMENT: Final = "00002a37-0000-1000-8000-00805f9b34fb"
BATTERY_SERVICE: Final = "0000180f-0000-1000-8000-00805f9b34fb"
BATTERY_LEVEL: Final = "00002a19-0000-1000-8000-00805f9b34fb"

_WIDE: Final = 0x01
_CONTACT: Final = 0x02
_CONTACT_KNOWN: Final = 0x04
_ENERGY: Final = 0x08
_RR: Final = 0x10
_RESERVED: Final = 0xE0
_KJ_PER_KWH: Final = 3600.0
_RR_PER_S: Final = 1024.0
_FULL: Final = 100

MI_BAND_BYTES: Final = 24
_MI_RATE_AT: Final = 3
_MI_ID_BYTES: Final = 6
_MI_NONE: Final = 0xFF


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What one frame says, in canonical units; disjoint values and reasons."""

    values: dict[str, float] = field(default_factory=dict)
    bad: dict[str, Reason] = field(default_factory=dict)


def decode_measurement(data: bytes) -> Reading:
    """Return `heart_rate` (beat/min), `energy` (kWh) and `rr_interval` (s, the latest one), as far as they are there.

    Without skin contact, or with the rate 0, the rate and the interval are bad. Raises ProtocolError.
    """
    if len(data) < 2 or data[0] & _RESERVED:  # noqa: PLR2004 - flags and the shortest rate
        raise ProtocolError("no heart rate measurement")
    flags = data[0]
    at = 3 if flags & _WIDE else 2
    rate = int.from_bytes(data[1:at], "little")
    energy_at = at
    at += 2 if flags & _ENERGY else 0
    intervals = data[at:]
    if len(data) < at or len(intervals) % 2 or bool(intervals) is not bool(flags & _RR):
        raise ProtocolError("a heart rate measurement whose length is not what its flags say")
    values: dict[str, float] = {}
    bad: dict[str, Reason] = {}
    on_skin = not flags & _CONTACT_KNOWN or bool(flags & _CONTACT)
    _put("heart_rate", float(rate), values, bad, good=on_skin and rate > 0)
    if intervals:
        _put("rr_interval", int.from_bytes(intervals[-2:], "little") / _RR_PER_S, values, bad, good=on_skin)
    if flags & _ENERGY:
        values["energy"] = int.from_bytes(data[energy_at : energy_at + 2], "little") / _KJ_PER_KWH
    return Reading(values=values, bad=bad)


def _put(point: str, value: float, values: dict[str, float], bad: dict[str, Reason], *, good: bool) -> None:
    if good:
        values[point] = value
    else:
        bad[point] = Reason.SENSOR_FAULT


def decode_battery(data: bytes) -> Reading:
    """Return `battery` (%EL). Raises ProtocolError."""
    if len(data) != 1 or data[0] > _FULL:
        raise ProtocolError("no battery level")
    return Reading(values={"battery": float(data[0])})


def decode_mi_band(payload: bytes) -> tuple[str, Reading]:
    """Return a Mi Band's id and its reading from the data after the company identifier. Raises ProtocolError."""
    if len(payload) != MI_BAND_BYTES:
        raise ProtocolError("no heart rate broadcast of a Mi Band")
    rate = payload[_MI_RATE_AT]
    values: dict[str, float] = {}
    bad: dict[str, Reason] = {}
    _put("heart_rate", float(rate), values, bad, good=rate not in (0, _MI_NONE))
    return identifier(payload[-_MI_ID_BYTES:]), Reading(values=values, bad=bad)


def decode_with_id(data: bytes, *, id_bytes: int) -> tuple[str, Reading]:
    """Return the id in the last `id_bytes`, and the measurement before it. Raises ProtocolError."""
    if len(data) <= id_bytes:
        raise ProtocolError("too short for a heart rate measurement and an id")
    return identifier(data[-id_bytes:]), decode_measurement(data[:-id_bytes])


def identifier(data: bytes) -> str:
    """Return the canonical text of a band's id: upper-case hex. Raises ProtocolError if it is an empty one."""
    if len(set(data)) == 1 and data[0] in (0x00, 0xFF):
        raise ProtocolError("an empty id")
    return data.hex().upper()
