"""Pain 19: the power of a whole district comes back, and a thousand gateways want the same broker at once."""

from __future__ import annotations

import asyncio
import contextlib
import random
import ssl
import struct
import sys
import time
from typing import TYPE_CHECKING

import pytest

from edge_agent.publisher.backoff import CAP_S, Backoff
from edge_agent.publisher.connection import CONNACK_S, CONNECT_S
from edge_agent.publisher.window import HELLO_JITTER_S, Window
from telemetry.topics import Flow
from tests.edge_agent.publisher.helpers import FakeBatch
from tests.edge_agent.publisher.herd import LOGINS_PER_S, Herd, reconnect

if TYPE_CHECKING:
    from pathlib import Path

    from tests.servers import MakeServer, Server

GATEWAYS = 1000


def test_pain_19_a_thousand_agents_boot_at_the_same_moment() -> None:
    """The first attempt waits for nothing, so that a start is quick: the broker is done before anybody gives up."""
    herd = reconnect(GATEWAYS, lost=False)
    assert len(herd.attempts) == GATEWAYS
    assert max(herd.connected) <= GATEWAYS / LOGINS_PER_S + 0.01 < CONNECT_S


@pytest.mark.parametrize("down_s", [0.0, 2.0, 5.0, 60.0, 600.0])
def test_pain_19_a_thousand_agents_lose_their_broker(down_s: float) -> None:
    herd = reconnect(GATEWAYS, down_s=down_s, lost=True)
    assert len(herd.connected) == GATEWAYS
    assert max(herd.connected) <= down_s + CAP_S + 1, "whoever tried just before it came back waits the cap"
    assert herd.most_in_a_second <= 2 * GATEWAYS, "most of them are refused at once, which costs a machine nothing"
    back = Herd(attempts=[at for at in herd.attempts if at >= down_s])
    assert back.most_in_a_second <= LOGINS_PER_S
    if down_s > 60:
        assert herd.per_s(500) <= 2 * GATEWAYS / CAP_S * 1.5, (
            "full jitter about a cap of 30 s: two a second for each 30"
        )
        assert back.most_in_a_second <= 100


@pytest.mark.parametrize("gateways", [5_000, 10_000])
def test_pain_19_more_than_a_broker_takes_at_once_get_in_all_the_same(gateways: int) -> None:
    herd = reconnect(gateways, lost=False)
    assert len(herd.connected) == gateways
    assert max(herd.connected) <= 60
    assert len(herd.attempts) <= 4 * gateways, "few attempts are in vain, though a broker works on those too"


def test_pain_19_a_greeting_is_not_answered_at_once() -> None:
    """The ingest that comes back greets all gateways; each probes with one batch, spread over a second."""
    at = []
    for seed in range(GATEWAYS):
        window = Window(random=random.Random(seed).random)  # noqa: S311
        window.connected(0.0)
        window.sent(window.add(FakeBatch(number=1), Flow.LIVE), 0.0)
        window.ingest_here(5.0)
        due = window.next_at(5.0)
        assert due is not None
        at.append(due)
        assert window.next_resend(due) is not None
    assert 5.0 <= min(at) <= max(at) <= 5.0 + HELLO_JITTER_S
    tenths = [sum(5.0 + tenth / 10 <= one < 5.1 + tenth / 10 for one in at) for tenth in range(10)]
    assert max(tenths) <= 2 * GATEWAYS * 0.1


async def log_in(server: Server, context: ssl.SSLContext, number: int) -> asyncio.StreamWriter:
    """TCP, TLS with certificates on both sides, CONNECT and CONNACK; and no more, so that one process can be a herd."""
    name = b"gw-%04d" % number
    rest = b"\0\4MQTT\4\2\0\x1e" + struct.pack(">H", len(name)) + name
    async with asyncio.timeout(CONNECT_S + CONNACK_S):
        reader, writer = await asyncio.open_connection(server.host, server.port, ssl=context)
        writer.write(bytes([0x10, len(rest)]) + rest)
        assert await reader.readexactly(4) == b"\x20\2\0\0"
    return writer


async def stay(server: Server, context: ssl.SSLContext, number: int, herd: Herd, writers: list[object]) -> None:
    """Connect as a publisher does."""
    backoff = Backoff(random=random.Random(number).random)  # noqa: S311
    while True:
        herd.attempts.append(time.monotonic())
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, TimeoutError):
            writers.append(await log_in(server, context, number))
            herd.connected.append(time.monotonic())
            return
        unanswered = time.monotonic() - herd.attempts[-1] >= CONNECT_S
        await asyncio.sleep(backoff.after_failure(unanswered=unanswered))


@pytest.mark.long
@pytest.mark.timeout(300)
@pytest.mark.server("mosquitto")
async def test_pain_19_a_thousand_at_a_real_broker_with_certificates(
    make_mosquitto: MakeServer, certificates: Path
) -> None:
    server = make_mosquitto(
        extra=f"allow_anonymous true\ncafile {certificates}/ca.pem\ncertfile {certificates}/server.pem\n"
        f"keyfile {certificates}/server.key\nrequire_certificate true\n"
    )
    context = ssl.create_default_context(cafile=str(certificates / "ca.pem"))
    context.load_cert_chain(certificates / "client.pem", certificates / "client.key")
    for outage in ("boot", "restart"):
        herd, writers = Herd(), list[object]()
        if outage == "restart":
            server.kill()
        began = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for number in range(GATEWAYS):
                group.create_task(stay(server, context, number, herd, writers))
            if outage == "restart":
                await asyncio.sleep(3.0)
                await asyncio.to_thread(server.start)
        took_s = max(herd.connected) - began
        sys.stderr.write(
            f"{outage}: {len(herd.attempts)} attempts, {herd.most_in_a_second} in a second, {took_s:.1f} s\n"
        )
        assert len(herd.connected) == GATEWAYS
        assert took_s <= 3.0 + CAP_S + 10
        for writer in writers:
            assert isinstance(writer, asyncio.StreamWriter)
            writer.transport.abort()
