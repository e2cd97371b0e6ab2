"""Bleak's own BlueZ backend, unchanged, over a private dbus-daemon: adverts, GATT, the adapter's power."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from simulators.ledger import bands_of
from tests.coverage_report import require_server
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.server("dbus-daemon")

CONFIG = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>system</type><listen>unix:path={socket}</listen><auth>EXTERNAL</auth>
<policy context="default"><allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/><allow own="*"/>
<allow user="*"/></policy></busconfig>"""


class Program:
    """A child process whose lines are collected as they come."""

    def __init__(self, *command: str, **environment: str) -> None:
        self.lines: list[str] = []
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, env=os.environ | environment, cwd=Path(__file__).parents[3]
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        for line in self.process.stdout:
            self.lines.append(line.strip())

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(10)
        self._reader.join(10)
        self.process.stdout.close()


@contextmanager
def program(*command: str, **environment: str) -> Iterator[Program]:
    running = Program(*command, **environment)
    try:
        yield running
    finally:
        running.stop()


@pytest.fixture
async def bus(tmp_path):
    socket = tmp_path / "bus"
    config = tmp_path / "bus.conf"
    config.write_text(CONFIG.format(socket=socket))
    daemon = require_server("dbus-daemon")
    with program(daemon, f"--config-file={config}", "--nofork", "--nopidfile", "--print-address") as running:
        await until(lambda: running.lines, within_s=10)
        yield f"unix:path={socket}"


@contextmanager
def gateway(bus, tmp_path, device, *, gatt: bool):
    path = tmp_path / "bands.toml"
    ids = [band.id.hex().upper() for band in bands_of(device.spec)]
    path.write_text(f'schema = "campus.bands/1"\nbound = {json.dumps(ids)}\n')
    path.chmod(0o600)
    module = "tests.drivers.links.bluez_gateway"
    with program(sys.executable, "-m", module, str(path), json.dumps(gatt), DBUS_SYSTEM_BUS_ADDRESS=bus) as running:
        yield running


@contextmanager
def bluez(bus, device):
    with program(sys.executable, "-m", "tests.drivers.links.bluez_bridge", device.ready.endpoint, bus) as running:
        yield running


def told(lines):
    found = {}
    for line in map(json.loads, lines):
        if "energy" in line.get("values", {}):
            found[(line["identifier"], round(line["values"]["energy"] * 3600))] = line["values"]
    return found


@pytest.mark.parametrize("gatt", [False, True])
async def test_what_bands_say_is_heard_through_bluez(bus, tmp_path, campus_device, gatt):
    bands = {"gatt_bands": 2} if gatt else {"bands": 5}
    radio = campus_device("ble-bands", period_s=0.1, **bands)
    with bluez(bus, radio) as stack:
        await until(lambda: stack.lines, within_s=20)
        with gateway(bus, tmp_path, radio, gatt=gatt) as edge:
            await until(lambda: len(told(edge.lines)) >= 20, within_s=30)
            await until(lambda: len({name for name, _ in told(edge.lines)}) == sum(bands.values()), within_s=30)
        found = told(edge.lines)
    truth = {(line["identifier"], line["n"]): line["values"] for line in radio.said() if line["delivered"]}
    assert set(found) <= set(truth)
    assert all(found[key] == truth[key] for key in found)
    assert not edge.process.returncode


async def test_pain_13_a_silent_adapter_is_switched_off_and_on(bus, tmp_path, campus_device):
    radio = campus_device("ble-bands", bands=2, period_s=0.1)
    with bluez(bus, radio) as stack:
        await until(lambda: stack.lines, within_s=20)
        with gateway(bus, tmp_path, radio, gatt=False) as edge:
            await until(lambda: told(edge.lines), within_s=20)
            radio.fault("vanish")
            await until(lambda: "Powered True" in stack.lines, within_s=10)
            assert stack.lines[1:3] == ["Powered False", "Powered True"]
            radio.clear()
            before = len(told(edge.lines))
            await until(lambda: len(told(edge.lines)) > before + 3, within_s=10)
    counters = json.loads(edge.lines[-1])["counters"]
    assert counters["link.radio.rescans"] >= 1
    assert counters["link.radio.resets"] >= 1
