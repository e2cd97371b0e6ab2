"""The simulated Modbus models: register tables as their data sheets give them, apart from the drivers' profiles."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

HOLDING: Final = 3
"""Function code that reads holding registers."""
INPUT: Final = 4
"""Function code that reads input registers."""
SEQUENCE: Final = "sequence"

Code = Literal["u16", "i16", "u32", "f32_low_first"]
_LIMITS: Final[dict[Code, tuple[int, int]]] = {"u16": (0, 0xFFFF), "i16": (-0x8000, 0x7FFF), "u32": (0, 0xFFFF_FFFF)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One value in the registers: `counts` steps make one canonical unit (10: a resolution of 0.1)."""

    point: str
    function: int
    address: int
    code: Code
    counts: int = 1

    @property
    def addresses(self) -> range:
        """Addresses of the value's registers."""
        return range(self.address, self.address + (1 if self.code in {"u16", "i16"} else 2))

    def truth(self, value: float) -> float:
        """Return what the device can say of `value`: rounded to its steps and kept within its range."""
        if self.code == "f32_low_first":
            return float(struct.unpack(">f", struct.pack(">f", value))[0])
        return self._raw(value) / self.counts

    def words(self, value: float) -> list[int]:
        """Return the registers that say `value`, in the order of their addresses."""
        if self.code == "f32_low_first":
            high, low = struct.unpack(">HH", struct.pack(">f", value))
            return [low, high]
        raw = self._raw(value)
        return [raw >> 16, raw & 0xFFFF] if self.code == "u32" else [raw & 0xFFFF]

    def _raw(self, value: float) -> int:
        lowest, highest = _LIMITS[self.code]
        return min(max(round(value * self.counts), lowest), highest)


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A device model. A read that covers `latch` (function, address) takes a new measurement first."""

    says: str
    fields: tuple[Field, ...]
    latch: tuple[int, int]
    baudrate: int = 9600
    constants: Mapping[tuple[int, int], int] = field(default_factory=dict)
    """(function, address) → word, for registers that carry no measurement."""

    @property
    def points(self) -> list[str]:
        """Names of the measured points."""
        return [item.point for item in self.fields if item.point != SEQUENCE]

    def truths(self, values: Mapping[str, float], sequence: int) -> dict[str, float]:
        """Return what the device says of a measurement, by point, in canonical units."""
        return {item.point: item.truth(_value(item, values, sequence)) for item in self.fields}

    def registers(self, values: Mapping[str, float], sequence: int) -> dict[tuple[int, int], int]:
        """Return all registers as (function, address) → word."""
        words = dict(self.constants)
        for item in self.fields:
            for address, word in zip(item.addresses, item.words(_value(item, values, sequence)), strict=True):
                words[item.function, address] = word
        return words

    def covered(self, function: int, addresses: range) -> list[str]:
        """Return the points whose registers all lie in `addresses`."""
        return [
            item.point
            for item in self.fields
            if item.function == function and item.addresses[0] in addresses and item.addresses[-1] in addresses
        ]


def _value(item: Field, values: Mapping[str, float], sequence: int) -> float:
    return sequence if item.point == SEQUENCE else values[item.point]


def _holding(point: str, address: int, code: Code = "u16", counts: int = 1) -> Field:
    return Field(point=point, function=HOLDING, address=address, code=code, counts=counts)


def _float(point: str, address: int) -> Field:
    return Field(point=point, function=INPUT, address=address, code="f32_low_first")


MODELS: Final[dict[str, Model]] = {
    "multisensor_6in1": Model(
        says="RS-485 room sensor: six values and a sequence in one block, holding registers 0..8",
        fields=(
            _holding("humidity", 0, counts=10),
            _holding("temperature", 1, "i16", 10),
            _holding("co2", 2),
            _holding("pm2_5", 3),
            _holding("noise", 4, counts=10),
            _holding("illuminance", 5, "u32"),
            _holding(SEQUENCE, 7, "u32"),
        ),
        latch=(HOLDING, 7),
    ),
    "airbox_tcp": Model(
        says="network air box: float32 input registers 100..111, low word first; sequence in holding registers 0..1",
        fields=(
            _float("temperature", 100),
            _float("humidity", 102),
            _float("co2", 104),
            _float("pm2_5", 106),
            _float("illuminance", 108),
            _float("noise", 110),
            _holding(SEQUENCE, 0, "u32"),
        ),
        latch=(HOLDING, 0),
    ),
    "renke_rs_co2ws": Model(
        says="RS-485 CO2 transmitter: humidity, temperature, CO2 in holding registers 0..2; no sequence",
        fields=(_holding("humidity", 0, counts=10), _holding("temperature", 1, "i16", 10), _holding("co2", 2)),
        latch=(HOLDING, 0),
        baudrate=4800,
    ),
    "senseair_s8": Model(
        says="CO2 sensor: input register 3, usually unit 254; no sequence",
        fields=(Field(point="co2", function=INPUT, address=3, code="u16"),),
        latch=(INPUT, 3),
        constants={(INPUT, 0): 0, (INPUT, 1): 0, (INPUT, 2): 0},
    ),
}
