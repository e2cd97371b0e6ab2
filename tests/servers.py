"""Real servers for tests on free loopback ports, started, waited for, stopped: mosquitto, influxd, victoria-metrics."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from tests.coverage_report import require_server

if TYPE_CHECKING:
    from pathlib import Path

START_S = 20.0


def free_port(host: str = "::1") -> int:
    """Return a port of loopback that nobody listens on now."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def wait_for_port(host: str, port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    """Return when the server accepts connections; fail with its log if it ends or takes too long."""
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        with contextlib.suppress(OSError), socket.create_connection((host, port), timeout=1):
            return
        time.sleep(0.02)
    pytest.fail(f"{process.args!r} does not listen on {host}:{port}\n{log.read_text(errors='replace')[-2000:]}")


@dataclass
class Server:
    """A server process that can be killed and started again on the same port and files."""

    command: list[str]
    host: str
    port: int
    folder: Path
    process: subprocess.Popen[bytes] | None = None
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def authority(self) -> str:
        """`host:port`, an IPv6 address in brackets."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def log(self) -> Path:
        """What the server printed."""
        return self.folder / "server.log"

    def start(self) -> None:
        """Start it and wait until it accepts connections."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command, stdout=log, stderr=log, cwd=self.folder, env={**os.environ, **self.environment}
            )
        wait_for_port(self.host, self.port, self.process, self.log)

    def kill(self) -> None:
        """Kill -9."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(10)

    def stop(self) -> None:
        """SIGTERM, then SIGKILL after a while."""
        if self.process is None or self.process.poll() is not None:
            return
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.kill()


MakeServer = Callable[..., Server]


@pytest.fixture
def make_mosquitto(tmp_path: Path) -> Iterator[MakeServer]:
    """A function that starts a mosquitto: `make(host=…, extra=config lines)`."""
    program = require_server("mosquitto")
    servers: list[Server] = []

    def make(*, host: str = "::1", extra: str = "allow_anonymous true") -> Server:
        folder = tmp_path / f"mosquitto-{len(servers)}"
        folder.mkdir()
        port = free_port(host)
        config = folder / "mosquitto.conf"
        user = "user root\n" if os.geteuid() == 0 else ""
        config.write_text(f"listener {port} {host}\npersistence false\n{user}{extra}\n")
        server = Server(command=[program, "-c", str(config)], host=host, port=port, folder=folder)
        servers.append(server)
        server.start()
        return server

    yield make
    for server in servers:
        server.stop()


@pytest.fixture
def mosquitto(make_mosquitto: MakeServer) -> Server:
    """A mosquitto on IPv6 loopback that lets everybody in."""
    return make_mosquitto()


INFLUXD_CONFIG = """
reporting-disabled = true
bind-address = "{rpc}"
[meta]
  dir = "{folder}/meta"
[data]
  dir = "{folder}/data"
  wal-dir = "{folder}/wal"
  query-log-enabled = false
[monitor]
  store-enabled = false
[http]
  bind-address = "{http}"
  log-enabled = false
  flux-enabled = false
  auth-enabled = {auth}
"""


@pytest.fixture
def make_influxd(tmp_path: Path) -> Iterator[MakeServer]:
    """A function that starts an InfluxDB 1.x: `make(host=…, auth=…)`."""
    program = require_server("influxd")
    servers: list[Server] = []

    def make(*, host: str = "::1", auth: bool = False) -> Server:
        folder = tmp_path / f"influxd-{len(servers)}"
        folder.mkdir()
        port, rpc = free_port(host), free_port(host)
        bracketed = f"[{host}]" if ":" in host else host
        config = folder / "influxdb.conf"
        config.write_text(
            INFLUXD_CONFIG.format(
                folder=folder, http=f"{bracketed}:{port}", rpc=f"{bracketed}:{rpc}", auth=str(auth).lower()
            )
        )
        server = Server(command=[program, "-config", str(config)], host=host, port=port, folder=folder)
        servers.append(server)
        server.start()
        return server

    yield make
    for server in servers:
        server.stop()


@pytest.fixture
def influxd(make_influxd: MakeServer) -> Server:
    """An InfluxDB 1.x on IPv6 loopback without authentication."""
    return make_influxd()


@pytest.fixture
def make_victoria_metrics(tmp_path: Path) -> Iterator[MakeServer]:
    """A function that starts a VictoriaMetrics that keeps all times: `make(host=…, extra=flags)`."""
    program = require_server("victoria-metrics")
    servers: list[Server] = []

    def make(*, host: str = "::1", extra: Sequence[str] = ()) -> Server:
        folder = tmp_path / f"victoria-metrics-{len(servers)}"
        folder.mkdir()
        port = free_port(host)
        command = [program, f"-storageDataPath={folder}/data", "-retentionPeriod=100y", "-memory.allowedPercent=10"]
        command += [f"-httpListenAddr={f'[{host}]' if ':' in host else host}:{port}", "-enableTCP6", *extra]
        server = Server(command=command, host=host, port=port, folder=folder)
        servers.append(server)
        server.start()
        return server

    yield make
    for server in servers:
        server.stop()


@pytest.fixture
def victoria_metrics(make_victoria_metrics: MakeServer) -> Server:
    """A VictoriaMetrics on IPv6 loopback without authentication."""
    return make_victoria_metrics()
