"""The agent as a process, in states that the demo is never in: no right clock, a broker that hangs, another name."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiomqtt
import pytest

from edge_agent.buffer import read_status
from tests.edge_agent.buffer.traces import traces
from tests.edge_agent.privacy.files import handle, policy_text, write_documents, write_keys
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from simulators.held import Shelf
    from tests.servers import MakeServer, Server

SITE, GATEWAY = "demo-school", "gw-101"
CARD = "62E3086CED"
MAX_BYTES = 64_000_000
PROGRAMS = Path(sys.executable).parent
NEVER_SYNCED = """
import pathlib, edge_agent.clock as clock
clock._TIMESYNCD, clock._kernel_synced = pathlib.Path("/nonexistent"), lambda: False
from edge_agent.cli import main; main()
"""
"""The agent on a machine whose clock nobody has set, wherever the test runs."""
FAULT_OF_OUR_OWN = """
import asyncio, edge_agent.agent as agent
async def fails(progress):
    while not sum(state.passed for state, _ in progress._polled) > 1:
        await asyncio.sleep(0.01)
    raise RuntimeError("a fault of our own")
agent.feed_watchdog = fails
from edge_agent.cli import main; main()
"""
DEAF_NAME_SERVER = """
import socket, time
known = socket.getaddrinfo
socket.getaddrinfo = lambda host, *more, **kw: time.sleep(30) if host == "school" else known(host, *more, **kw)
from edge_agent.cli import main; main()
"""
"""A name server that does not answer: the system's look-up cannot be cancelled."""
CONFIG = """
site = "{site}"
gateway = "{gateway}"
[mqtt]
url = "mqtt://{broker}"
[buffer]
path = "{folder}/buffer"
max_bytes = 64000000
[privacy]
key_file = "{folder}/keys.toml"
trusted_keys = ["{folder}/officer.pub"]
policy_file = "{folder}/policy.toml"
consents_file = "{folder}/consents.toml"
[clock]
assume_synced = {synced}
[health]
period_s = 0.5
[log]
level = "{level}"
[[link]]
name = "box"
kind = "tcp"
host = "{host}"
port = {port}
[[link]]
name = "usb"
kind = "serial"
path = "{reader}"
[[device]]
name = "air"
room = "r101"
profile = "modbus/airbox_tcp"
link = "box"
[[device]]
name = "gate"
room = "hall"
profile = "rfid/rdm6300"
link = "usb"
"""


class Gateway:
    """One gateway's files, an air box and a card reader; the agent is started as often as a test wants."""

    def __init__(self, folder: Path, devices: Shelf) -> None:
        self.folder = folder
        self.buffer = folder / "buffer"
        self.log = folder / "agent.log"
        self.box, self.reader = devices("modbus-tcp", seed=7), devices("rdm6300")
        write_keys(folder / "keys.toml", "attendance")
        write_documents(folder, policy=policy_text(), consents=[handle("attendance", CARD)])

    def command(
        self, broker: str, *, program: str = "from edge_agent.cli import main; main()", **changed: str
    ) -> list[str]:
        text = CONFIG.format(
            **{"site": SITE, "gateway": GATEWAY, "level": "info"} | changed,
            broker=broker,
            folder=self.folder,
            synced="false" if program == NEVER_SYNCED else "true",
            host=self.box.host,
            port=self.box.port,
            reader=self.reader.link,
        )
        config = self.folder / "agent.toml"
        config.write_text(text, encoding="utf-8")
        return [sys.executable, "-c", program, "run", "--config", str(config)]

    @contextlib.contextmanager
    def running(self, command: list[str]) -> Iterator[subprocess.Popen[bytes]]:
        with self.log.open("ab") as log, subprocess.Popen(command, stderr=log) as process:
            try:
                yield process
            finally:
                process.kill()

    def refused(self, command: list[str]) -> str:
        done = subprocess.run(command, capture_output=True, timeout=20, check=False)
        assert done.returncode == 78
        assert b"Traceback" not in done.stderr
        return done.stderr.decode()

    def waiting_values(self) -> int:
        return read_status(self.buffer, max_bytes=MAX_BYTES).values


@pytest.fixture
def gateway(tmp_path: Path, campus_device: Shelf) -> Gateway:
    return Gateway(tmp_path, campus_device)


def stopped_in_s(process: subprocess.Popen[bytes]) -> float:
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    assert process.wait(15) == 0
    return time.monotonic() - began


def delivered(device: Any, since: int = 0) -> int:
    return sum(1 for said in device.said() if said["delivered"]) - since


@contextlib.asynccontextmanager
async def hearing(broker: Server, channel: str) -> AsyncIterator[list[dict[str, Any]]]:
    heard: list[dict[str, Any]] = []
    async with aiomqtt.Client(broker.host, broker.port, identifier="listener") as client:
        await client.subscribe(f"campus/v1/{SITE}/{GATEWAY}/{channel}")

        async def hear() -> None:
            async for message in client.messages:
                heard.append(json.loads(bytes(message.payload)))  # type: ignore[arg-type]  # noqa: PERF401 - as they come

        task = asyncio.create_task(hear())
        try:
            yield heard
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


@contextlib.contextmanager
def ingest(folder: Path, broker: Server) -> Iterator[str]:
    config = folder / "ingest.toml"
    store = f"sqlite:///{folder}/store.db"
    config.write_text(
        f'data = "{folder}/ingest"\n[mqtt]\nurl = "mqtt://{broker.authority}"\nclient_id = "ingest"\n'
        f'[store]\nurl = "{store}"\n',
        encoding="utf-8",
    )
    command = [str(PROGRAMS / "cloud-ingest"), "run", "--config", str(config)]
    with (folder / "ingest.log").open("ab") as log, subprocess.Popen(command, stderr=log) as process:
        try:
            yield store
        finally:
            process.terminate()
            process.wait(10)


def stored(store: str, measurement: str) -> list[dict[str, Any]]:
    command = [str(PROGRAMS / "cloud-ingest"), "query", "--store", store, "--measurement", measurement]
    done = subprocess.run([*command, "--last", "all", "--format", "json"], capture_output=True, timeout=20, check=False)
    rows: list[dict[str, Any]] = json.loads(done.stdout) if done.returncode == 0 else []
    return rows


async def test_without_a_right_clock_it_runs_and_holds_and_a_restart_waits_on_disk(
    gateway: Gateway, make_mosquitto: MakeServer, tmp_path: Path
) -> None:
    mosquitto = make_mosquitto()
    async with hearing(mosquitto, "health") as heard:
        with gateway.running(gateway.command(mosquitto.authority, program=NEVER_SYNCED, level="debug")) as agent:
            await until(lambda: delivered(gateway.box) >= 2 and heard, within_s=15)
            gateway.reader.present(CARD, frames=6)
            await until(lambda: heard[-1]["counters"].get("clock.waited_samples", 0) >= 5, within_s=10)
            assert heard[-1]["clock"] == "unsynced"
            assert "buffer.values" not in heard[-1]["counters"]
            assert stopped_in_s(agent) < 5
    log = gateway.log.read_text(encoding="utf-8")
    assert CARD not in log
    assert r"\x02" not in log  # how each frame of a card begins: bytes that a library read and printed
    assert gateway.waiting_values() == 0
    assert not traces(gateway.buffer, CARD)

    with gateway.running(gateway.command(mosquitto.authority)), ingest(tmp_path, mosquitto) as store:
        await until(lambda: len(stored(store, "attendance")) == 1, within_s=15)
        await until(lambda: len(stored(store, "environment")) >= 3, within_s=10)
        assert not any("quality" in row for row in stored(store, "environment"))


async def test_another_name_is_refused_while_something_waits_and_so_is_a_second_agent(
    gateway: Gateway, closed_port: int
) -> None:
    nowhere = f"[::1]:{closed_port}"
    with gateway.running(gateway.command(nowhere)) as agent:
        await until(lambda: delivered(gateway.box) >= 2, within_s=15)
        assert "another process is using this buffer" in gateway.refused(gateway.command(nowhere))
        assert stopped_in_s(agent) < 5
    held = gateway.waiting_values()
    assert held >= 14
    for changed in ({"gateway": "gw-102"}, {"site": "other"}):
        if "site" in changed:
            write_keys(gateway.folder / "keys.toml", "attendance", site="other")
        told = gateway.refused(gateway.command(nowhere, **changed))
        assert "batches of gateway 'gw-101' of site 'demo-school' wait here to be sent" in told
        assert 'site = "demo-school", gateway = "gw-101"' in told
    assert gateway.waiting_values() == held


@pytest.fixture
def closed_port() -> int:
    with socket.socket(socket.AF_INET6) as probe:
        probe.bind(("::1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.parametrize("greeted", [False, True], ids=["never answers", "falls silent"])
async def test_sigterm_while_the_broker_hangs_keeps_everything_and_takes_less_than_five_seconds(
    gateway: Gateway, make_mosquitto: MakeServer, *, greeted: bool
) -> None:
    broker = make_mosquitto() if greeted else None
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as hanging:
        address = broker.authority if broker is not None else f"[::1]:{hanging.getsockname()[1]}"
        with gateway.running(gateway.command(address)) as agent:
            await until(lambda: delivered(gateway.box) >= 2, within_s=15)
            if broker is not None and broker.process is not None:
                broker.process.send_signal(signal.SIGSTOP)
            seen = delivered(gateway.box)
            await until(lambda: delivered(gateway.box) >= seen + 1, within_s=5)
            took = stopped_in_s(agent)
            said = delivered(gateway.box)
            if broker is not None and broker.process is not None:
                broker.process.send_signal(signal.SIGCONT)
    assert took < 5
    # All points of all readings; one may be lost on its way to the stopped agent, which never had it.
    assert gateway.waiting_values() >= 6 * (said - 1)


async def test_sigterm_while_a_name_server_hangs_takes_less_than_five_seconds_too(gateway: Gateway) -> None:
    with gateway.running(gateway.command("school:1883", program=DEAF_NAME_SERVER)) as agent:
        await until(lambda: delivered(gateway.box) >= 2, within_s=15)
        assert stopped_in_s(agent) < 5
    assert gateway.waiting_values() >= 6
    assert "never retrieved" not in gateway.log.read_text(encoding="utf-8")


async def test_a_fault_of_our_own_ends_it_but_what_it_had_is_on_disk(gateway: Gateway, closed_port: int) -> None:
    with gateway.running(gateway.command(f"[::1]:{closed_port}", program=FAULT_OF_OUR_OWN)) as agent:
        assert await asyncio.to_thread(agent.wait, 15) == 1
    assert "a fault of our own" in gateway.log.read_text(encoding="utf-8")
    assert gateway.waiting_values() >= 7 + 1  # the gateway's own row, and a reading of the air


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small disk")
async def test_a_disk_that_is_full_at_the_start_or_cannot_be_written_is_named(
    gateway: Gateway, closed_port: int, small_disk: Callable[[str], Path]
) -> None:
    gateway.buffer.symlink_to(small_disk("ro"))
    told = gateway.refused(gateway.command(f"[::1]:{closed_port}"))
    assert "buffer.path" in told
    assert "Read-only file system" in told


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    mounted: list[Path] = []

    def mount(options: str) -> Path:
        folder = tmp_path / f"disk-{len(mounted)}"
        folder.mkdir()
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size=1m,{options}", "tmpfs", str(folder)],
            capture_output=True,
            check=False,
        )
        if done.returncode:
            pytest.skip("nothing can be mounted here")
        mounted.append(folder)
        return folder

    yield mount
    for folder in mounted:
        subprocess.run(["umount", "-l", str(folder)], check=True)
