"""Real servers for tests on free loopback ports, started, waited for, stopped: mosquitto, influxd, victoria-metrics."""

from __future__ import annotations

import contextlib
import itertools
import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from simulators.demo import influx
from tests.coverage_report import require_server

START_S = 20.0


def free_port(host: str = "::1") -> int:
    """Return a port of loopback that nobody listens on now."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def authority(host: str, port: int) -> str:
    """Return `host:port`, an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


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
        return authority(self.host, self.port)

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
Start = Callable[[str, Callable[[Path, int], list[str]]], Server]


@contextlib.contextmanager
def _starter(name: str, parent: Path) -> Iterator[Start]:
    """Yield a function that starts a server on `host`, each in a folder of its own, and stop them all.

    It is given what makes the program's arguments from folder and port.
    """
    program = require_server(name)
    with contextlib.ExitStack() as running:
        count = itertools.count()

        def start(host: str, arguments: Callable[[Path, int], list[str]]) -> Server:
            folder = parent / f"{name}-{next(count)}"
            folder.mkdir()
            port = free_port(host)
            server = Server(command=[program, *arguments(folder, port)], host=host, port=port, folder=folder)
            running.callback(server.stop)
            server.start()
            return server

        yield start


@pytest.fixture
def make_mosquitto(tmp_path: Path) -> Iterator[MakeServer]:
    """A function that starts a mosquitto: `make(host=…, extra=config lines)`."""
    with _starter("mosquitto", tmp_path) as start:

        def make(*, host: str = "::1", extra: str = "allow_anonymous true") -> Server:
            def arguments(folder: Path, port: int) -> list[str]:
                config = folder / "mosquitto.conf"
                user = "user root\n" if os.geteuid() == 0 else ""
                config.write_text(f"listener {port} {host}\npersistence false\n{user}{extra}\n")
                return ["-c", str(config)]

            return start(host, arguments)

        yield make


@pytest.fixture
def mosquitto(make_mosquitto: MakeServer) -> Server:
    """A mosquitto on IPv6 loopback that lets everybody in."""
    return make_mosquitto()


@pytest.fixture
def make_influxd(tmp_path: Path) -> Iterator[MakeServer]:
    """A function that starts an InfluxDB 1.x: `make(host=…, auth=…)`."""
    with _starter("influxd", tmp_path) as start:

        def make(*, host: str = "::1", auth: bool = False) -> Server:
            def arguments(folder: Path, port: int) -> list[str]:
                config = folder / "influxdb.conf"
                http, rpc = authority(host, port), authority(host, free_port(host))
                config.write_text(influx.settings(folder, http=http, rpc=rpc, auth=auth))
                return ["-config", str(config)]

            return start(host, arguments)

        yield make


@pytest.fixture
def influxd(make_influxd: MakeServer) -> Server:
    """An InfluxDB 1.x on IPv6 loopback without authentication."""
    return make_influxd()


@pytest.fixture
def make_victoria_metrics(tmp_path: Path) -> Iterator[MakeServer]:
    """A function that starts a VictoriaMetrics that keeps all times: `make(host=…, extra=flags)`."""
    with _starter("victoria-metrics", tmp_path) as start:

        def make(*, host: str = "::1", extra: Sequence[str] = ()) -> Server:
            def arguments(folder: Path, port: int) -> list[str]:
                flags = [f"-storageDataPath={folder}/data", "-retentionPeriod=100y", "-memory.allowedPercent=10"]
                return [*flags, f"-httpListenAddr={authority(host, port)}", "-enableTCP6", *extra]

            return start(host, arguments)

        yield make


@pytest.fixture
def victoria_metrics(make_victoria_metrics: MakeServer) -> Server:
    """A VictoriaMetrics on IPv6 loopback without authentication."""
    return make_victoria_metrics()
