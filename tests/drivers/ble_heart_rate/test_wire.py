"""The driver on Bumble's stack against simulated bands: it hears what they said, through hangs and vanishings."""

import json
import time
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from drivers.ble_heart_rate import create
from drivers.links.bluetooth import BluetoothLink, make_backend
from edge_agent.collector import DeviceState, listen
from simulators.ledger import bands_of
from telemetry.counters import Counters
from tests.drivers.helpers import context, running
from tests.waiting import until


class Heard:
    """What the collector passed on."""

    def __init__(self) -> None:
        self.samples = []
        self.counters = Counters()

    async def emit(self, sample) -> None:
        self.samples.append(sample)

    @property
    def people(self):
        return [sample for sample in self.samples if sample.subject is not None]

    def of(self, identifier):
        return [sample for sample in self.people if sample.subject.identifier == identifier]

    def wide(self):
        """(id, n) → values of the samples that carry the energy, which counts them."""
        found = {}
        for sample in self.people:
            if "energy" in sample.values:
                key = (sample.subject.identifier, round(sample.values["energy"] * 3600))
                assert key not in found, f"{key} came twice"
                found[key] = sample.values
        return found


def identifiers(device) -> list[str]:
    return [band.id.hex().upper() for band in bands_of(device.spec)]


def bound(tmp_path: Path, device, bands: int) -> str:
    path = tmp_path / "bands.toml"
    ids = identifiers(device)[:bands]
    path.write_text(f'schema = "campus.bands/1"\nbound = {json.dumps(ids)}\n')
    path.chmod(0o600)
    return str(path)


@asynccontextmanager
async def gateway(device, profile="ble/heart_rate_service", *, quiet_s=0.5, **options):
    heard = Heard()
    backend = make_backend(adapter="", hci=device.ready.endpoint)
    link = BluetoothLink("radio", heard.counters, backend=backend, quiet_s=quiet_s)
    options = context("gym-bands", profile, heard.counters, **options)
    try:
        async with running(listen(lambda: create(options, link), heard.emit, DeviceState(device="gym-bands"))):
            yield heard
    finally:
        await link.close()


def said(device, *, delivered=True):
    return {(line["identifier"], line["n"]): line["values"] for line in device.said() if line["delivered"] is delivered}


async def test_every_advert_of_a_class_becomes_a_sample_and_none_is_altered(campus_device, tmp_path):
    radio = campus_device("ble-bands", bands=45, period_s=0.5)
    async with gateway(radio, bindings_file=bound(tmp_path, radio, 45)) as heard:
        await until(lambda: len(heard.people) >= 90)
        radio.stop()
        truth = said(radio)
        await until(lambda: len(heard.wide()) >= 0.99 * len(truth))
        found = heard.wide()
    assert set(found) <= set(truth)
    assert all(found[key] == truth[key] for key in found)
    assert len({key[0] for key in found}) == 45
    assert heard.counters.get("device.gym-bands.undecodable") == 0


async def test_mi_bands_and_bands_of_nobody(campus_device, tmp_path):
    radio = campus_device("ble-bands", bands=6, period_s=0.2, band_format="mi_band")
    file = bound(tmp_path, radio, 2)
    async with gateway(radio, "ble/mi_band_hr", bindings_file=file, seen_every_s=1, repeat_s=0.01) as heard:
        await until(lambda: [sample for sample in heard.samples if sample.subject is None])
        await until(lambda: len(heard.people) >= 8)
    by_id = {}
    for line in radio.said():
        by_id.setdefault(line["identifier"], []).append(line["values"])
    assert len({sample.subject.identifier for sample in heard.people}) == 2
    assert all(sample.values in by_id[sample.subject.identifier] for sample in heard.people)
    (count, *_) = [sample for sample in heard.samples if sample.subject is None]
    assert count.values == {"bands_seen": 6.0}


@pytest.mark.parametrize("fault", ["hang", "unplug"])
async def test_pain_13_an_adapter_that_is_well_again_is_heard_again(campus_device, tmp_path, fault):
    radio = campus_device("ble-bands", bands=4, period_s=0.1)
    async with gateway(radio, quiet_s=0.3, bindings_file=bound(tmp_path, radio, 4)) as heard:
        await until(lambda: len(heard.people) >= 4)
        radio.fault(fault)
        await until(lambda: heard.counters.get("link.radio.rescans"), within_s=8)
        before = len(heard.people)
        radio.clear()
        well = time.monotonic()
        await until(lambda: len(heard.people) > before + 4, within_s=10)
        assert time.monotonic() - well < 10


async def test_a_band_that_vanishes_stops_nobody_else(campus_device, tmp_path):
    radio = campus_device("ble-bands", bands=3, period_s=0.1)
    ids = identifiers(radio)
    async with gateway(radio, bindings_file=bound(tmp_path, radio, 3)) as heard:
        await until(lambda: all(heard.of(name) for name in ids))
        radio.fault("vanish", device="ble-bands-01")
        others = len(heard.people)
        await until(lambda: len(heard.people) >= others + 10)  # what was under way has come
        gone, others = len(heard.of(ids[0])), len(heard.people)
        await until(lambda: len(heard.people) >= others + 10)
        assert len(heard.of(ids[0])) <= gone + 1
        radio.clear()
        await until(lambda: len(heard.of(ids[0])) > gone + 1)


async def test_pain_14_connected_bands_are_read_beside_adverts(campus_device, tmp_path):
    radio = campus_device("ble-bands", gatt_bands=3, period_s=0.1)
    file = bound(tmp_path, radio, 3)
    async with gateway(radio, quiet_s=3, bindings_file=file, gatt=True) as heard:
        await until(lambda: len({key[0] for key in heard.wide()}) == 3, within_s=15)
        await until(lambda: len(heard.wide()) >= 12)
        radio.stop()
        truth = said(radio)
        found = heard.wide()
    assert set(found) <= set(truth)
    assert all(found[key] == truth[key] for key in found)
    assert [sample.values for sample in heard.people if "battery" in sample.values] == [{"battery": 87.0}] * 3
