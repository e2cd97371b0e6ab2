"""The register map of a profile: sources validated, blocks planned, register bytes decoded to canonical values."""

from __future__ import annotations

import dataclasses
import math
import struct
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, Self

from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass

from telemetry.errors import ConfigError, Problem
from telemetry.profile import FORBID, Number
from telemetry.quantities import QUANTITIES, Kind
from telemetry.sample import Reason, Value
from telemetry.validation import validated

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from telemetry.profile import DeviceProfile, Point

SEE: Final = "drivers/modbus/README.md"
FUNCTIONS: Final = {"coil": 1, "discrete": 2, "holding": 3, "input": 4}
_FORMATS: Final = {
    "bool": "H",
    "int16": "h",
    "uint16": "H",
    "int32": "i",
    "uint32": "I",
    "int64": "q",
    "uint64": "Q",
    "float32": "f",
    "float64": "d",
}


@dataclass(frozen=True, slots=True, kw_only=True, config=FORBID)
class Source:
    """Where a point stands in the device: a point's `source` table."""

    table: Literal["coil", "discrete", "holding", "input"] = "holding"
    address: Annotated[int, Field(strict=True, ge=0, le=65535)]
    type: Literal["bool", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float32", "float64"] = "uint16"
    scale: Number = 1.0
    offset: Number = 0.0
    """value = raw * scale + offset, in the quantity's canonical unit."""
    byte_order: Literal["big", "little"] = "big"
    """Order of the two bytes inside each register."""
    word_order: Literal["big", "little"] = "big"
    """Order of the registers of a 32 or 64 bit value; `little`: the low word comes first (CDAB)."""
    bit: Annotated[int, Field(strict=True, ge=0, le=15)] | None = None
    """Bit of a register that is a flag; with type `bool` on a register table."""
    invalid: Annotated[int, Field(strict=True)] | None = None
    """Raw value by which the device says `no measurement`: bad with reason `sensor_fault`."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        bits = self.table in {"coil", "discrete"}
        if bits and self.type != "bool":
            raise ValueError(f'table "{self.table}" holds bits: write type = "bool"')
        if not bits and (self.type == "bool") != (self.bit is not None):
            raise ValueError('a flag in a register needs both type = "bool" and bit = 0…15')
        return self

    @property
    def count(self) -> int:
        """How many registers (or bits) the value takes."""
        return self.format.size // 2

    @property
    def format(self) -> struct.Struct:
        """What its registers hold, their bytes in the order of the words; a flag stands in one register."""
        return struct.Struct(("<" if self.word_order == "little" else ">") + _FORMATS[self.type])


@dataclass(frozen=True, slots=True, kw_only=True, config=FORBID)
class Options:
    """The driver's options: a profile's `[options]`, overridden by the device's."""

    unit: Annotated[int, Field(strict=True, ge=0, le=255)] = 1
    framing: Literal["auto", "rtu", "tcp"] = "auto"
    """`auto`: RTU on a serial port, Modbus TCP on TCP; `rtu` on TCP is for transparent converters."""
    reply_timeout_s: Annotated[Number, Field(gt=0)] = 0.2
    max_registers: Annotated[int, Field(strict=True, ge=1, le=125)] = 125
    max_gap: Annotated[int, Field(strict=True, ge=0, le=124)] = 8
    """Unused registers read along to save a request; 0 for devices that refuse reads across holes."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """One point's place inside a block."""

    name: str
    source: Source
    at: int
    """Offset from the block's address, in registers or bits."""
    format: struct.Struct
    """What its registers hold."""
    digits: int | None
    """Decimals the scale can make; rounds away binary noise such as 214 * 0.1 = 21.400000000000002."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """One read request."""

    function: int
    address: int
    count: int
    fields: tuple[Place, ...]

    def decode(self, data: bytes) -> tuple[dict[str, Value], dict[str, Reason]]:
        """Return (values, bad) of the block's `data` bytes, whose length the frame layer has checked."""
        values: dict[str, Value] = {}
        bad: dict[str, Reason] = {}
        for field in self.fields:
            value = _bit(data, field.at) if self.function in {1, 2} else _register(data, field)
            if value is None:
                bad[field.name] = Reason.SENSOR_FAULT
            else:
                values[field.name] = value
        return values, bad


def _bit(data: bytes, at: int) -> bool:
    return bool(data[at // 8] >> (at % 8) & 1)


def _register(data: bytes, field: Place) -> Value | None:
    source = field.source
    raw = data[2 * field.at : 2 * field.at + field.format.size]
    if source.bit is not None:
        return bool(int.from_bytes(raw, source.byte_order) >> source.bit & 1)
    if source.byte_order != source.word_order:
        raw = _exchanged(raw)
    number = field.format.unpack(raw)[0]
    if (source.invalid is not None and number == source.invalid) or not math.isfinite(number):
        return None
    value = float(number) * source.scale + source.offset
    return value if field.digits is None else round(value, field.digits)


def _exchanged(raw: bytes) -> bytes:
    """Return `raw` with the two bytes of each register exchanged."""
    exchanged = bytearray(raw)
    exchanged[0::2], exchanged[1::2] = raw[1::2], raw[0::2]
    return bytes(exchanged)


def plan(profile: DeviceProfile, options: Options) -> tuple[Block, ...]:
    """Return the read requests for all points of `profile`, the heartbeat's first (some devices latch on it).

    Raises ConfigError naming every wrong source.
    """
    found: list[Problem] = []
    fields: dict[int, list[tuple[Point, Source]]] = {}
    for point in profile.points:
        where = f"profile {profile.id}: point {point.name}: source"
        source = validated(Source, point.source, where, found, see=SEE)
        if source is None:
            continue
        gives, kind = Kind.BOOL if source.type == "bool" else Kind.FLOAT, QUANTITIES[point.quantity].kind
        if gives is not kind:
            what = f'"{source.type}" gives a {gives}, quantity "{point.quantity}" is a {kind}'
            found.append(Problem(where=f"{where}.type", what=what, mend="use a type and a quantity that go together"))
        fields.setdefault(FUNCTIONS[source.table], []).append((point, source))
    if found:
        raise ConfigError(found)
    blocks = [block for function, items in fields.items() for block in _blocks(function, items, options)]
    return tuple(sorted(blocks, key=lambda block: all(field.name != profile.heartbeat for field in block.fields)))


def _blocks(function: int, items: Sequence[tuple[Point, Source]], options: Options) -> list[Block]:
    groups: list[list[tuple[Point, Source]]] = []
    start = end = 0
    for point, source in sorted(items, key=lambda item: item[1].address):
        last = source.address + source.count
        if groups and source.address - end <= options.max_gap and last - start <= options.max_registers:
            groups[-1].append((point, source))
        else:
            groups.append([(point, source)])
            start, end = source.address, source.address
        end = max(end, last)
    return [_block(function, group) for group in groups]


def _block(function: int, group: Sequence[tuple[Point, Source]]) -> Block:
    address = group[0][1].address
    return Block(
        function=function,
        address=address,
        count=max(source.address + source.count for _, source in group) - address,
        fields=tuple(
            Place(
                name=point.name,
                source=source,
                at=source.address - address,
                format=source.format,
                digits=_digits(source),
            )
            for point, source in group
        ),
    )


def _digits(source: Source) -> int | None:
    if source.type in {"bool", "float32", "float64"}:
        return None
    exponents = (Decimal(str(number)).as_tuple().exponent for number in (source.scale, source.offset))
    return max(0, *(-int(exponent) for exponent in exponents))


def options_of(table: Mapping[str, Any], where: str) -> Options:
    """Return the driver's options in `table`. Raises ConfigError naming every wrong key."""
    problems: list[Problem] = []
    options = validated(Options, table, where, problems, see=SEE)
    if options is None:
        raise ConfigError(problems)
    return options
