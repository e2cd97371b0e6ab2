"""A serial link on a real pty: opening, locking, unplugging and plugging in again."""

import asyncio
import fcntl
import os
import subprocess
import sys
import time
from contextlib import asynccontextmanager

import pytest

from drivers.links import SerialLink
from telemetry.counters import Counters
from telemetry.errors import DeviceUnavailable
from tests.waiting import until

LOCK = (
    "import fcntl, sys; file = open(sys.argv[1], 'rb', buffering=0); fcntl.flock(file, fcntl.LOCK_EX);"
    "print('locked', flush=True); input()"
)


@asynccontextmanager
async def opened(path, counters=None):
    link = SerialLink("bus", counters or Counters(), path=str(path))
    try:
        yield link
    finally:
        await link.close()


async def test_bytes_go_both_ways(plug):
    async with opened(plug.link) as link:
        async with link.turn() as port:
            port.write(b"ask\x00\xff\n\r")
            os.write(plug.master, b"reply\x11\x13\x03")
            received = b""
            while len(received) < 8:
                received += await port.receive()
            assert received == b"reply\x11\x13\x03"
            assert os.read(plug.master, 100) == b"ask\x00\xff\n\r"
        assert link.is_open
    assert not link.is_open


async def test_the_link_opens_at_the_first_turn_and_stays_open(plug):
    counters = Counters()
    async with opened(plug.link, counters) as link:
        assert (link.opened, link.is_open) == (0, False)
        async with link.turn() as first:
            assert first.is_open
        async with link.turn() as second:
            assert second is first
        assert link.opened == counters.get("link.bus.opened") == 1


async def test_a_port_that_is_not_there_is_unavailable_and_named(tmp_path):
    async with opened(tmp_path / "absent") as link:
        for _ in range(2):
            with pytest.raises(DeviceUnavailable, match="absent"):
                async with link.turn():
                    pytest.fail("opened")
        assert (link.opened, link.is_open) == (0, False)


@pytest.mark.parametrize("kind", ["folder", "file", "null"])
async def test_what_is_no_serial_port_is_unavailable(tmp_path, kind):
    path = tmp_path / kind
    if kind == "folder":
        path.mkdir()
    elif kind == "file":
        path.write_bytes(b"")
    else:
        path.symlink_to(os.devnull)
    async with opened(path) as link:
        with pytest.raises(DeviceUnavailable):
            async with link.turn():
                pytest.fail("opened")


async def test_an_unplugged_port_is_an_error_at_once(plug):
    async with opened(plug.link) as link:
        async with asyncio.timeout(5), link.turn() as port:
            waiting = asyncio.create_task(port.receive())
            await asyncio.sleep(0)
            plug.unplug()
            with pytest.raises(DeviceUnavailable, match="lost"):
                await waiting
        assert not link.is_open


async def test_what_was_received_before_the_loss_is_still_read(plug):
    async with opened(plug.link) as link, asyncio.timeout(5), link.turn() as port:
        os.write(plug.master, b"last words")
        assert await port.receive() == b"last words"
        plug.unplug()
        with pytest.raises(DeviceUnavailable):
            await port.receive()


async def test_writing_to_a_lost_port_is_unavailable(plug):
    async with opened(plug.link) as link, link.turn() as port:
        plug.unplug()
        await until(lambda: not port.is_open)
        with pytest.raises(DeviceUnavailable, match="lost"):
            port.write(b"x")


async def test_after_plugging_in_again_the_stable_link_leads_to_the_new_port(plug):
    async with opened(plug.link) as link:
        async with asyncio.timeout(5), link.turn() as port:
            plug.unplug()
            with pytest.raises(DeviceUnavailable):
                await port.receive()
        with pytest.raises(DeviceUnavailable):
            async with link.turn():
                pytest.fail("opened while unplugged")
        plug.plug()
        async with asyncio.timeout(5), link.turn() as port:
            os.write(plug.master, b"back")
            assert await port.receive() == b"back"
        assert link.opened == 2


async def test_a_port_lost_between_two_turns_is_opened_anew_by_the_next(plug):
    async with opened(plug.link) as link:
        async with link.turn():
            pass
        plug.unplug()
        plug.plug()
        await until(lambda: not link.is_open)
        async with asyncio.timeout(5), link.turn() as port:
            os.write(plug.master, b"back")
            assert await port.receive() == b"back"


async def test_a_dropped_port_can_be_opened_again_at_once(plug):
    async with opened(plug.link) as link:
        for _ in range(3):
            async with link.turn() as port:
                assert port.is_open
            link.drop()
            assert not link.is_open


async def test_a_port_that_another_process_locked_is_unavailable(plug):
    other = await asyncio.create_subprocess_exec(
        sys.executable, "-c", LOCK, str(plug.link), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert await other.stdout.readline() == b"locked\n"
    async with opened(plug.link) as link:
        with pytest.raises(DeviceUnavailable, match="locked by another process"):
            async with link.turn():
                pytest.fail("opened")
        await other.communicate(b"\n")
        async with link.turn() as port:
            assert port.is_open


async def test_an_open_port_is_locked_and_a_closed_one_is_not(plug):
    held = os.open(plug.link, os.O_RDWR | os.O_NOCTTY)
    try:
        async with opened(plug.link) as link, link.turn():
            with pytest.raises(BlockingIOError):
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    finally:
        os.close(held)


async def test_a_second_link_to_the_same_port_is_refused(plug):
    async with opened(plug.link) as first, opened(plug.link) as second, first.turn():
        with pytest.raises(DeviceUnavailable, match="locked"):
            async with second.turn():
                pytest.fail("opened twice")


def test_bytes_take_their_time_on_the_wire():
    link = SerialLink("bus", Counters(), path="/dev/null", baudrate=9600)
    assert link.seconds_on_wire(96) == pytest.approx(0.11)
    assert link.seconds_on_wire(0) == 0


async def test_opening_never_blocks_the_loop_for_long(plug):
    async with opened(plug.link) as link:
        longest, last, done = 0.0, time.monotonic(), asyncio.Event()

        async def watch():
            nonlocal longest, last
            while not done.is_set():
                await asyncio.sleep(0)
                longest, last = max(longest, time.monotonic() - last), time.monotonic()

        watching = asyncio.create_task(watch())
        async with link.turn():
            done.set()
        await watching
        assert longest < 0.5
