"""Bands: golden bytes, what a seed decides, and what their journal says of hangs and vanishings."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec
import pytest
from bumble.device import Device
from bumble.hci import Address
from bumble.transport import open_transport

from simulators.bands import Band, Beat, measurement, mi_advert, service_advert
from simulators.build import check
from simulators.ledger import PlannedBeat, plan
from simulators.spec import DeviceSpec
from telemetry.errors import ConfigError
from tests.simulators.conftest import until

if TYPE_CHECKING:
    from simulators.held import Shelf

BEAT = Beat(n=258, rate=150, rr=410, energy=258)


def test_golden_bytes() -> None:
    band = Band(seed=1, name="b")
    assert measurement(BEAT).hex() == "1e9602019a01"
    assert service_advert(band, BEAT).hex() == "020106" + "0f160d18" + "1e9602019a01" + band.id.hex()
    assert service_advert(band, BEAT, connectable=True).hex().startswith("020106" + "03030d18" + "0f160d18")
    assert mi_advert(band, BEAT).hex() == "020106" + "1bff5701" + "02010d96" + "ff" * 14 + band.id.hex()
    assert len(mi_advert(band, BEAT)) == 31


def test_a_beat_depends_on_seed_name_and_number_alone() -> None:
    beats = [Band(seed=1, name="b").beat(n) for n in range(1, 2000)]
    assert beats == [Band(seed=1, name="b").beat(n) for n in range(1, 2000)]
    assert beats != [Band(seed=2, name="b").beat(n) for n in range(1, 2000)]
    assert all(45 <= beat.rate <= 200 for beat in beats)
    assert all(abs(60 * 1024 / beat.rr - beat.rate) < 1 for beat in beats)
    assert [beat.energy for beat in beats] == list(range(1, 2000))


def test_the_plan_holds_each_beat_of_each_band() -> None:
    spec = DeviceSpec(kind="ble-bands", name="gym", bands=2, gatt_bands=1, period_s=0.5)
    lines = list(plan([spec], scenario="gym", seed=1, seconds=2))[1:]
    beats = [msgspec.json.decode(line, type=PlannedBeat) for line in lines]
    assert [(beat.band, beat.n) for beat in beats] == [(f"gym-0{band}", n) for band in (1, 2, 3) for n in (1, 2, 3, 4)]


@pytest.mark.parametrize(
    ("wrong", "word"), [({"period_s": 0}, "period_s"), ({"bands": 501}, "bands"), ({"gatt_bands": -1}, "gatt_bands")]
)
def test_a_radio_that_cannot_be_is_refused(wrong: dict[str, float], word: str) -> None:
    with pytest.raises(ConfigError, match=word):
        check(msgspec.convert({"kind": "ble-bands", "name": "gym", **wrong}, DeviceSpec))


async def test_bands_that_are_held_wait_for_start(device: Shelf) -> None:
    radio = device("ble-bands", bands=2, period_s=0.05, hold=True)
    await asyncio.sleep(0.2)
    assert radio.said() == []
    radio.begin()
    await until(lambda: len(radio.said()) >= 2)
    assert {line["n"] for line in radio.said()[:2]} == {1}


async def test_after_a_hang_the_adapter_must_be_told_anew_to_scan(device: Shelf) -> None:
    radio = device("ble-bands", bands=1, period_s=0.05)
    async with await open_transport(radio.ready.endpoint) as transport:
        gateway = Device.with_hci("gateway", Address("F0:00:00:00:00:01"), transport.source, transport.sink)
        await gateway.power_on()
        await gateway.start_scanning()
        await until(lambda: radio.state()["open"])
        radio.fault("hang")
        radio.clear()
        await until(lambda: radio.said()[-1]["fault"] == "unheard")
        await gateway.start_scanning()
        await until(lambda: radio.said()[-1]["delivered"])


async def test_what_is_delivered_is_what_a_scanning_gateway_hears(device: Shelf) -> None:
    radio = device("ble-bands", bands=2, period_s=0.1)
    heard: list[bytes] = []
    await until(lambda: any(line["fault"] == "unheard" for line in radio.said()))
    async with await open_transport(radio.ready.endpoint) as transport:
        gateway = Device.with_hci("gateway", Address("F0:00:00:00:00:01"), transport.source, transport.sink)
        gateway.on("advertisement", lambda item: heard.append(bytes(item.data)))
        await gateway.power_on()
        await gateway.start_scanning()
        await until(lambda: len(heard) >= 6)
        radio.fault("vanish", device="ble-bands-02")
        await until(lambda: any(line["fault"] == "vanish" for line in radio.said()))
        radio.fault("hang")
        await until(lambda: any(line["fault"] == "hang" for line in radio.said()))
        await asyncio.sleep(0)
        delivered = [line["identifier"].lower() for line in radio.said() if line["delivered"]]
        await until(lambda: len(heard) == len(delivered))
        assert [data[-6:].hex() for data in heard] == delivered
    assert not [line for line in radio.said() if line["fault"] == "vanish" and line["band"] != "ble-bands-02"]
