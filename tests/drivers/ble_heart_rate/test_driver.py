"""Adverts to Samples: bound bands only, each reading once, nobody named."""

import asyncio
import logging
import time

import pytest

from device_profiles import load_profile
from drivers.ble_heart_rate import create, link_address, problems
from drivers.ble_heart_rate.bindings import Bindings
from drivers.ble_heart_rate.census import MAX_BANDS, Census
from drivers.ble_heart_rate.frame import BATTERY_SERVICE, HEART_RATE_SERVICE, HUAMI
from edge_agent.derive import Judge
from telemetry.counters import Counters
from telemetry.errors import ConfigError, DeviceUnavailable
from telemetry.sample import Reason, Subject
from tests.drivers.air import Air
from tests.drivers.ble_heart_rate.gym import BAND, OTHER, SERVICE, bindings, listening, service_data, taking
from tests.drivers.helpers import context
from tests.waiting import until


async def test_a_bound_bands_reading_is_a_sample_of_its_own_time(tmp_path):
    air, before = Air(), time.time_ns()
    async with listening(air, bindings_file=bindings(tmp_path, BAND)) as one, taking(one) as found:
        await until(lambda: air.scanners)
        air.advertise(services=service_data(96, flags="1e", more="640000031000"[:8]) | {BATTERY_SERVICE: b"\x57"})
    (sample,) = found
    assert sample.device == "gym-bands"
    assert sample.subject == Subject(kind="band", identifier="C40000A1B2C3")
    assert sample.values == {"heart_rate": 96.0, "energy": 100 / 3600, "rr_interval": 0.75, "battery": 87.0}
    assert before <= sample.acquired_at_ns <= time.time_ns()


async def test_pain_14_adverts_are_enough_and_take_no_connection(tmp_path):
    """As many bands as no adapter has slots for: each is read, and none is connected to."""
    bands = [bytes([number]) + BAND[1:] for number in range(1, 31)]
    air = Air()
    async with listening(air, bindings_file=bindings(tmp_path, *bands)) as one, taking(one, 30) as samples:
        await until(lambda: air.scanners)
        for number, band in enumerate(bands):
            air.advertise(number, services=service_data(60 + number, band))
    assert sorted(sample.values["heart_rate"] for sample in samples) == [60.0 + number for number in range(30)]
    assert not air.served


async def test_a_mi_band_is_known_by_what_it_says_not_by_its_address(tmp_path):
    air = Air()
    mi = lambda rate, band: {HUAMI: bytes([2, 1, 13, rate]) + b"\xff" * 14 + band}  # noqa: E731
    async with listening(air, "ble/mi_band_hr", bindings_file=bindings(tmp_path, BAND)) as one, taking(one, 2) as found:
        await until(lambda: air.scanners)
        air.advertise(1, manufacturer=mi(88, BAND))
        air.advertise(1, manufacturer=mi(99, OTHER))
        air.advertise(2, manufacturer=mi(89, BAND))
    assert [sample.values for sample in found] == [{"heart_rate": 88.0}, {"heart_rate": 89.0}]
    assert {sample.subject.identifier for sample in found} == {BAND.hex().upper()}


async def test_bands_that_are_nobodys_are_only_counted():
    air, counters = Air(), Counters()
    async with listening(air, counters=counters, seen_every_s=1) as one:

        async def a_count_of_some():
            while True:  # on a busy machine a second may end before the bands speak
                sample = await one()
                if sample.values != {"bands_seen": 0.0}:
                    return sample

        async with taking(a_count_of_some) as found:
            await until(lambda: air.scanners)
            said = 0
            while not found:  # as bands do: they speak again and again
                for number in range(6):
                    air.advertise(number, services=service_data(60 + said % 90, bytes([number]) + BAND[1:]))
                said += 1
                await asyncio.sleep(0.2)
    (sample,) = found
    assert (sample.values, sample.subject) == ({"bands_seen": 6.0}, None)
    assert counters.get("device.gym-bands.unbound_readings") >= 6


async def test_by_the_roster_every_band_is_passed_on_and_the_gate_decides():
    air, counters = Air(), Counters()
    async with listening(air, counters=counters, bindings="roster") as one, taking(one, 2) as found:
        await until(lambda: air.scanners)
        air.advertise(1, services=service_data(70, OTHER))
        air.advertise(2, services=service_data(80))
    assert {sample.subject.identifier for sample in found} == {BAND.hex().upper(), OTHER.hex().upper()}
    assert counters.get("device.gym-bands.unbound_readings") == 0


@pytest.mark.parametrize(("bands", "told"), [(0, 0), (1, 4), (4, 4), (5, 5)])
def test_few_bands_are_one_number(bands, told):
    census = Census(repeat_s=0.4)
    for number in range(bands):
        census.news(str(number), b"", now_s=0)
    assert census.count(now_s=1, within_s=10) == told
    assert census.count(now_s=11, within_s=10) == 0


def test_made_up_bands_do_not_fill_the_memory():
    census = Census(repeat_s=0.4)
    for number in range(MAX_BANDS + 7):
        census.news(str(number), b"", now_s=0)
    assert (census.count(now_s=0, within_s=1), census.forgotten) == (MAX_BANDS, 7)


async def test_the_same_bytes_again_are_the_same_reading(tmp_path):
    air, counters = Air(), Counters()
    async with (
        listening(air, counters=counters, bindings_file=bindings(tmp_path, BAND), repeat_s=0.3) as one,
        taking(one, 3) as found,
    ):
        await until(lambda: air.scanners)
        for rate in (70, 70, 71):
            air.advertise(services=service_data(rate))
        await asyncio.sleep(0.6)
        air.advertise(services=service_data(71))
    assert [sample.values["heart_rate"] for sample in found] == [70, 71, 71]
    assert counters.get("device.gym-bands.repeats") == 1


async def test_garbage_is_counted_and_no_sample(tmp_path):
    air, counters = Air(), Counters()
    async with listening(air, counters=counters, bindings_file=bindings(tmp_path, BAND)) as one, taking(one) as found:
        await until(lambda: air.scanners)
        for data in (b"", b"\x06", BAND, b"\xff\x48" + BAND, b"\x00\x48\x48" + BAND):
            air.advertise(services={HEART_RATE_SERVICE: data})
        air.advertise(services=service_data(72) | {BATTERY_SERVICE: b"\xf0"})
        air.advertise(services=service_data(73))
    assert [sample.values for sample in found] == [{"heart_rate": 73.0}]
    assert counters.get("device.gym-bands.undecodable") == 6


@pytest.mark.parametrize(
    ("frame", "bad"),
    [
        ("0448", {"heart_rate": Reason.SENSOR_FAULT}),
        ("061d", {"heart_rate": Reason.OUT_OF_RANGE}),
        ("06f1", {"heart_rate": Reason.OUT_OF_RANGE}),
        ("061e", {}),
        ("06f0", {}),
        ("16480a00", {"rr_interval": Reason.OUT_OF_RANGE}),
    ],
)
async def test_what_cannot_be_is_bad_with_its_reason(tmp_path, frame, bad):
    air = Air()
    async with listening(air, bindings_file=bindings(tmp_path, BAND)) as one, taking(one) as found:
        await until(lambda: air.scanners)
        air.advertise(services={HEART_RATE_SERVICE: bytes.fromhex(frame) + BAND})
    judged = Judge(load_profile(SERVICE)).judge(found[0])
    assert judged.bad == bad
    assert not judged.bad.keys() & judged.values.keys()


async def test_bands_come_and_go_with_the_file(tmp_path, monkeypatch):
    monkeypatch.setattr("drivers.ble_heart_rate.bindings.LOOK_S", 0)
    air, counters = Air(), Counters()
    path = bindings(tmp_path)
    async with listening(air, counters=counters, bindings_file=path) as one, taking(one) as found:
        await until(lambda: air.scanners)
        air.advertise(services=service_data(70))
        await until(lambda: counters.get("device.gym-bands.unbound_readings") == 1)
        bindings(tmp_path, BAND, OTHER)
        air.advertise(services=service_data(71))
    assert found[0].values["heart_rate"] == 71
    async with listening(air, counters=counters, bindings_file=path) as one, taking(one) as found:
        await until(lambda: air.scanners)
        (tmp_path / "bands.toml").chmod(0o644)  # unreadable by our rule: nobody is bound
        (tmp_path / "bands.toml").touch()
        air.advertise(services=service_data(80))
        await until(lambda: counters.get("device.gym-bands.bindings_unreadable") == 1)
        bindings(tmp_path, BAND)
        air.advertise(services=service_data(81))
    assert found[0].values["heart_rate"] == 81


async def test_a_lost_adapter_ends_the_samples():
    air = Air()
    async with listening(air, link_options={"quiet_s": 0.02}) as one:
        with pytest.raises(DeviceUnavailable):  # noqa: PT012 - it is raised at the end of the block
            async with taking(one):
                await until(lambda: air.scanners)
                air.advertise()


async def test_nobody_is_named_in_logs_and_counters(tmp_path, caplog):
    caplog.set_level(logging.DEBUG)
    air, counters = Air(), Counters()
    async with listening(air, counters=counters, bindings_file=bindings(tmp_path, BAND)) as one, taking(one) as found:
        await until(lambda: air.scanners)
        air.advertise(1, services=service_data(70, OTHER), name="Anna")
        air.advertise(2, services=service_data(70), name="Ben")
    words = f"{caplog.text}{counters.snapshot()}{found}"
    assert not [word for word in ("C40000", "DE:AD", "DE_AD", "Anna", "Ben") if word in words]


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"format": "ant"}, "format"),
        ({"id_bytes": 1}, "id_bytes"),
        ({"surprise": 1}, "surprise"),
        ({"format": "mi_band", "gatt": True}, "gatt"),
        ({"bindings": "nobody"}, "bindings"),
        ({"bindings": "roster", "bindings_file": "x"}, "bindings"),
        ({"bindings": "roster", "gatt": True}, "gatt"),
    ],
)
def test_wrong_options_are_named(options, word):
    profile = load_profile(SERVICE)
    found = problems(profile, {**profile.options, **options}, "device x: options")
    assert word in "\n".join(map(str, found))
    with pytest.raises(ConfigError):
        create(context("x", profile, **options), None)


@pytest.mark.parametrize("text", [None, "bound = ['SECRET']", "schema = 'campus.bands/1'\nbound = ['SECRET", "SECRET"])
def test_a_wrong_bindings_file_binds_nobody_and_is_named_once_and_not_quoted(tmp_path, caplog, text):
    path = tmp_path / "bands.toml"
    if text is not None:
        path.write_text(text)
        path.chmod(0o600)
    counters = Counters()
    read = Bindings(str(path), device="x", counters=counters)
    assert not read.has("SECRET", now_s=0)
    assert not read.has("SECRET", now_s=10)
    assert counters.get("device.x.bindings_unreadable") == 2
    (record,) = caplog.records
    assert str(path) in record.getMessage()
    assert "SECRET" not in record.getMessage()


@pytest.mark.parametrize("profile", [SERVICE, "ble/mi_band_hr"])
def test_the_shipped_profiles_are_sound_and_share_an_adapter(profile):
    loaded = load_profile(profile)
    assert problems(loaded, dict(loaded.options), "x") == []
    assert link_address(loaded.options) is not None
