from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import pytest
from pymodbus.client import AsyncModbusTcpClient

from tests.simulators.conftest import listens, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from simulators.held import HeldDevice, Shelf

LATCH = bytes.fromhex("03 0000 0002")
READ = bytes.fromhex("04 0064 000C")


@contextlib.asynccontextmanager
async def connected(box: HeldDevice) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection(box.host, box.port)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


def mbap(number: int, pdu: bytes, *, protocol: int = 0, unit: int = 1) -> bytes:
    return b"".join(value.to_bytes(2, "big") for value in (number, protocol, len(pdu) + 1)) + bytes([unit]) + pdu


@pytest.mark.parametrize("host", ["::1", "127.0.0.1"])
async def test_pymodbus_reads_it(device: Shelf, host: str) -> None:
    box = device("modbus-tcp", name="hall-air", host=host)
    client = AsyncModbusTcpClient(host, port=box.port, timeout=2)
    assert await client.connect()
    try:
        latched = await client.read_holding_registers(0, count=2)
        assert latched.registers == [0, 1]
        reply = await client.read_input_registers(100, count=12)
        values = client.convert_from_registers(reply.registers, client.DATATYPE.FLOAT32, word_order="little")
        assert (await client.read_input_registers(99, count=2)).exception_code == 2
    finally:
        client.close()
    points = ("temperature", "humidity", "co2", "pm2_5", "illuminance", "noise")
    (said,) = box.said()
    assert said["values"] == dict(zip(points, values, strict=True)) | {"sequence": 1.0}
    assert said["delivered"]


async def test_golden_bytes(device: Shelf) -> None:
    box = device("modbus-tcp")
    async with connected(box) as (reader, writer):
        writer.write(bytes.fromhex("1234 0000 0006 01 03 0000 0002"))
        assert await reader.readexactly(13) == bytes.fromhex("1234 0000 0007 01 03 04 0000 0001")


async def test_several_requests_may_be_outstanding(device: Shelf) -> None:
    box = device("modbus-tcp")
    async with connected(box) as (reader, writer):
        writer.write(b"".join(mbap(number, LATCH) for number in range(10)))
        for number in range(10):
            reply = await reader.readexactly(13)
            assert int.from_bytes(reply[:2], "big") == number
            assert int.from_bytes(reply[-4:], "big") == number + 1


async def test_a_connection_too_many_is_refused_and_there_is_room_again_later(device: Shelf) -> None:
    box = device("modbus-tcp", max_connections=1)
    async with connected(box) as (reader, writer):
        writer.write(mbap(1, LATCH))
        await reader.readexactly(13)
        async with connected(box) as (other, _):
            with contextlib.suppress(ConnectionError):
                assert await other.read() == b""
    await until(lambda: not box.state()["open"])
    async with connected(box) as (reader, writer):
        writer.write(mbap(1, LATCH))
        assert len(await reader.readexactly(13)) == 13


async def test_a_broken_header_ends_only_its_connection(device: Shelf) -> None:
    box = device("modbus-tcp")
    async with connected(box) as (reader, writer):
        writer.write(mbap(1, LATCH, protocol=9) + mbap(2, LATCH))
        assert (await reader.readexactly(13))[:2] == b"\0\2", "another protocol's frame is skipped"
        writer.write(bytes.fromhex("0001 0000 FFFF 01 03"))
        with contextlib.suppress(ConnectionError):
            assert await reader.read() == b""
    async with connected(box) as (reader, writer):
        writer.write(mbap(3, LATCH))
        assert len(await reader.readexactly(13)) == 13


async def test_several_units_answer_each_for_its_own(device: Shelf) -> None:
    box = device("modbus-tcp", name="gateway", units=(1, 2))
    async with connected(box) as (reader, writer):
        writer.write(mbap(1, LATCH, unit=2))
        assert (await reader.readexactly(13))[6] == 2
        writer.write(mbap(2, LATCH, unit=9))
        assert (await reader.readexactly(9))[-2:] == bytes.fromhex("83 0B")


async def test_damage_is_where_a_client_can_see_it(device: Shelf) -> None:
    box = device("modbus-tcp", corrupt=0.05)
    bad = 0
    async with connected(box) as (reader, writer):
        for number in range(40):
            writer.write(mbap(number, LATCH) + mbap(number, READ))
            await reader.readexactly(13)
            reply = await reader.readexactly(9 + 24)
            bad += reply[2:4] != b"\0\0"
    said = box.said()
    assert 0 < bad < 40
    assert sum(not line["delivered"] for line in said) == bad
    assert {line["fault"] for line in said} == {None, "corruption"}


async def test_silence_and_drop(device: Shelf) -> None:
    box = device("modbus-tcp")
    async with connected(box) as (reader, writer):
        box.fault("silence")
        writer.write(mbap(1, LATCH))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.readexactly(1), 0.1)
        box.clear()
        writer.write(mbap(2, LATCH))
        assert (await reader.readexactly(13))[-1] == 1
        box.fault("drop", rate=1)
        writer.write(mbap(3, READ))
        await until(box.said)
    (said,) = box.said()
    assert (said["delivered"], said["fault"]) == (False, "drop")


async def test_unplug_aborts_and_comes_back_at_the_same_port(device: Shelf) -> None:
    box = device("modbus-tcp")
    async with connected(box) as (reader, _):
        box.fault("unplug")
        with contextlib.suppress(ConnectionError):
            assert await asyncio.wait_for(reader.read(), 2) == b""
    with pytest.raises(ConnectionError):
        await asyncio.open_connection(box.host, box.port)
    box.clear()
    await until(lambda: listens(box))
    async with connected(box) as (reader, writer):
        writer.write(mbap(1, LATCH))
        assert len(await reader.readexactly(13)) == 13
