from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymodbus.framer import FramerRTU
from pymodbus.pdu import DecodePDU
from pymodbus.pdu.register_message import ReadHoldingRegistersRequest, ReadInputRegistersRequest

from simulators.modbus_rtu import frame, open_frame
from tests.simulators.conftest import Port, opened, until

if TYPE_CHECKING:
    from pymodbus.pdu import ModbusPDU

    from simulators.held import HeldDevice, Shelf

REPLY_BYTES = 3 + 18 + 2


def request(unit: int, *, address: int = 0, count: int = 9, inputs: bool = False) -> bytes:
    """A request's frame as pymodbus writes it."""
    kind = ReadInputRegistersRequest if inputs else ReadHoldingRegistersRequest
    return FramerRTU(DecodePDU(is_server=False)).buildFrame(kind(address=address, count=count, dev_id=unit))


def decoded(reply: bytes) -> ModbusPDU | None:
    """A reply as pymodbus reads it; none if it takes it for damaged."""
    decoder = DecodePDU(is_server=False)
    _used, _unit, _id, pdu = FramerRTU(decoder).decode(reply)
    return decoder.decode(pdu) if pdu else None


async def read(port: Port, unit: int, *, within: float = 2.0) -> list[int]:
    port.write(request(unit))
    reply = decoded(await port.read(REPLY_BYTES, within=within))
    return [] if reply is None else reply.registers


async def exchange(sensor: HeldDevice, port: Port) -> list[int]:
    """Ask once and wait until the device is done with it, however slow this machine is; [] if nothing whole comes."""

    def done() -> int:
        counters = sensor.state()["counters"]
        return counters.get("modbus.requests.answered", 0) + counters.get("modbus.requests.damaged", 0)

    before = done()
    port.write(request(1))
    await until(lambda: done() > before)
    reply = decoded(await port.read(REPLY_BYTES, within=0.0))
    return [] if reply is None else reply.registers


def sequence(registers: list[int]) -> int:
    return registers[7] << 16 | registers[8]


def test_frames_of_the_senseair_data_sheet() -> None:
    assert frame(0xFE, bytes.fromhex("04 0003 0001")) == bytes.fromhex("FE 04 00 03 00 01 D5 C5")
    assert open_frame(bytes.fromhex("FE 04 02 01 90 AC D8")) == (0xFE, bytes.fromhex("04 02 01 90"))


@given(st.binary(max_size=64))
def test_open_frame_takes_only_whole_frames(data: bytes) -> None:
    opened_frame = open_frame(data)
    assert opened_frame is None or frame(*opened_frame) == data
    assert open_frame(frame(7, data or b"\x03")) == (7, data or b"\x03")


async def test_golden_exchange_with_a_senseair(device: Shelf) -> None:
    sensor = device("modbus-rtu", model="senseair_s8", units=(254,))
    with opened(sensor.endpoint) as port:
        port.write(bytes.fromhex("FE 04 00 03 00 01 D5 C5"))
        reply = await port.read(7)
        assert reply[:3] == bytes.fromhex("FE 04 02")
        assert decoded(reply).registers == [int.from_bytes(reply[3:5], "big")]
        assert sensor.said()[0]["values"] == {"co2": float(int.from_bytes(reply[3:5], "big"))}
        port.write(bytes.fromhex("FE 03 00 03 00 01"))
        assert await port.read(1, within=0.1) == b"", "a frame without its CRC is not answered"


async def test_pymodbus_understands_a_bus_of_two_and_silence_for_the_third(device: Shelf) -> None:
    bus = device("modbus-rtu", name="bus", units=(1, 2))
    with opened(bus.endpoint) as port:
        for number in (1, 2, 3):
            for unit in (1, 2):
                assert sequence(await read(port, unit)) == number
        assert await read(port, 3, within=0.15) == []
        port.write(request(0))
        assert await port.read(1, within=0.1) == b"", "nobody answers a broadcast"
        port.write(request(1, address=20))
        assert decoded(await port.read(5)).exception_code == 2
        port.write(request(1, inputs=True))
        assert decoded(await port.read(5)).exception_code == 1
    said = bus.said()
    assert [(line["device"], line["seq"]) for line in said] == [
        (f"bus-{unit}", n) for n in (1, 2, 3) for unit in (1, 2)
    ]
    assert all(line["delivered"] and line["fault"] is None for line in said)


async def test_what_pymodbus_reads_is_what_the_journal_says(device: Shelf) -> None:
    sensor = device("modbus-rtu", seed=9)
    with opened(sensor.endpoint) as port:
        registers = await read(port, 1)
    signed = registers[1] - 0x10000 if registers[1] & 0x8000 else registers[1]
    assert sensor.said()[0]["values"] == {
        "humidity": registers[0] / 10,
        "temperature": signed / 10,
        "co2": registers[2],
        "pm2_5": registers[3],
        "noise": registers[4] / 10,
        "illuminance": registers[5] << 16 | registers[6],
        "sequence": sequence(registers),
    }


async def test_five_percent_damaged_bytes_are_journalled_and_none_is_believed(device: Shelf) -> None:
    sensor = device("modbus-rtu", seed=2, corrupt=0.05, baudrate=115200)
    read_ok = {}
    with opened(sensor.endpoint) as port:
        for _ in range(60):
            registers = await exchange(sensor, port)
            if registers:
                read_ok[sequence(registers)] = registers
    said = sensor.said()
    delivered = {line["seq"]: line for line in said if line["delivered"]}
    damaged = [line for line in said if not line["delivered"]]
    assert set(read_ok) == set(delivered)
    assert damaged
    assert {line["fault"] for line in damaged} == {"corruption"}
    for number, registers in read_ok.items():
        assert delivered[number]["values"]["co2"] == registers[2]
    assert sensor.state()["counters"]["modbus.requests.damaged"] > 0, "requests suffer too"


async def test_the_same_seed_says_the_same(device: Shelf) -> None:
    values = []
    for _ in range(2):
        sensor = device("modbus-rtu", name="r101-air", seed=5)
        with opened(sensor.endpoint) as port:
            for _ in range(4):
                assert await read(port, 1)
        values.append([(line["seq"], line["values"]) for line in sensor.said()])
    assert values[0] == values[1]


async def test_silence_ends_by_itself(device: Shelf) -> None:
    bus = device("modbus-rtu", name="bus", units=(1, 2))
    with opened(bus.endpoint) as port:
        bus.fault("silence", device="bus-1", seconds=0.3)
        assert await read(port, 1, within=0.1) == []
        assert await read(port, 2)
        await until(lambda: not bus.state()["faults"])
        assert sequence(await read(port, 1)) == 1, "what was not answered was not measured"


async def test_stall_and_drift(device: Shelf) -> None:
    bus = device("modbus-rtu", name="bus", units=(1, 2))
    with opened(bus.endpoint) as port:
        stalled = await read(port, 1)
        bus.fault("stall", device="bus-1")
        bus.fault("drift", device="bus-2", point="co2", per_sample=1000)
        assert await read(port, 1) == stalled
        first, second = await read(port, 2), await read(port, 2)
        assert second[2] - first[2] > 500
        bus.clear()
        assert sequence(await read(port, 1)) == 2
    assert [line["fault"] for line in bus.said()] == [None, "stall", "drift", "drift", None]


async def test_unplug_is_seen_and_the_link_comes_back(device: Shelf) -> None:
    sensor = device("modbus-rtu")
    with opened(sensor.endpoint) as port:
        assert await read(port, 1)
        sensor.fault("unplug", seconds=0.3)
        assert await port.hung_up()
    await until(lambda: not sensor.state()["faults"])
    with opened(sensor.endpoint) as port:
        assert sequence(await read(port, 1)) == 2, "it was the cable, not the sensor"


async def test_dropped_bytes_are_journalled(device: Shelf) -> None:
    sensor = device("modbus-rtu", drop=0.03, baudrate=115200)
    with opened(sensor.endpoint) as port:
        heard = [registers for _ in range(25) if (registers := await exchange(sensor, port))]
    said = sensor.said()
    assert sum(line["delivered"] for line in said) == len(heard)
    assert {line["fault"] for line in said} <= {None, "drop"}


@pytest.mark.parametrize(("model", "count"), [("multisensor_6in1", 9), ("renke_rs_co2ws", 3)])
async def test_a_model_brings_its_own_speed(device: Shelf, model: str, count: int) -> None:
    sensor: HeldDevice = device("modbus-rtu", model=model)
    with opened(sensor.endpoint) as port:
        port.write(request(1, count=count))
        assert len(decoded(await port.read(5 + 2 * count)).registers) == count
    assert sensor.said()[0]["seq"] == 1
