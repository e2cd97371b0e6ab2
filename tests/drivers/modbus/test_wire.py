"""The driver on real ptys and sockets, against the simulated devices: what it reads is what they said, or nothing."""

import asyncio
import time

import pytest

from drivers.modbus import create, driver
from edge_agent.collector import DeviceState, poll
from edge_agent.derive import Judge
from telemetry.counters import Counters
from telemetry.errors import DeviceUnavailable, ProtocolError
from telemetry.sample import Reason
from tests.drivers.helpers import context, running, serial, tcp
from tests.waiting import until

SENSOR, BOX = "modbus/multisensor_6in1", "modbus/airbox_tcp"
FAST = 115200


def said_by(device, name=None) -> dict[int, dict[str, float]]:
    return {
        said["seq"]: said["values"] for said in device.said() if said["delivered"] and name in (None, said["device"])
    }


def assert_said(samples, said) -> None:
    for sample in samples:
        if "sequence" in sample.values:
            assert sample.values == pytest.approx(said[int(sample.values["sequence"])], rel=1e-6)


async def readings(unit, times):
    samples, errors = [], []
    for _ in range(times):
        try:
            samples.append(await unit.read())
        except (DeviceUnavailable, ProtocolError) as error:
            errors.append(error)
    return samples, errors


async def test_an_rtu_sensor_is_read_as_it_said_it(campus_device):
    sensor = campus_device("modbus-rtu", seed=7)
    async with serial(sensor.link) as link:
        began_ns = time.time_ns()
        samples, errors = await readings(create(context("a", SENSOR, unit=1), link), 4)
    assert errors == []
    assert [sample.values["sequence"] for sample in samples] == [1, 2, 3, 4]
    assert all(sample.bad == {} and len(sample.values) == 7 for sample in samples)
    times = [began_ns, *(sample.acquired_at_ns for sample in samples), time.time_ns()]
    assert times == sorted(times)
    assert_said(samples, said_by(sensor))


@pytest.mark.parametrize("host", ["::1", "127.0.0.1"])
async def test_a_tcp_box_is_read_as_it_said_it(campus_device, host):
    box = campus_device("modbus-tcp", seed=7, host=host)
    async with tcp(box.host, box.port) as link:
        samples, errors = await readings(create(context("a", BOX), link), 4)
    assert errors == []
    assert [sample.values["sequence"] for sample in samples] == [1, 2, 3, 4]
    assert all(sample.bad == {} and len(sample.values) == 7 for sample in samples)
    assert_said(samples, said_by(box))


@pytest.mark.parametrize(("model", "unit"), [("renke_rs_co2ws", 1), ("senseair_s8", 254)])
async def test_models_without_a_sequence_are_read_too(campus_device, model, unit):
    sensor = campus_device("modbus-rtu", seed=7, units=(unit,), model=model, baudrate=9600)
    async with serial(sensor.link) as link:
        sample = await create(context("a", f"modbus/{model}", unit=unit), link).read()
    assert [said["values"] for said in sensor.said()] == [pytest.approx(sample.values)]


async def test_an_absent_unit_is_unavailable_quickly_while_the_others_go_on(campus_device):
    bus = campus_device("modbus-rtu", seed=3, units=(1, 2, 3), name="bus")
    units = {1: "bus-1", 2: "bus-2", 3: "bus-3", 9: "absent"}
    found = {name: [] for name in units.values()}
    states = {name: DeviceState(device=name) for name in units.values()}

    async def emit(sample):
        found[sample.device].append(sample)

    async with serial(bus.link) as link:

        def reading(unit, name):
            described = context(name, SENSOR, unit=unit)
            return poll(described, lambda: create(described, link), emit, states[name], period_s=0.5)

        async with running(*(reading(unit, name) for unit, name in units.items())):
            await until(lambda: all(len(samples) >= 2 for samples in found.values()))
    assert all(set(sample.bad.values()) == {Reason.TIMEOUT} for sample in found["absent"])
    assert "unit 9 did not answer" in states["absent"].error
    for name in ("bus-1", "bus-2", "bus-3"):
        assert all(sample.bad == {} for sample in found[name])
        assert states[name].state == "up"
        assert_said(found[name], said_by(bus, name))


async def test_an_absent_unit_costs_the_bus_its_reply_timeout_only(campus_device):
    bus = campus_device("modbus-rtu", units=(1,))
    async with serial(bus.link) as link:
        await create(context("a", SENSOR), link).read()
        took_s = []
        for _ in range(3):  # one of them may have had to wait for the processor
            absent = create(context("x", SENSOR, unit=9, reply_timeout_s=0.1), link)
            began = time.monotonic()
            with pytest.raises(DeviceUnavailable, match=r"unit 9 did not answer within 0\.1 s") as caught:
                await absent.read()
            assert caught.value.timed_out
            took_s.append(time.monotonic() - began)
        assert min(took_s) < 0.4
        assert (await create(context("a", SENSOR), link).read()).bad == {}


async def test_corrupted_bytes_lose_readings_but_make_no_wrong_value(campus_device, monkeypatch):
    monkeypatch.setattr(driver, "_LATE_REPLY_S", 0.02)  # this bus has no late replies; the test need not wait for them
    sensor = campus_device("modbus-rtu", seed=11, baudrate=FAST, corrupt=0.05)
    counters = Counters()
    async with serial(sensor.link, baudrate=FAST) as link:
        unit = create(context("a", SENSOR, counters, reply_timeout_s=0.05), link)
        samples, errors = await readings(unit, 60)
    assert len(samples) > 10
    assert len(errors) > 10
    assert counters.get("device.a.garbled_replies") > 5
    assert all(sample.bad == {} for sample in samples)
    assert_said(samples, said_by(sensor))


async def test_lost_bytes_lose_readings_but_make_no_wrong_value(campus_device, monkeypatch):
    monkeypatch.setattr(driver, "_LATE_REPLY_S", 0.02)
    sensor = campus_device("modbus-rtu", seed=12, baudrate=FAST, drop=0.03)
    async with serial(sensor.link, baudrate=FAST) as link:
        samples, errors = await readings(create(context("a", SENSOR, reply_timeout_s=0.05), link), 40)
    assert len(samples) > 5
    assert errors
    assert_said(samples, said_by(sensor))


async def test_a_tcp_stream_that_lost_its_framing_is_connected_anew(campus_device):
    box = campus_device("modbus-tcp", seed=5)
    async with tcp(box.host, box.port) as link:
        unit = create(context("a", BOX), link)
        await unit.read()
        box.fault("corruption", rate=1.0)
        with pytest.raises((DeviceUnavailable, ProtocolError)):
            await unit.read()
        assert not link.is_open
        box.clear()
        sample = await unit.read()
        assert link.opened == 2
    assert sample.bad == {}
    assert_said([sample], said_by(box))


async def test_lost_tcp_replies_lose_readings_but_make_no_wrong_value(campus_device):
    box = campus_device("modbus-tcp", seed=6, drop=0.3)
    async with tcp(box.host, box.port) as link:
        samples, errors = await readings(create(context("a", BOX, reply_timeout_s=0.03), link), 40)
        assert link.opened == 1
    assert samples
    assert errors
    assert_said(samples, said_by(box))


async def test_pain_18_a_device_whose_values_stand_still_is_stale_and_the_others_are_not(campus_device):
    bus = campus_device("modbus-rtu", units=(1, 2), name="bus", baudrate=FAST)
    bus.fault("stall", device="bus-1")
    async with serial(bus.link, baudrate=FAST) as link:
        judged = {}
        for unit in (1, 2):
            described = context(f"bus-{unit}", SENSOR, unit=unit)
            one, judge = create(described, link), Judge(described.profile)
            judged[unit] = [judge.judge(await one.read()) for _ in range(3)]
        assert all(sample.bad == {} for sample in judged[2])
        for sample in judged[1][1:]:
            assert sample.values == {}
            assert set(sample.bad.values()) == {Reason.STALE}
        bus.clear()
        described = context("bus-1", SENSOR, unit=1)
        assert (await create(described, link).read()).values["sequence"] == judged[1][0].values["sequence"] + 1


@pytest.mark.parametrize("kind", ["modbus-rtu", "modbus-tcp"])
async def test_unplugged_is_down_and_plugged_in_again_is_back_within_two_seconds(campus_device, kind):
    device = campus_device(kind, seed=9)
    samples, state = [], DeviceState(device="a")

    async def emit(sample):
        samples.append(sample)

    opening = serial(device.link) if kind == "modbus-rtu" else tcp(device.host, device.port)
    async with opening as link:
        described = context("a", SENSOR if kind == "modbus-rtu" else BOX)
        async with running(poll(described, lambda: create(described, link), emit, state, period_s=1.0)):
            await until(lambda: state.state == "up", within_s=20)
            took_s = []
            while len(took_s) < 3 and (not took_s or took_s[-1] >= 2):  # one may have had to wait for the processor
                device.fault("unplug")
                await until(lambda: state.state == "down", within_s=20)
                assert set(samples[-1].bad.values()) == {Reason.TIMEOUT}
                # Long enough to reach the longest pause between two tries.
                bad = sum(bool(sample.bad) for sample in samples)
                await until(lambda bad=bad: sum(bool(sample.bad) for sample in samples) >= bad + 2, within_s=20)
                device.clear()
                began = time.monotonic()
                await until(lambda: state.state == "up", within_s=20)
                took_s.append(time.monotonic() - began)
            assert took_s[-1] < 2
    assert link.opened == 1 + len(took_s)
    assert_said([sample for sample in samples if not sample.bad], said_by(device))


async def test_a_silent_tcp_box_times_out_and_the_link_stays(campus_device):
    box = campus_device("modbus-tcp")
    async with tcp(box.host, box.port) as link:
        unit = create(context("a", BOX, reply_timeout_s=0.05), link)
        box.fault("silence")
        with pytest.raises(DeviceUnavailable):
            await unit.read()
        box.clear()
        assert (await unit.read()).bad == {}
        assert link.opened == 1


async def test_devices_that_share_a_box_take_turns(campus_device):
    box = campus_device("modbus-tcp", units=(1, 2), name="box", max_connections=1)
    async with tcp(box.host, box.port) as link:
        units = [create(context(f"box-{unit}", BOX, unit=unit), link) for unit in (1, 2)]
        samples = await asyncio.gather(*(unit.read() for unit in units for _ in range(3)))
        with pytest.raises((DeviceUnavailable, ProtocolError)):
            await create(context("absent", BOX, unit=7), link).read()
    for unit in (1, 2):
        assert_said([sample for sample in samples if sample.device == f"box-{unit}"], said_by(box, f"box-{unit}"))
