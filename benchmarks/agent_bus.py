"""The agent with 20 Modbus devices of 6 points (and a sequence) at 1 Hz and a healthy link: memory, CPU, flash.

The link is healthy: a real mosquitto, and the real ingest acknowledging into SQLite. The buffer lies on a file system
of its own on a loop device where one can be mounted, so that the kernel counts what reaches the block device.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from benchmarks import _stage

if TYPE_CHECKING:
    from collections.abc import Iterator

DEVICES: Final = 20
WARM_S: Final = 15.0
MEASURED_S: Final = 60.0
REPEATS: Final = 1
DAY_S: Final = 86_400
SECTOR: Final = 512


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


@contextlib.contextmanager
def _loop_device(folder: Path) -> Iterator[tuple[Path, Path | None]]:
    """Yield (buffer folder, the loop device's statistics file); the latter none where no loop device can be mounted."""
    image, mounted = folder / "flash.img", folder / "flash"
    mounted.mkdir()
    steps = (
        ["truncate", "-s", "128M", str(image)],
        ["mkfs.ext4", "-q", "-F", "-b", "4096", "-E", "lazy_itable_init=0,lazy_journal_init=0", str(image)],
        ["mount", "-o", "loop,noatime", str(image), str(mounted)],
    )
    for step in steps:
        try:
            subprocess.run(step, check=True, capture_output=True, timeout=30)
        except (OSError, subprocess.SubprocessError) as error:
            print(f"no loop device here ({error}): /proc/PID/io only")
            yield mounted / "buffer", None
            return
    try:
        source = subprocess.run(["findmnt", "-no", "SOURCE", str(mounted)], check=True, capture_output=True, text=True)
        name = Path(source.stdout.strip()).name
        yield mounted / "buffer", Path(f"/sys/block/{name}/stat")
    finally:
        subprocess.run(["umount", str(mounted)], check=False)


def _sectors(statistics: Path) -> int:
    """Return the sectors written so far, once everything that waits is written: what the start left does not count."""
    os.sync()
    return int(statistics.read_text().split()[6])


def run() -> list[dict[str, Any]]:
    """Return the figures."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="campus-bench-")))
        mqtt = stack.enter_context(_stage.mosquitto(folder))
        units = ",".join(str(unit) for unit in range(1, DEVICES + 1))
        arguments = ("modbus-rtu", "--units", units, "--baudrate", "38400")
        bus = stack.enter_context(_stage.device(*arguments, log=folder / "bus.log"))
        buffer, statistics = stack.enter_context(_loop_device(folder))
        store = f"sqlite://{folder}/store.sqlite"
        ingest = [
            str(_stage.PROGRAMS / "cloud-ingest"),
            "run",
            "--mqtt",
            mqtt,
            "--store",
            store,
            "--data",
            str(folder / "ingest"),
        ]
        stack.enter_context(_stage.process(ingest, folder / "ingest.log"))
        config = _config(folder, buffer, mqtt, bus["link"])
        agent = stack.enter_context(
            _stage.process([str(_stage.PROGRAMS / "edge-agent"), "run", "--config", str(config)], folder / "agent.log")
        )
        time.sleep(WARM_S)
        started, cpu, written = time.monotonic(), _stage.cpu_s(agent.pid), _stage.written_bytes(agent.pid)
        sectors = _sectors(statistics) if statistics else 0
        time.sleep(MEASURED_S)
        span_s = time.monotonic() - started
        share = 100 * (_stage.cpu_s(agent.pid) - cpu) / span_s
        flash = (_stage.written_bytes(agent.pid) - written) * DAY_S / span_s / 1e6
        rss = _stage.rss_mb(agent.pid)
        on_device = (_sectors(statistics) - sectors) * SECTOR * DAY_S / span_s / 1e6 if statistics else None
        query = [str(_stage.PROGRAMS / "cloud-ingest"), "query", "--store", store, "--measurement", "environment"]
        rows = subprocess.run([*query, "--last", "30s", "--format", "csv"], check=True, capture_output=True, text=True)
        stored = len(rows.stdout.splitlines()) - 1
        said = (folder / "agent.log").read_text()[-1500:] + (folder / "ingest.log").read_text()[-1500:]
    if stored < 0.9 * DEVICES * 25:
        raise RuntimeError(f"only {stored} rows of 30 s and {DEVICES} devices are in the store:\n{said}")
    figures = [
        _stage.no_more_than("agent, 20 Modbus devices x 6 points at 1 Hz: memory", rss, "MB", 60),
        _stage.no_more_than("agent, 20 Modbus devices x 6 points at 1 Hz: CPU", share, "% of a core", 3),
        _stage.no_more_than("agent, healthy link: written by the process", flash, "MB/day", 5),
    ]
    if on_device is not None:
        figures.append(_stage.no_more_than("agent, healthy link: written to the block device", on_device, "MB/day", 5))
    return figures


if __name__ == "__main__":
    for row in run():
        print(row)
