from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import aiomqtt
import pytest
from aiohttp import web

from tests.cloud_ingest.gateway import GATEWAY, Gateway
from tests.cloud_ingest.influx2_imitation import BUCKET, ORG, TOKEN, Influx2
from tests.servers import (
    Server,
    influxd,
    make_influxd,
    make_mosquitto,
    make_victoria_metrics,
    mosquitto,
    victoria_metrics,
)

__all__ = ["influxd", "make_influxd", "make_mosquitto", "make_victoria_metrics", "mosquitto", "victoria_metrics"]

ROOT = Path(__file__).parents[2]


class IngestProcess:
    """`cloud-ingest run` as a process of its own."""

    def __init__(
        self, folder: Path, mqtt: str, store: str, environment: dict[str, str], flags: Sequence[str] = ()
    ) -> None:
        self.data = folder / "ingest"
        self.store = store
        self.log = folder / "ingest.log"
        self._mqtt = mqtt
        self._socket = folder / "n"
        self._environment = environment
        self._flags = flags
        self.process: subprocess.Popen[bytes] | None = None

    async def start(self) -> None:
        """Start it and wait for READY=1, while servers in this event loop go on answering."""
        await asyncio.to_thread(self._start)

    def _start(self) -> None:
        self._socket.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify, self.log.open("ab") as log:
            notify.bind(str(self._socket))
            notify.settimeout(20)
            self.process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "cloud_ingest.cli",
                    "run",
                    "--mqtt",
                    self._mqtt,
                    "--store",
                    self.store,
                    "--data",
                    str(self.data),
                    *self._flags,
                ],
                cwd=ROOT,
                stderr=log,
                env={**os.environ, "NOTIFY_SOCKET": str(self._socket), **self._environment},
            )
            try:
                while b"READY=1" not in notify.recv(4096):
                    pass
            except TimeoutError:
                pytest.fail(f"ingest is not ready\n{self.log.read_text()[-3000:]}")

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait(10)

    async def stop(self) -> int:
        """SIGTERM; return the exit code. Within five seconds, as promised."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return await asyncio.to_thread(self.process.wait, 5)


MakeIngest = Callable[..., Awaitable[IngestProcess]]


@pytest.fixture
def make_ingest(tmp_path: Path) -> Iterator[MakeIngest]:
    started: list[IngestProcess] = []

    async def make(broker: Server, store: str, *, flags: Sequence[str] = (), **environment: str) -> IngestProcess:
        folder = tmp_path / f"i{len(started)}"
        folder.mkdir()
        one = IngestProcess(folder, f"mqtt://{broker.authority}", store, environment, flags)
        started.append(one)
        await one.start()
        return one

    yield make
    for one in started:
        if one.process is not None and one.process.poll() is None:
            one.kill()


@asynccontextmanager
async def connected_gateway(broker: Server, name: str = GATEWAY) -> AsyncIterator[Gateway]:
    async with aiomqtt.Client(broker.host, broker.port, identifier=name) as client:
        gateway = Gateway(client, name)
        await gateway.subscribe()
        listening = asyncio.create_task(gateway.listen())
        try:
            yield gateway
        finally:
            listening.cancel()
            with contextlib.suppress(asyncio.CancelledError, aiomqtt.MqttError):
                await listening


@pytest.fixture
async def influx2() -> AsyncIterator[Influx2]:
    """A strict imitation of InfluxDB 2 on IPv6 loopback; the test fails if it was used against its documentation."""
    imitation = Influx2()
    runner = web.AppRunner(imitation.app())
    await runner.setup()
    site = web.TCPSite(runner, "::1", 0)
    await site.start()
    port = runner.addresses[0][1]
    imitation.url = f"influx2://{TOKEN}@[::1]:{port}/{ORG}/{BUCKET}"
    yield imitation
    await runner.cleanup()
    assert not imitation.violations
