"""How the ingest ends: in time whatever hangs, and with the exit code that says why."""

from __future__ import annotations

import asyncio
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import aiomqtt

from tests.cloud_ingest.conftest import ROOT, MakeIngest, connected_gateway
from tests.cloud_ingest.gateway import attendance, batch

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.cloud_ingest.influx2_imitation import Influx2
    from tests.servers import Server

DEAF_NAME_SERVER = """
import socket, sys, time
known = socket.getaddrinfo
def look_up(host, *more, **kw):
    if host == "school":
        sys.stderr.write("asked\\n")
        time.sleep(30)
    return known(host, *more, **kw)
socket.getaddrinfo = look_up
from cloud_ingest.cli import main; main()
"""
CONNACK = b"\x20\x03\x00\x00\x00"


async def test_a_store_that_turns_out_unusable_is_78(
    mosquitto: Server, make_ingest: MakeIngest, tmp_path: Path, influx2: Influx2
) -> None:
    """It did not answer at the start; when it does, it is one that cannot erase, and person data are routed to it."""
    influx2.down = True
    routes = f'{{"personal": "{influx2.url}"}}'
    ingest = await make_ingest(mosquitto, f"sqlite://{tmp_path}/s.sqlite", CAMPUS_INGEST_STORE__ROUTES=routes)
    influx2.down = False
    influx2.version = "3.0.1"
    async with connected_gateway(mosquitto) as gateway:
        await gateway.send(attendance(1))
        assert ingest.process is not None
        assert await asyncio.to_thread(ingest.process.wait, 10) == 78
    log = ingest.log.read_text()
    assert "store.routes.personal" in log
    assert "Traceback" not in log


@asynccontextmanager
async def silent_after(greeting: bytes) -> AsyncIterator[tuple[str, asyncio.Event]]:
    """A broker that accepts the connection and then says no more, as behind a cut line."""
    greeted, done = asyncio.Event(), asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(200)
        writer.write(greeting)
        greeted.set()
        await done.wait()
        writer.close()

    server = await asyncio.start_server(serve, "::1", 0)
    try:
        yield f"mqtt://[::1]:{server.sockets[0].getsockname()[1]}", greeted
    finally:
        done.set()
        server.close()
        await server.wait_closed()


async def test_stop_does_not_wait_for_a_subscription(tmp_path: Path) -> None:
    async with silent_after(CONNACK) as (url, greeted):
        process = subprocess.Popen(  # noqa: ASYNC220 - returns at once
            [
                *(sys.executable, "-m", "cloud_ingest.cli", "run", "--mqtt", url),
                *("--store", f"sqlite://{tmp_path}/s.sqlite", "--data", str(tmp_path / "ingest")),
            ],
            cwd=ROOT,
        )
        try:
            async with asyncio.timeout(20):
                await greeted.wait()
            await asyncio.sleep(0.5)
            started = time.monotonic()
            process.send_signal(signal.SIGTERM)
            assert await asyncio.to_thread(process.wait, 15) == 0
            assert time.monotonic() - started < 5
        finally:
            process.kill()


async def test_stop_does_not_wait_for_a_name_server(tmp_path: Path) -> None:
    log = tmp_path / "log"
    store = f"sqlite://{tmp_path}/s.sqlite"
    arguments = ("run", "--mqtt", "mqtt://school", "--store", store, "--data", str(tmp_path / "ingest"))
    with log.open("wb") as stderr:
        process = subprocess.Popen(  # noqa: ASYNC220 - returns at once
            [sys.executable, "-c", DEAF_NAME_SERVER, *arguments], cwd=ROOT, stderr=stderr
        )
    try:
        async with asyncio.timeout(20):
            while "asked" not in log.read_text():  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        started = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(process.wait, 40) == 0
        assert time.monotonic() - started < 5
        assert (tmp_path / "ingest" / "counters.json").is_file()
    finally:
        process.kill()


async def test_stop_with_a_half_open_broker(mosquitto: Server, make_ingest: MakeIngest, tmp_path: Path) -> None:
    ingest = await make_ingest(mosquitto, f"sqlite://{tmp_path}/s.sqlite")
    assert mosquitto.process is not None
    async with connected_gateway(mosquitto) as gateway:
        await gateway.send(*(batch(number) for number in range(1, 10)))
        mosquitto.process.send_signal(signal.SIGSTOP)
        try:
            assert await ingest.stop() == 0
        finally:
            mosquitto.process.send_signal(signal.SIGCONT)


async def test_stop_with_a_locked_store(mosquitto: Server, make_ingest: MakeIngest, tmp_path: Path) -> None:
    ingest = await make_ingest(mosquitto, f"sqlite://{tmp_path}/s.sqlite")
    other = sqlite3.connect(tmp_path / "s.sqlite", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    async with connected_gateway(mosquitto) as gateway:
        for number in range(1, 4):
            await gateway.send(batch(number))
            await asyncio.sleep(0.2)
        assert await ingest.stop() == 0
    other.execute("ROLLBACK")
    other.close()


async def test_the_protocol_that_worked_is_kept_after_the_connection_is_lost(
    mosquitto: Server, make_ingest: MakeIngest, tmp_path: Path
) -> None:
    """MQTT 3.1.1 has no Receive Maximum: falling back to it for no reason would lose the bound."""
    ingest = await make_ingest(mosquitto, f"sqlite://{tmp_path}/s.sqlite")
    for _ in range(2):
        before = ingest.log.read_text().count("connected to")
        async with aiomqtt.Client(mosquitto.host, mosquitto.port, identifier="ingest-1"):
            await asyncio.sleep(0.1)
        async with asyncio.timeout(15):
            while ingest.log.read_text().count("connected to") == before:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
    assert await ingest.stop() == 0
    assert "MQTT 3.1.1" not in ingest.log.read_text()


async def test_many_batches_for_a_dead_store_do_not_stop_the_other(
    mosquitto: Server, make_ingest: MakeIngest, influx2: Influx2, tmp_path: Path
) -> None:
    """More than Receive Maximum: unacknowledged to the broker, they would keep everything else out."""
    influx2.down = True
    routes = f'{{"open": "{influx2.url}"}}'
    limits = {"CAMPUS_INGEST_STORE__ROUTES": routes, "CAMPUS_INGEST_MQTT__RECEIVE_MAXIMUM": "10"}
    ingest = await make_ingest(mosquitto, f"sqlite://{tmp_path}/s.sqlite", **limits)
    async with connected_gateway(mosquitto) as gateway:
        await gateway.send(batch(1))
        await gateway.until(lambda ack: ack.retry_after_s > 0)
        await gateway.send(*(batch(number) for number in range(2, 40)))
        await gateway.send(*(batch(number) for number in range(1, 40)))
        await gateway.send(attendance(50))
        await gateway.stored(50, within=1.5)
        assert not influx2.points
        influx2.down = False
        for number in range(1, 40):
            await gateway.stored(number)
    assert await ingest.stop() == 0
    assert len(influx2.points) == 39
