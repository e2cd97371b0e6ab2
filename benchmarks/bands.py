"""The agent among 45 bands at 1 Hz and three GATT connections beside them: what became samples, CPU, peak memory.

The adapter is a virtual one: the agent parses HCI itself, in Python, which BlueZ and the kernel do for a real one.
The broker is a real mosquitto; the real ingest stores in SQLite, from which the samples are counted.
`python -m benchmarks.bands --minutes 1`, or BANDS_MINUTES=1 for `make bench`, measures for less than five minutes.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from benchmarks import _stage
from benchmarks._papers import SETTINGS, SITE, write_papers
from simulators.demo.config import write_private
from simulators.ledger import bands_of, read_beats
from simulators.spec import DeviceSpec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from simulators.ledger import SaidBeat

RADIO: Final = DeviceSpec(kind="ble-bands", name="gym", bands=45, gatt_bands=3)
MINUTES: Final = 5.0
REPEATS: Final = 1
"""It measures for minutes: once is enough."""
WARM_S: Final = 10.0
ARRIVAL_S: Final = 5.0
PURPOSE: Final = "pe_lesson"
_CONFIG: Final = """
site = "{site}"
gateway = "gw-1"
simulated = true
[mqtt]
url = "{mqtt}"
[buffer]
path = "{folder}/buffer"
{privacy}
[clock]
assume_synced = true
[[link]]
name = "radio"
kind = "bluetooth"
hci = "{hci}"
connections = 3
[[device]]
name = "adverts"
room = "gym"
profile = "ble/heart_rate_service"
link = "radio"
options = {{ bindings_file = "{folder}/adverts.toml" }}
[[device]]
name = "gatt"
room = "gym"
profile = "ble/heart_rate_service"
link = "radio"
options = {{ gatt = true, bindings_file = "{folder}/gatt.toml" }}
"""


def _identifiers() -> list[str]:
    """Return the static ids: of the bands that advertise, then of those that are connected to."""
    return [band.id.hex().upper() for band in bands_of(RADIO)]


def _configure(folder: Path, *, mqtt: str, hci: str) -> Path:
    """Write the agent's files; return its settings."""
    ids = _identifiers()
    write_papers(folder, purpose=PURPOSE, rules={"sensitive": True, "group": False}, kind="band", identifiers=ids)
    for name, bound in (("adverts", ids[: RADIO.bands]), ("gatt", ids[RADIO.bands :])):
        write_private(folder / f"{name}.toml", f'schema = "campus.bands/1"\nbound = {json.dumps(bound)}\n')
    path, privacy = folder / "agent.toml", SETTINGS.format(folder=folder)
    write_private(path, _CONFIG.format(site=SITE, mqtt=mqtt, folder=folder, hci=hci, privacy=privacy))
    return path


def _delivered(said: Sequence[SaidBeat]) -> tuple[int, int]:
    """Return how many readings the radio delivered: in adverts, and over connections."""
    advertised = set(_identifiers()[: RADIO.bands])
    told = [beat.identifier in advertised for beat in said if beat.delivered]
    return sum(told), len(told) - sum(told)


def run(minutes: float | None = None) -> list[dict[str, Any]]:
    """Return the figures."""
    measured_s = 60 * (minutes or float(os.environ.get("BANDS_MINUTES", MINUTES)))
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="campus-bench-")))
        mqtt = stack.enter_context(_stage.mosquitto(folder))
        store = f"sqlite://{folder}/store.sqlite"
        stack.enter_context(_stage.ingest(folder, mqtt=mqtt, store=store))
        bands = ("--bands", str(RADIO.bands), "--gatt-bands", str(RADIO.gatt_bands), "--name", RADIO.name)
        with contextlib.ExitStack() as around:
            said = folder / "said.jsonl"
            radio = around.enter_context(
                _stage.device("ble-bands", *bands, "--said", str(said), log=folder / "radio.log")
            )
            config = _configure(folder, mqtt=mqtt, hci=radio["endpoint"])
            agent = stack.enter_context(_stage.agent(config, folder / "agent.log"))
            time.sleep(WARM_S)
            started, cpu = time.monotonic(), _stage.cpu_s(agent.pid)
            time.sleep(measured_s)
            share = 100 * (_stage.cpu_s(agent.pid) - cpu) / (time.monotonic() - started)
            peak = _stage.peak_rss_mb(agent.pid)
        time.sleep(ARRIVAL_S)  # the radio has stopped: what it said last is still on its way
        adverts, notifications = _delivered(read_beats(said))
        # The rows that hold a reading: its energy numbers it.
        found = [row for row in _stage.query(store, "vitals", "all") if row.get("energy") is not None]
        log = (folder / "agent.log").read_text()[-1500:]
    if not adverts or not notifications:
        raise RuntimeError(f"the radio delivered {adverts} adverts and {notifications} notifications:\n{log}")
    readings = {(row["device"], row["subject"], row["energy"]) for row in found}
    kept = {name: sum(device == name for device, _, _ in readings) for name in ("adverts", "gatt")}
    what = f"{RADIO.bands} bands at 1 Hz for {measured_s / 60:g} min"
    return [
        _stage.at_least(f"{what}: adverts that became stored samples", kept["adverts"], "samples", adverts, 0.99),
        _stage.at_least("the same, of three connections beside them", kept["gatt"], "samples", notifications, 0.99),
        _stage.no_more_than(f"agent among {what}: CPU, HCI parsed in Python", share, "% of a core", 15),
        _stage.no_more_than(f"agent among {what}: peak memory", peak, "MB", 80),
    ]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bands", description=__doc__)
    parser.add_argument("--minutes", type=float, default=None)
    for row in run(parser.parse_args().minutes):
        print(row)
