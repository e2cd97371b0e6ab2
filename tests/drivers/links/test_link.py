"""Turns are fair, overruns are counted, TCP links work over IPv6 and IPv4 and heal."""

import asyncio
import socket
from contextlib import asynccontextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.links import Link, Port, TcpLink
from drivers.links.port import MAX_PENDING_BYTES
from telemetry.counters import Counters
from telemetry.errors import DeviceUnavailable
from tests.waiting import until


class Far:
    """The far end of TCP connections: a server whose connections the test holds."""

    def __init__(self) -> None:
        self.accepted: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = asyncio.Queue()
        self.port = 0
        self._writers: list[asyncio.StreamWriter] = []
        self._server: asyncio.Server | None = None

    async def listen(self, host: str, port: int = 0) -> None:
        async def take(reader, writer):
            self._writers.append(writer)
            self.accepted.put_nowait((reader, writer))

        self._server = await asyncio.start_server(take, host, port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()
        await self._server.wait_closed()


@asynccontextmanager
async def far_end(host="::1"):
    far = Far()
    await far.listen(host)
    try:
        yield far
    finally:
        await far.stop()


@asynccontextmanager
async def linked(host, port, counters=None):
    link = TcpLink("box", counters or Counters(), host=host, port=port)
    try:
        yield link
    finally:
        await link.close()


@pytest.mark.parametrize("host", ["::1", "127.0.0.1", "localhost"])
async def test_bytes_go_both_ways(host):
    async with far_end("127.0.0.1" if host == "127.0.0.1" else host) as far, linked(host, far.port) as link:
        async with link.turn() as port:
            reader, writer = await far.accepted.get()
            port.write(b"ask")
            assert await reader.readexactly(3) == b"ask"
            writer.write(b"reply")
            assert await port.receive() == b"reply"
        assert link.seconds_on_wire(1000) == 0


async def test_turns_are_first_come_first_served():
    async with far_end() as far, linked("::1", far.port) as link:
        order, inside = [], 0

        async def take(number):
            nonlocal inside
            async with link.turn():
                inside += 1
                assert inside == 1
                order.append(number)
                await asyncio.sleep(0)
                inside -= 1

        async with asyncio.TaskGroup() as group:
            for number in range(10):
                group.create_task(take(number))
        assert order == list(range(10))
        assert link.opened == 1


async def test_a_user_who_asks_again_queues_behind_the_others():
    async with far_end() as far, linked("::1", far.port) as link:
        order = []

        async def ask(name, times):
            for _ in range(times):
                async with link.turn():
                    order.append(name)
                    await asyncio.sleep(0)

        async with asyncio.TaskGroup() as group:
            for name in "abc":
                group.create_task(ask(name, 3))
        assert order == list("abcabcabc")


async def test_a_turn_given_up_while_waiting_is_handed_on():
    async with far_end() as far, linked("::1", far.port) as link:
        async with link.turn():
            waiting = asyncio.create_task(link.turn().__aenter__())
            await asyncio.sleep(0)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
        async with asyncio.timeout(5), link.turn() as port:
            assert port.is_open


async def test_a_refused_connection_is_unavailable():
    async with far_end() as far:
        port = far.port
    async with linked("::1", port) as link:
        with pytest.raises(DeviceUnavailable, match="link box cannot be opened"):
            async with link.turn():
                pytest.fail("opened")


@pytest.mark.parametrize("host", ["a..b", "x" * 70, ""])
async def test_a_host_that_is_none_is_unavailable_not_a_crash(host):
    async with linked(host, 1) as link:
        with pytest.raises(DeviceUnavailable):
            async with link.turn():
                pytest.fail("opened")


async def test_opening_has_a_deadline():
    class Deaf(Link):
        async def _open(self):
            await asyncio.Event().wait()

    link = Deaf("deaf", Counters(), open_timeout_s=0.01)
    with pytest.raises(DeviceUnavailable, match=r"did not open in 0\.01 s"):
        async with link.turn():
            pytest.fail("opened")


async def test_a_connection_that_the_other_end_closes_is_lost_at_once_and_opened_again():
    async with far_end() as far, linked("::1", far.port) as link:
        async with asyncio.timeout(5), link.turn() as port:
            _, writer = await far.accepted.get()
            writer.transport.abort()
            with pytest.raises(DeviceUnavailable, match="closed by the other end"):
                await port.receive()
        async with link.turn() as port:
            _, writer = await far.accepted.get()
            writer.write(b"back")
            assert await port.receive() == b"back"
        assert link.opened == 2


async def test_a_connection_lost_between_two_turns_is_opened_anew_by_the_next():
    async with far_end() as far, linked("::1", far.port) as link:
        async with link.turn():
            _, writer = await far.accepted.get()
        writer.transport.abort()
        await until(lambda: not link.is_open)
        async with asyncio.timeout(5), link.turn() as port:
            port.write(b"x")
            reader, _ = await far.accepted.get()
            assert await reader.readexactly(1) == b"x"


async def test_a_silent_dead_peer_is_noticed():
    async with far_end() as far, linked("::1", far.port) as link, link.turn() as port:
        connection = port._transport.get_extra_info("socket")
        assert connection.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 5000


async def test_overrun_bytes_are_counted_and_the_newest_are_kept():
    counters = Counters()
    async with far_end() as far, linked("::1", far.port, counters) as link, link.turn() as port:
        _, writer = await far.accepted.get()
        sent = bytes(i % 251 for i in range(MAX_PENDING_BYTES + 5000))
        writer.write(sent)
        await until(lambda: counters.get("link.box.overrun_bytes") >= 5000)
        assert counters.get("link.box.overrun_bytes") == 5000
        assert await port.receive() == sent[5000:]


@given(st.lists(st.binary(min_size=1, max_size=3 * MAX_PENDING_BYTES // 2), max_size=4))
def test_what_is_pending_is_bounded_and_every_dropped_byte_is_counted(pieces):
    counters = Counters()
    port = Port("p", counters)
    for piece in pieces:
        port.data_received(piece)
    whole = b"".join(pieces)
    kept = port.discard()
    assert kept == min(len(whole), MAX_PENDING_BYTES)
    assert counters.get("link.p.overrun_bytes") == len(whole) - kept
    assert port.discard() == 0


async def test_a_port_that_never_opened_cannot_be_used():
    port = Port("p", Counters())
    assert not port.is_open
    with pytest.raises(DeviceUnavailable, match="not open"):
        port.write(b"x")
    port.close()
    with pytest.raises(DeviceUnavailable):
        await port.receive()
