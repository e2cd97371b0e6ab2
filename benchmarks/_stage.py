"""What benchmarks share: real servers and our programs as processes, and what the kernel says of a process."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

PROGRAMS: Final = Path(sys.executable).parent
_TICKS: Final = os.sysconf("SC_CLK_TCK")


def server(name: str) -> str:
    """Return a Debian server's path. Raises RuntimeError saying how to get it."""
    found = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/bin")
    if found is None:
        raise RuntimeError(f"{name} is not installed: run `make servers` as root")
    return found


def free_port() -> int:
    """Return a TCP port of IPv6 loopback that nobody listens on."""
    with socket.socket(socket.AF_INET6) as probe:
        probe.bind(("::1", 0))
        return int(probe.getsockname()[1])


def wait_until(condition: Callable[[], bool], what: str, timeout_s: float = 30) -> None:
    """Return when `condition` holds. Raises RuntimeError naming `what` after `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise RuntimeError(f"{what}: not within {timeout_s:g} s")
        time.sleep(0.02)


def listens(port: int) -> bool:
    """Tell whether somebody listens on `port` of IPv6 loopback."""
    with contextlib.suppress(OSError), socket.create_connection(("::1", port), timeout=1):
        return True
    return False


@contextlib.contextmanager
def process(
    command: Sequence[str], log: Path, *, core: int | None = None, environment: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Run `command` on `core` alone (or anywhere) until the block ends; `environment` is added to ours."""
    pin = None if core is None else lambda: os.sched_setaffinity(0, {core})
    with log.open("ab") as output:
        running = subprocess.Popen(
            command,
            stdout=output,
            stderr=output,
            env={**os.environ, **(environment or {})},
            preexec_fn=pin,  # noqa: PLW1509 - no threads here
        )
    try:
        yield running
    finally:
        running.send_signal(signal.SIGTERM)
        try:
            running.wait(15)
        except subprocess.TimeoutExpired:
            running.kill()
            running.wait(5)


@contextlib.contextmanager
def mosquitto(folder: Path, *, core: int | None = None) -> Iterator[str]:
    """Run a mosquitto that keeps nothing on disk; yield its URL."""
    port = free_port()
    config = folder / "mosquitto.conf"
    user = "user root\n" if os.geteuid() == 0 else ""
    config.write_text(
        f"listener {port} ::1\nallow_anonymous true\npersistence false\n{user}"
        "max_queued_messages 100000\nmax_inflight_messages 200\nset_tcp_nodelay true\n"
    )
    with process([server("mosquitto"), "-c", str(config)], folder / "mosquitto.log", core=core):
        wait_until(lambda: listens(port), "mosquitto listens")
        yield f"mqtt://[::1]:{port}"


@contextlib.contextmanager
def influxd(folder: Path, *, core: int | None = None) -> Iterator[str]:
    """Run an InfluxDB 1.x with its default durability; yield `[host]:port`."""
    port, rpc = free_port(), free_port()
    home = folder / "influx"
    config = folder / "influxd.conf"
    config.write_text(
        "reporting-disabled = true\n"
        f'bind-address = "[::1]:{rpc}"\n'
        f'[meta]\ndir = "{home}/meta"\n[data]\ndir = "{home}/data"\nwal-dir = "{home}/wal"\nquery-log-enabled = false\n'
        f'[http]\nbind-address = "[::1]:{port}"\nlog-enabled = false\n'
    )
    with process([server("influxd"), "-config", str(config)], folder / "influxd.log", core=core):
        wait_until(lambda: listens(port), "influxd listens")
        yield f"[::1]:{port}"


def agent(
    config: Path, log: Path, *, core: int | None = None
) -> contextlib.AbstractContextManager[subprocess.Popen[bytes]]:
    """Run `edge-agent run` with these settings until the block ends; yield it at once."""
    return process([str(PROGRAMS / "edge-agent"), "run", "--config", str(config)], log, core=core)


def query(store: str, measurement: str, last: str) -> list[dict[str, Any]]:
    """Return what is stored of a measurement in the time `last`, as `cloud-ingest query` tells it."""
    command = [str(PROGRAMS / "cloud-ingest"), "query", "--store", store, "--measurement", measurement]
    asked = subprocess.run([*command, "--last", last, "--format", "json"], check=True, capture_output=True)
    rows: list[dict[str, Any]] = json.loads(asked.stdout)
    return rows


@contextlib.contextmanager
def ingest(
    folder: Path, *, mqtt: str, store: str, name: str = "ingest", group: str = "", core: int | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Run `cloud-ingest run`, one of the workers of `group`, with its data in `folder`/`name`; yield it when ready."""
    command = [str(PROGRAMS / "cloud-ingest"), "run", "--mqtt", mqtt, "--store", store, "--data", str(folder / name)]
    environment = {"CAMPUS_INGEST_MQTT__CLIENT_ID": name, "CAMPUS_INGEST_MQTT__SHARE_GROUP": group}
    log = folder / f"{name}.log"
    with process(command, log, core=core, environment=environment) as running:
        wait_until(lambda: b"service: ready" in log.read_bytes(), f"{name} is ready")
        yield running


def counters(folder: Path, name: str = "ingest") -> dict[str, int]:
    """Return the counters of an ingest; it writes them each 10 s and when it stops."""
    found: dict[str, int] = json.loads((folder / name / "counters.json").read_text())["counters"]
    return found


@contextlib.contextmanager
def device(*arguments: str, log: Path) -> Iterator[dict[str, Any]]:
    """Run a simulated device; yield the JSON that says where it is."""
    command = [str(PROGRAMS / "campus-sim"), "device", *arguments]
    with log.open("ab") as errors:
        running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors)
    try:
        assert running.stdout is not None  # noqa: S101 - it is a pipe
        yield json.loads(running.stdout.readline())
    finally:
        running.terminate()
        running.wait(10)
        assert running.stdout is not None  # noqa: S101
        running.stdout.close()


def cpu_s(pid: int) -> float:
    """Return the CPU seconds that a process has used, its threads included."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def rss_mb(pid: int) -> float:
    """Return a process's resident memory in MB (10^6 bytes)."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def peak_rss_mb(pid: int) -> float:
    """Return the most resident memory that a process has had, in MB (10^6 bytes)."""
    lines = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return int(lines["VmHWM"].split()[0]) * 1024 / 1e6


def written_bytes(pid: int) -> int:
    """Return how many bytes a process has caused to be written to a block device."""
    lines = dict(line.split(": ") for line in Path(f"/proc/{pid}/io").read_text().splitlines())
    return int(lines["write_bytes"]) - int(lines["cancelled_write_bytes"])


def no_more_than(name: str, figure: float, unit: str, budget: float, **more: Any) -> dict[str, Any]:
    """Return the row of a figure that has to stay below a budget; `more` are optional keys."""
    return {
        "name": name,
        "figure": round(figure, 3),
        "unit": unit,
        "limit": budget,
        "ratio": round(budget / max(figure, budget / 1000), 2),
        **more,
    }


def at_least(name: str, figure: float, unit: str, limit: float, share: float = 1.0, **more: Any) -> dict[str, Any]:
    """Return the row of a figure that has to reach `share` of a limit; `more` are optional keys."""
    return {
        "name": name,
        "figure": round(figure),
        "unit": unit,
        "limit": round(limit),
        "ratio": round(figure / limit, 3),
        "at_least": share,
        **more,
    }


def told(name: str, figure: float, unit: str, **more: Any) -> dict[str, Any]:
    """Return the row of a figure that is held against nothing; `more` are optional keys."""
    return {"name": name, "figure": round(figure, 3), "unit": unit, "limit": None, "ratio": None, **more}
