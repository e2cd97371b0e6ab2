"""Connected bands: each in its turn, whatever goes, falls silent, talks garbage or refuses; no fault is silence."""

import asyncio

import pytest
from bleak.exc import BleakError

from telemetry.counters import Counters
from telemetry.sample import Reason
from tests.drivers.air import ADDRESS, Air
from tests.drivers.ble_heart_rate.gym import BAND, OTHER, bindings, listening, service_data, taking
from tests.waiting import until


async def test_pain_14_connections_go_round_and_serve_everybody(tmp_path):
    air, counters = Air(), Counters()
    bands = [bytes([number]) + BAND[1:] for number in range(1, 6)]
    options = {
        "gatt": True,
        "turn_s": 1,
        "bindings_file": bindings(tmp_path, *bands),
        "link_options": {"max_connections": 2},
    }
    seen = set()

    async def world():
        while True:
            for number, band in enumerate(bands):
                if ADDRESS.format(number) in air.connected:
                    if air.connected[ADDRESS.format(number)].notify is not None:
                        air.measure(number, bytes([6, 100 + number]))
                else:
                    air.advertise(number, services=service_data(0, band))
            await asyncio.sleep(0.02)

    async with listening(air, counters=counters, **options) as one:
        task = asyncio.create_task(world())
        try:
            while len(seen) < 5:
                sample = await one()
                if sample.subject is None:
                    continue
                number = int(sample.subject.identifier[:2], 16) - 1
                assert sample.values in ({"heart_rate": 100.0 + number}, {"battery": 87.0})
                if "heart_rate" in sample.values:
                    seen.add(number)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
    assert air.most_connected == 2
    assert counters.get("device.gym-bands.turns_over") >= 2
    assert not air.connected


async def test_a_connected_band_that_goes_or_falls_silent_is_connected_anew(tmp_path):
    air, counters = Air(), Counters()
    options = {"gatt": True, "silent_s": 1, "bindings_file": bindings(tmp_path, BAND)}
    async with listening(air, counters=counters, **options) as one, taking(one, 3) as found:
        await until(lambda: air.scanners)
        air.advertise(services=service_data(0))
        await until(lambda: air.connected and air.connected[ADDRESS.format(0)].notify)
        air.measure(0, b"\x06\x60")
        air.connected[ADDRESS.format(0)].vanish()
        await until(lambda: counters.get("device.gym-bands.connections_lost") == 1)
        await until(lambda: (air.advertise(services=service_data(0)), air.connected)[1])
        await until(lambda: counters.get("device.gym-bands.connection_failures") == 1)
        assert not air.connected
    assert [sample.values for sample in found] == [{"battery": 87.0}, {"heart_rate": 96.0}, {"battery": 87.0}]


async def test_a_connected_band_that_is_nobodys_any_more_is_let_go(tmp_path, monkeypatch):
    monkeypatch.setattr("drivers.ble_heart_rate.bindings.LOOK_S", 0)
    air, counters = Air(), Counters()
    path = bindings(tmp_path, BAND)
    async with listening(air, counters=counters, gatt=True, bindings_file=path) as one, taking(one, 2):
        await until(lambda: air.scanners)
        air.advertise(services=service_data(0))
        await until(lambda: air.connected and air.connected[ADDRESS.format(0)].notify)
        bindings(tmp_path, OTHER)
        air.measure(0, b"\x06\x60")
        await until(lambda: not air.connected)
        await until(lambda: counters.get("device.gym-bands.unbound_readings"))
        bindings(tmp_path, BAND)
        air.advertise(services=service_data(0))
        await until(lambda: air.connected)


async def test_a_connected_bands_garbage_is_a_bad_value_of_its_own(tmp_path):
    air = Air()
    async with (
        listening(air, gatt=True, bindings_file=bindings(tmp_path, BAND)) as one,
        taking(one, 2) as found,
    ):
        await until(lambda: air.scanners)
        air.advertise(services=service_data(0))
        await until(lambda: air.connected and air.connected[ADDRESS.format(0)].notify)
        air.measure(0, b"\xff\xff")
    assert found[1].bad == {"heart_rate": Reason.DECODE}
    assert found[1].subject.identifier == BAND.hex().upper()


async def read_of_the_battery(tmp_path, monkeypatch, answer):
    """Return the counters, and the first two samples of a connected band whose battery answers so."""

    async def read(_client, _characteristic, **_kwargs):
        return answer()

    air, counters = Air(), Counters()
    monkeypatch.setattr(air.client, "read_gatt_char", read)
    options = {"gatt": True, "bindings_file": bindings(tmp_path, BAND)}
    async with listening(air, counters=counters, **options) as one, taking(one, 2) as found:
        await until(lambda: air.scanners)
        air.advertise(services=service_data(0))
        await until(lambda: air.connected and air.connected[ADDRESS.format(0)].notify)
        air.measure(0, b"\x06\x60")
        air.measure(0, b"\x06\x61")
    return counters, found


async def test_a_connected_bands_garbage_of_its_battery_says_nothing_of_its_heart(tmp_path, monkeypatch):
    _, found = await read_of_the_battery(tmp_path, monkeypatch, lambda: bytearray(b"\xff"))
    assert [(one.values, one.bad) for one in found] == [({}, {"battery": Reason.DECODE}), ({"heart_rate": 96.0}, {})]


async def test_a_connected_band_that_tells_no_battery_is_heard_all_the_same(tmp_path, monkeypatch):
    def refused():
        raise BleakError("no such characteristic")

    counters, found = await read_of_the_battery(tmp_path, monkeypatch, refused)
    assert [one.values for one in found] == [{"heart_rate": 96.0}, {"heart_rate": 97.0}]
    assert counters.get("device.gym-bands.unread_batteries") == 1
    assert counters.get("device.gym-bands.connection_failures") == 0


async def test_a_fault_of_the_connections_is_raised_lest_the_device_falls_silent_for_good(tmp_path, monkeypatch):
    async def broken(*_args, **_kwargs):
        raise RuntimeError

    air = Air()
    monkeypatch.setattr(air.client, "read_gatt_char", broken)
    async with listening(air, gatt=True, bindings_file=bindings(tmp_path, BAND)) as one:
        with pytest.raises(RuntimeError):  # noqa: PT012 - it is raised at the end of the block
            async with taking(one):
                await until(lambda: air.scanners)
                air.advertise(services=service_data(0))
