from __future__ import annotations

import asyncio
import contextlib
import os
import random
import termios
from typing import TYPE_CHECKING

import pytest

from simulators.faults import Active, Faults
from simulators.wire import PtyCable
from telemetry.counters import Counters
from tests.simulators.conftest import opened, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

FAST = 115200


@contextlib.asynccontextmanager
async def plugged(link: Path, *, faults: Faults | None = None, baudrate: int = FAST) -> AsyncIterator[PtyCable]:
    rng = random.Random(1)  # noqa: S311 - damage needs a seed, no secrecy
    cable = PtyCable(baudrate=baudrate, link=link, rng=rng, faults=faults or Faults(), counters=Counters())
    cable.plug()
    try:
        yield cable
    finally:
        cable.close()


@pytest.fixture
async def cable(tmp_path: Path) -> AsyncIterator[PtyCable]:
    async with plugged(tmp_path / "port") as cable:
        yield cable


async def test_it_knows_whether_the_port_is_open(cable: PtyCable) -> None:
    assert not cable.is_open
    with opened(str(cable.link)):
        await until(lambda: cable.is_open)
        assert cable.session == 1
    await until(lambda: not cable.is_open)
    with opened(str(cable.link)):
        await until(lambda: cable.session == 2)


async def test_it_knows_when_its_reader_throws_away_what_lies_in_the_port(cable: PtyCable) -> None:
    with opened(str(cable.link)) as port:
        await until(lambda: cable.is_open)
        before = await cable.send(b"thrown away")
        termios.tcflush(port.fd, termios.TCIFLUSH)
        after = await cable.send(b"heard")
        assert await port.read(100, within=0.2) == b"heard"
    assert after.session == before.session + 1
    assert before.opened_ns < before.at_ns <= after.opened_ns < after.at_ns


async def test_what_nobody_hears_is_not_delivered_and_never_turns_up_later(cable: PtyCable) -> None:
    assert (await cable.send(b"lost")).fault == "unheard"
    with opened(str(cable.link)) as port:
        assert (await cable.send(b"heard")).fault is None
        assert await port.read(100, within=0.2) == b"heard"


async def test_a_reader_gets_nothing_that_was_meant_for_the_one_before(cable: PtyCable) -> None:
    with opened(str(cable.link)):
        assert (await cable.send(b"for the first")).fault is None
    await until(lambda: not cable.is_open)
    with opened(str(cable.link)) as port:
        assert (await cable.send(b"second")).fault is None
        assert await port.read(100, within=0.2) == b"second"


async def test_a_reader_that_leaves_in_the_middle_has_not_heard_it(tmp_path: Path) -> None:
    async with plugged(tmp_path / "port", baudrate=1200) as cable:
        with opened(str(cable.link)) as port:
            sending = asyncio.create_task(cable.send(bytes(24)))
            assert await port.read(8) == bytes(8)
        assert (await sending).fault == "unheard"


async def test_a_speed_set_by_one_reader_does_not_stay(cable: PtyCable) -> None:
    with opened(str(cable.link)) as port:
        settings = termios.tcgetattr(port.fd)
        settings[4] = settings[5] = termios.B1200
        termios.tcsetattr(port.fd, termios.TCSANOW, settings)
        await until(lambda: cable.is_open)
        assert (await cable.send(b"1234")).fault == "baudrate"
        assert await port.read(4) != b"1234"
    await until(lambda: not cable.is_open)
    with opened(str(cable.link)) as port:
        assert (await cable.send(b"1234")).fault is None


async def test_bytes_take_their_time_and_come_in_pieces(tmp_path: Path) -> None:
    loop = asyncio.get_running_loop()
    async with plugged(tmp_path / "port", baudrate=2400) as cable:
        with opened(str(cable.link)) as port:
            began = loop.time()
            sending = asyncio.create_task(cable.send(bytes(range(24))))
            assert await port.read(1) == b"\0"
            first = loop.time() - began
            assert await port.read(23) == bytes(range(1, 24))
            assert loop.time() - began >= 24 * 10 / 2400 > first
            await sending


async def test_damage_and_loss_are_noticed(tmp_path: Path) -> None:
    faults = Faults()
    async with plugged(tmp_path / "port", faults=faults) as cable:
        with opened(str(cable.link)) as port:
            await until(lambda: cable.is_open)
            for name in ("corruption", "drop"):
                faults.begin(Active(name=name, rate=0.1))
                for _ in range(20):
                    delivery = await cable.send(b"0123456789")
                    arrived = await port.read(10, within=0.05)
                    assert (arrived == b"0123456789") == (delivery.fault is None)
                    assert delivery.fault in (None, name)
                faults.clear()


async def test_an_unread_port_never_blocks_the_device(cable: PtyCable) -> None:
    with opened(str(cable.link)):
        await until(lambda: cable.is_open)
        cable._char_s = 0.0
        async with asyncio.timeout(20):
            while (delivery := await cable.send(bytes(2048))).fault is None:
                pass
        assert delivery.fault == "overrun"


async def test_receive_ends_a_frame_at_a_silence(tmp_path: Path) -> None:
    async with plugged(tmp_path / "port", baudrate=9600) as cable:
        with opened(str(cable.link)) as port:
            port.write(b"one request")
            assert await cable.receive() == b"one request"
            port.write(b"the ")
            await asyncio.sleep(0.001)
            port.write(b"next")
            assert await cable.receive() == b"the next"


async def test_a_flood_of_bytes_is_dropped_not_kept(tmp_path: Path) -> None:
    async with plugged(tmp_path / "port") as cable:
        with opened(str(cable.link)) as port:
            sent = 0
            while sent < 20000:
                with contextlib.suppress(BlockingIOError):
                    sent += os.write(port.fd, bytes(1000))
                await asyncio.sleep(0)
            await until(lambda: cable._counters.get("wire.received.overrun"))
            assert len(cable._incoming) <= 4096


async def test_unplug_is_a_hang_up_without_a_link_and_replug_brings_both_back(cable: PtyCable) -> None:
    with opened(str(cable.link)) as port:
        await until(lambda: cable.is_open)
        cable.unplug()
        assert not cable.link.is_symlink()
        assert await port.hung_up()
        assert (await cable.send(b"x")).fault == "unplug"
        cable.plug()
        with opened(str(cable.link)) as again:
            assert (await cable.send(b"back")).fault is None
            assert await again.read(4) == b"back"


async def test_a_stale_link_is_replaced_and_anothers_is_left(tmp_path: Path) -> None:
    link = tmp_path / "port"
    link.symlink_to("/dev/pts/does-not-exist")
    async with plugged(link) as cable:
        assert str(link.readlink()) == cable.path
        link.unlink()
        link.symlink_to("/dev/null")
    assert str(link.readlink()) == "/dev/null"
