"""Quantities and their one canonical unit; a quantity fixes its field's type for ever.

Unit names are SenML's (RFC 8428, RFC 8798) where it has one.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Kind(StrEnum):
    """The type of a stored field."""

    FLOAT = "float"
    BOOL = "bool"
    STRING = "string"


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantity:
    """What a number means: its name, its canonical unit and its field type."""

    name: str
    unit: str
    kind: Kind = Kind.FLOAT


def _float(name: str, unit: str) -> Quantity:
    return Quantity(name=name, unit=unit)


QUANTITIES: Final[dict[str, Quantity]] = {
    quantity.name: quantity
    for quantity in (
        _float("temperature", "Cel"),
        _float("humidity", "%RH"),
        _float("co2", "ppm"),
        _float("pm1", "ug/m3"),
        _float("pm2_5", "ug/m3"),
        _float("pm10", "ug/m3"),
        _float("illuminance", "lx"),
        _float("noise", "dB"),
        _float("pressure", "Pa"),
        _float("power", "W"),
        _float("energy", "kWh"),
        _float("voltage", "V"),
        _float("current", "A"),
        _float("power_factor", "/"),
        _float("heart_rate", "beat/min"),
        _float("battery", "%EL"),
        _float("people", "count"),
        _float("counter", "count"),
        _float("brightness", "/"),
        _float("duration", "s"),
        _float("memory", "By"),
        Quantity(name="presence", unit="", kind=Kind.BOOL),
        Quantity(name="state", unit="", kind=Kind.STRING),
    )
}
