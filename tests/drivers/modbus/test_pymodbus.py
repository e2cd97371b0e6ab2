"""The driver against pymodbus' own server: a second reading of the standard."""

from contextlib import asynccontextmanager

import pytest
from pymodbus.framer import FramerType
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from drivers.modbus import create
from telemetry.errors import ProtocolError
from telemetry.profile import DeviceProfile, Point, Text
from tests.drivers.helpers import context, tcp

REGISTERS = [214, 0x10000 - 55, 1200, 7, 553, 0x0001, 0x86A0, 0, 42]
"""21.4 %RH, -5.5 Cel, 1200 ppm, 7 ug/m3, 55.3 dB, 100000 lx, sequence 42."""


def bits_profile() -> DeviceProfile:
    sources = [{"table": "coil", "address": a, "type": "bool"} for a in (0, 3, 9)]
    sources += [{"table": "discrete", "address": a, "type": "bool"} for a in (1, 2)]
    sources += [{"table": "input", "address": 20, "type": "float64", "word_order": "little"}]
    return DeviceProfile(
        id="test/device",
        version="1.0.0",
        name=Text(zh="测", en="test"),
        manufacturer="m",
        model="m",
        driver="modbus",
        measurement="environment",
        point=tuple(
            Point(name=f"p{i}", quantity="counter" if source["table"] == "input" else "presence", source=source)
            for i, source in enumerate(sources)
        ),
    )


@asynccontextmanager
async def server(framer, *devices, host="127.0.0.1"):
    far = ModbusTcpServer(list(devices), framer=framer, address=(host, 0))
    await far.serve_forever(background=True)
    try:
        yield far.transport.sockets[0].getsockname()[1]
    finally:
        await far.shutdown()


def device(unit, *, coils=(False,) * 16, discrete=(False,) * 16, holding=(0,), inputs=(0,)):
    return SimDevice(
        id=unit,
        simdata=(
            [SimData(0, values=list(coils), datatype=DataType.BITS)],
            [SimData(0, values=list(discrete), datatype=DataType.BITS)],
            [SimData(0, values=list(holding), datatype=DataType.REGISTERS)],
            [SimData(20, values=list(inputs), datatype=DataType.REGISTERS)],
        ),
    )


@pytest.mark.parametrize(("framer", "framing"), [(FramerType.SOCKET, "auto"), (FramerType.RTU, "rtu")])
async def test_registers_are_read_as_pymodbus_serves_them(framer, framing):
    other = [5, *REGISTERS[1:]]
    devices = (device(1, holding=REGISTERS), device(2, holding=other))
    async with server(framer, *devices) as port, tcp("127.0.0.1", port) as link:
        samples = [
            await create(context("a", "modbus/multisensor_6in1", unit=unit, framing=framing), link).read()
            for unit in (1, 2, 1)
        ]
    assert samples[0].values == {
        "humidity": 21.4,
        "temperature": -5.5,
        "co2": 1200.0,
        "pm2_5": 7.0,
        "noise": 55.3,
        "illuminance": 100000.0,
        "sequence": 42.0,
    }
    assert samples[1].values == samples[0].values | {"humidity": 0.5}
    assert samples[2].values == samples[0].values


@pytest.mark.parametrize(("framer", "framing"), [(FramerType.SOCKET, "auto"), (FramerType.RTU, "rtu")])
async def test_an_absent_unit_is_an_error_not_a_value(framer, framing):
    """pymodbus answers for it, with an exception."""
    async with server(framer, device(1, holding=REGISTERS)) as port, tcp("127.0.0.1", port) as link:
        with pytest.raises(ProtocolError, match="unit 9: exception"):
            await create(context("x", "modbus/multisensor_6in1", unit=9, framing=framing), link).read()
        present = create(context("a", "modbus/multisensor_6in1", unit=1, framing=framing), link)
        assert (await present.read()).values["co2"] == 1200


async def test_registers_that_are_not_there_are_named_as_such():
    async with server(FramerType.SOCKET, device(1, holding=[1, 2])) as port, tcp("127.0.0.1", port) as link:
        with pytest.raises(ProtocolError, match="exception 2, illegal data address: check the profile's addresses"):
            await create(context("a", "modbus/multisensor_6in1", unit=1), link).read()


async def test_coils_and_discrete_inputs_are_read_as_pymodbus_serves_them():
    coils = [index in {3, 9} for index in range(16)]
    discrete = [index == 2 for index in range(16)]
    words = [0x0000, 0x0000, 0x8000, 0x4035]  # 21.5, low word first
    served = device(1, coils=coils, discrete=discrete, inputs=words)
    async with server(FramerType.SOCKET, served) as port, tcp("127.0.0.1", port) as link:
        sample = await create(context("a", bits_profile()), link).read()
    assert sample.bad == {}
    assert sample.values == {"p0": False, "p1": True, "p2": True, "p3": False, "p4": True, "p5": 21.5}
