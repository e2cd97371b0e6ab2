"""Brokers that speak 3.1.1 only, brokers that hang up, and TLS that never gives way to plain text."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import pytest
from amqtt.broker import Broker as EmbeddedBroker  # type: ignore[import-untyped]

from edge_agent.publisher import Broker
from tests.edge_agent.publisher.helpers import FakeOutbox, broker_of, ingest, published, until
from tests.servers import free_port, wait_for_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.servers import MakeServer


@contextlib.asynccontextmanager
async def embedded() -> AsyncIterator[int]:
    """An amqtt broker, which speaks 3.1.1 only."""
    port = free_port("127.0.0.1")
    config: dict[str, Any] = {
        "listeners": {"default": {"type": "tcp", "bind": f"127.0.0.1:{port}"}},
        "plugins": {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}},
    }
    broker = EmbeddedBroker(config)
    await broker.start()
    try:
        yield port
    finally:
        await broker.shutdown()


async def test_auto_falls_back_to_3_1_1_when_the_broker_refuses_5() -> None:
    async with embedded() as port, published(Broker(host="127.0.0.1", port=port)) as (publisher, outbox, counters):
        outbox.put(1)
        await until(lambda: publisher.connected and publisher.in_flight == 1)
        assert counters.get("publisher.connection_errors") == 0


async def test_5_is_not_forced_back(caplog: pytest.LogCaptureFixture) -> None:
    async with (
        embedded() as port,
        published(Broker(host="127.0.0.1", port=port, protocol="5")) as (publisher, _, counters),
    ):
        await until(lambda: counters.get("publisher.connection_errors") >= 1)
        assert not publisher.connected
        assert publisher.problem is not None
        assert "did not answer" in publisher.problem


async def test_a_broker_that_hangs_up_is_tried_with_3_1_1_at_once() -> None:
    levels: list[int] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connect = await reader.read(4096)
        levels.append(connect[connect.index(b"MQTT") + 4])
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server, published(Broker(host="127.0.0.1", port=server.sockets[0].getsockname()[1])):
        await until(lambda: len(levels) >= 4)
    assert levels[:4] == [5, 4, 5, 4]


@pytest.mark.server("mosquitto")
async def test_tls_with_client_certificates(make_mosquitto: MakeServer, certificates: Path) -> None:
    plain = free_port("::1")
    server = make_mosquitto(
        extra=f"allow_anonymous true\ncafile {certificates}/ca.pem\ncertfile {certificates}/server.pem\n"
        f"keyfile {certificates}/server.key\nrequire_certificate true\nlistener {plain} ::1\n"
    )
    good: dict[str, Any] = {
        "tls": True,
        "ca_file": certificates / "ca.pem",
        "cert_file": certificates / "client.pem",
        "key_file": certificates / "client.key",
    }
    # The fixture waited for the first listener only.
    assert server.process is not None
    wait_for_port("::1", plain, server.process, server.log)
    server_plain = type(server)(command=[], host="::1", port=plain, folder=server.folder)
    async with ingest(server_plain), published(broker_of(server, **good)) as (_, outbox, _):
        outbox.put(*range(20))
        await until(lambda: len(outbox.stored) == 20)
    for wrong in ({"ca_file": certificates / "other.pem"}, {"cert_file": None, "key_file": None}):
        async with published(broker_of(server, **(good | wrong))) as (publisher, outbox, counters):
            outbox.put(1)
            await until(lambda counters=counters: counters.get("publisher.connection_errors") >= 2)  # type: ignore[misc]
            assert not publisher.connected
            assert outbox.taken == {}
    # A TLS client at a plain listener gets nowhere; it never tries without TLS.
    async with published(broker_of(server_plain, **good), FakeOutbox()) as (publisher, outbox, counters):
        outbox.put(1)
        await until(lambda: counters.get("publisher.connection_errors") >= 1)
        assert not publisher.connected
    async with published(broker_of(server, **(good | {"ca_file": certificates / "none.pem"}))) as (publisher, _, _):
        await until(lambda: publisher.problem is not None)
        assert "none.pem" in str(publisher.problem)
