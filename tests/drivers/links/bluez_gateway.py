"""A gateway's half of a test, in a process of its own: bleak keeps its D-Bus connection for as long as its loop lives.

Usage: python -m tests.drivers.links.bluez_gateway BINDINGS true|false
Prints each sample as a JSON line, and the counters at its end, on SIGTERM.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys

from drivers.ble_heart_rate import create
from drivers.links.bluetooth import BluetoothLink, make_backend
from edge_agent.collector import DeviceState, listen
from telemetry.counters import Counters
from tests.drivers.helpers import context


async def emit(sample) -> None:
    identifier = sample.subject.identifier if sample.subject is not None else None
    sys.stdout.write(json.dumps({"identifier": identifier, "values": sample.values}) + "\n")
    sys.stdout.flush()


async def main(bindings: str, gatt: str) -> None:
    counters = Counters()
    link = BluetoothLink("radio", counters, backend=make_backend(adapter="hci0", hci=None), quiet_s=0.5)
    options = {"bindings_file": bindings, "gatt": gatt == "true", "seen_every_s": 60}
    device = context("gym-bands", "ble/heart_rate_service", counters, **options)
    task = asyncio.create_task(listen(lambda: create(device, link), emit, DeviceState(device="gym-bands")))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    await asyncio.wait([task])
    await link.close()
    sys.stdout.write(json.dumps({"counters": counters.snapshot()}) + "\n")


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
