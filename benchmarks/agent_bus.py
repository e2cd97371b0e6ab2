"""The agent with 20 Modbus devices of 6 points (and a sequence) at 1 Hz and a healthy link: memory, CPU, flash.

The link is healthy: a real mosquitto, and the real ingest acknowledging into SQLite. The buffer lies on a file system
of its own on a loop device where one can be mounted, so that the kernel counts what reaches the block device.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from pathlib import Path
from typing import Any, Final

from benchmarks import _stage
from benchmarks.buffer_flash import AT_DEVICE, flash_device

DEVICES: Final = 20
WARM_S: Final = 15.0
MEASURED_S: Final = 60.0
REPEATS: Final = 1
DAY_S: Final = 86_400


def _config(folder: Path, buffer: Path, mqtt: str, port: str) -> Path:
    devices = "".join(
        f'[[device]]\nname = "air-{unit}"\nroom = "r{unit}"\nprofile = "modbus/multisensor_6in1"\nlink = "bus"\n'
        f"options = {{ unit = {unit} }}\n"
        for unit in range(1, DEVICES + 1)
    )
    path = folder / "agent.toml"
    path.write_text(
        f'site = "bench"\ngateway = "gw-1"\nsimulated = true\n[mqtt]\nurl = "{mqtt}"\n[buffer]\npath = "{buffer}"\n'
        f'[clock]\nassume_synced = true\n[[link]]\nname = "bus"\nkind = "serial"\npath = "{port}"\nbaudrate = 38400\n'
        f"{devices}"
    )
    return path


def run() -> list[dict[str, Any]]:
    """Return the figures."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="campus-bench-")))
        mqtt = stack.enter_context(_stage.mosquitto(folder))
        units = ",".join(str(unit) for unit in range(1, DEVICES + 1))
        arguments = ("modbus-rtu", "--units", units, "--baudrate", "38400")
        bus = stack.enter_context(_stage.device(*arguments, log=folder / "bus.log"))
        flash, reached, how = stack.enter_context(flash_device(folder))
        store = f"sqlite://{folder}/store.sqlite"
        stack.enter_context(_stage.ingest(folder, mqtt=mqtt, store=store))
        config = _config(folder, flash / "buffer", mqtt, bus["link"])
        agent = stack.enter_context(_stage.agent(config, folder / "agent.log"))
        time.sleep(WARM_S)
        os.sync()  # what the start left does not count
        started, cpu, written = time.monotonic(), _stage.cpu_s(agent.pid), _stage.written_bytes(agent.pid)
        before = reached()
        time.sleep(MEASURED_S)
        span_s = time.monotonic() - started
        share = 100 * (_stage.cpu_s(agent.pid) - cpu) / span_s
        by_process = (_stage.written_bytes(agent.pid) - written) * DAY_S / span_s / 1e6
        rss = _stage.rss_mb(agent.pid)
        os.sync()
        on_device = (reached() - before) * DAY_S / span_s / 1e6
        stored = len(_stage.query(store, "environment", "30s"))
        said = (folder / "agent.log").read_text()[-1500:] + (folder / "ingest.log").read_text()[-1500:]
    if stored < 0.9 * DEVICES * 25:
        raise RuntimeError(f"only {stored} rows of 30 s and {DEVICES} devices are in the store:\n{said}")
    figures = [
        _stage.no_more_than("agent, 20 Modbus devices x 6 points at 1 Hz: memory", rss, "MB", 60),
        _stage.no_more_than("agent, 20 Modbus devices x 6 points at 1 Hz: CPU", share, "% of a core", 3),
        _stage.no_more_than("agent, healthy link: written by the process", by_process, "MB/day", 5),
    ]
    if how == AT_DEVICE:
        figures.append(_stage.no_more_than("agent, healthy link: written to the block device", on_device, "MB/day", 5))
    return figures


if __name__ == "__main__":
    for row in run():
        print(row)
