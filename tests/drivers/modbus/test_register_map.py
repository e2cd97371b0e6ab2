"""Register maps: every type and order against pymodbus, block planning, and errors that name the key."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymodbus.client.mixin import ModbusClientMixin as Oracle

from device_profiles import load_profile, profile_ids
from drivers.modbus import problems
from drivers.modbus.register_map import Options, Source, plan
from telemetry.errors import ConfigError
from telemetry.profile import DeviceProfile, Point, Text
from telemetry.sample import Reason
from telemetry.validation import validated

TYPES = {
    "int16": Oracle.DATATYPE.INT16,
    "uint16": Oracle.DATATYPE.UINT16,
    "int32": Oracle.DATATYPE.INT32,
    "uint32": Oracle.DATATYPE.UINT32,
    "int64": Oracle.DATATYPE.INT64,
    "uint64": Oracle.DATATYPE.UINT64,
    "float32": Oracle.DATATYPE.FLOAT32,
    "float64": Oracle.DATATYPE.FLOAT64,
}


def profile(*sources, heartbeat=None, quantity="counter"):
    return DeviceProfile(
        id="test/device",
        version="1.0.0",
        name=Text(zh="测", en="test"),
        manufacturer="m",
        model="m",
        driver="modbus",
        measurement="environment",
        heartbeat=heartbeat,
        point=tuple(
            Point(name=f"p{i}", quantity=quantity, source=source, **{"class": "open"})
            for i, source in enumerate(sources)
        ),
    )


def decode_one(source, data, **options):
    (block,) = plan(profile(source, **options), Options())
    values, bad = block.decode(data)
    return bad["p0"] if bad else values["p0"]


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("word_order", ["big", "little"])
@given(data=st.data())
def test_every_type_and_word_order_agrees_with_pymodbus(kind, word_order, data):
    bits = int(kind[-2:])
    if kind.startswith("float"):
        number = data.draw(st.floats(width=bits, allow_nan=False, allow_infinity=False))
    else:
        low = -(1 << (bits - 1)) if kind.startswith("int") else 0
        number = data.draw(st.integers(low, low + (1 << bits) - 1))
    registers = Oracle.convert_to_registers(number, TYPES[kind], word_order=word_order)
    wire = b"".join(register.to_bytes(2, "big") for register in registers)
    assert decode_one({"address": 7, "type": kind, "word_order": word_order}, wire) == float(number)


def test_byte_order_swaps_inside_each_register():
    wire = struct.pack(">f", 21.5)
    swapped = wire[1::-1] + wire[3:1:-1]
    assert decode_one({"address": 0, "type": "float32", "byte_order": "little"}, swapped) == 21.5
    assert decode_one({"address": 0, "type": "uint16", "byte_order": "little"}, b"\x34\x12") == 0x1234


def test_scale_leaves_no_binary_noise():
    assert decode_one({"address": 0, "type": "uint16", "scale": 0.1}, (214).to_bytes(2, "big")) == 21.4
    assert decode_one({"address": 0, "type": "int16", "scale": 0.1}, b"\xff\xc9") == -5.5
    assert decode_one({"address": 0, "scale": 0.01, "offset": -40}, (6543).to_bytes(2, "big")) == 25.43


def test_invalid_raw_values_and_nan_are_a_sensor_fault_not_a_number():
    assert decode_one({"address": 0, "type": "int16", "invalid": 0x7FFF}, b"\x7f\xff") is Reason.SENSOR_FAULT
    assert decode_one({"address": 0, "type": "float32"}, struct.pack(">f", float("nan"))) is Reason.SENSOR_FAULT
    assert decode_one({"address": 0, "type": "float32"}, struct.pack(">f", float("inf"))) is Reason.SENSOR_FAULT


def test_bits_in_coils_and_registers():
    (block,) = plan(
        profile(*({"table": "coil", "address": a, "type": "bool"} for a in (0, 3, 9)), quantity="presence"), Options()
    )
    assert (block.function, block.address, block.count) == (1, 0, 10)
    assert block.decode(bytes((0b1000, 0b10)))[0] == {"p0": False, "p1": True, "p2": True}
    assert decode_one({"address": 0, "type": "bool", "bit": 3}, b"\x00\x08", quantity="presence") is True


def test_the_multi_sensor_is_read_in_one_block():
    (block,) = plan(load_profile("modbus/multisensor_6in1"), Options())
    assert (block.function, block.address, block.count) == (3, 0, 9)


def test_the_block_with_the_heartbeat_comes_first():
    first, second = plan(load_profile("modbus/airbox_tcp"), Options())
    assert (first.function, first.address, first.count) == (3, 0, 2)
    assert (second.function, second.address, second.count) == (4, 100, 12)


def test_blocks_respect_gaps_and_lengths():
    sources = [{"address": 0}, {"address": 8}, {"address": 30}]
    assert [(b.address, b.count) for b in plan(profile(*sources), Options())] == [(0, 9), (30, 1)]
    assert [(b.address, b.count) for b in plan(profile(*sources), Options(max_gap=0))] == [(0, 1), (8, 1), (30, 1)]
    assert [(b.address, b.count) for b in plan(profile(*sources), Options(max_registers=8))] == [
        (0, 1),
        (8, 1),
        (30, 1),
    ]


@given(st.lists(st.integers(0, 300), min_size=1, max_size=40, unique=True), st.integers(1, 125), st.integers(0, 124))
def test_every_point_is_in_exactly_one_block_that_the_device_allows(addresses, longest, gap):
    blocks = plan(profile(*({"address": a} for a in addresses)), Options(max_registers=longest, max_gap=gap))
    places = sorted(block.address + place.at for block in blocks for place in block.fields)
    assert places == sorted(addresses)
    assert all(1 <= block.count <= longest for block in blocks)


def test_every_wrong_source_is_named_at_once():
    with pytest.raises(ConfigError) as caught:
        plan(profile({"address": 70000}, {"adress": 1}, {"table": "coil", "address": 1}), Options())
    text = str(caught.value)
    assert "point p0: source.address" in text
    assert "point p1: source.adress" in text
    assert 'write type = "bool"' in text


@pytest.mark.parametrize(
    ("source", "quantity"),
    [({"type": "bool", "bit": 3}, "co2"), ({"type": "uint16"}, "presence"), ({"type": "uint16"}, "state")],
)
def test_a_type_that_its_quantity_has_not_is_named(source, quantity):
    """Stored, it would be refused, with all that is in its batch."""
    with pytest.raises(ConfigError, match=rf"point p0: source.type: .*{quantity}"):
        plan(profile({"address": 0} | source, quantity=quantity), Options())


def test_options_are_checked():
    found = problems(load_profile("modbus/senseair_s8"), {"unit": 300, "bogus": 1}, "[[device]] x: options")
    assert {problem.where for problem in found} == {"[[device]] x: options.unit", "[[device]] x: options.bogus"}


@pytest.mark.parametrize("name", [name for name in profile_ids() if name.startswith("modbus/")])
def test_shipped_profiles_have_sound_maps(name):
    shipped = load_profile(name)
    assert problems(shipped, shipped.options, "x") == []


def test_a_source_is_strict():
    found = []
    assert validated(Source, {"address": "7"}, "x", found, see="y") is None
    assert len(found) == 1
