"""Late, foreign, broken and endless replies, over a real pty and real TCP: never a wrong value, never a stuck bus."""

import asyncio
import itertools
import time

import pytest

from drivers.modbus import create
from telemetry.counters import Counters
from telemetry.errors import DeviceUnavailable, ProtocolError
from telemetry.sample import Reason
from tests.drivers.helpers import context, serial, tcp
from tests.drivers.modbus.far_end import mbap, profile, pty_bus, rtu, rtu_exception, tcp_box


def later(delay_s, send, data) -> None:
    asyncio.get_running_loop().call_later(delay_s, send, data)


async def test_a_late_reply_is_never_taken_for_the_next():
    numbers = itertools.count(1)

    def answer(request, send):
        number = next(numbers)
        later(0.12 if number == 1 else 0, send, rtu(1, number))

    async with pty_bus(answer) as path, serial(path) as link:
        unit = create(context("a", profile(0), reply_timeout_s=0.05), link)
        with pytest.raises(DeviceUnavailable):
            await unit.read()
        asked_ns = time.time_ns()
        sample = await unit.read()
        assert sample.values == {"p0": 2.0}
        assert sample.acquired_at_ns - asked_ns > 0.4e9  # it was left alone for so long


async def test_others_on_the_bus_do_not_wait_for_a_unit_that_is_left_alone():
    def answer(request, send):
        if request[0] == 2:
            send(rtu(2, 22))

    async with pty_bus(answer) as path, serial(path) as link:
        silent = create(context("a", profile(0), unit=1, reply_timeout_s=0.05), link)
        with pytest.raises(DeviceUnavailable):
            await silent.read()
        waiting = asyncio.create_task(silent.read())
        assert (await create(context("b", profile(0), unit=2), link).read()).values == {"p0": 22.0}
        assert not waiting.done()
        with pytest.raises(DeviceUnavailable):
            await waiting


async def test_a_late_reply_of_another_unit_never_shifts_the_answers_of_a_slow_one():
    """Unit 1 answers while unit 2 is asked, and unit 2 thinks for 50 ms about each request, one after the other."""
    busy_until = 0.0

    def answer(request, send):
        nonlocal busy_until
        now = asyncio.get_running_loop().time()
        if request[0] == 1:
            later(0.07, send, rtu(1, 999))
        else:
            busy_until = max(busy_until, now) + 0.05
            later(busy_until - now, send, rtu(2, 1000 + request[3]))

    async with pty_bus(answer) as path, serial(path) as link:
        late = create(context("a", profile(0), unit=1, reply_timeout_s=0.05), link)
        slow = create(context("b", profile(10, 60, 110), unit=2), link)
        with pytest.raises(DeviceUnavailable):
            await late.read()
        for _ in range(2):
            sample = await slow.read()
            assert sample.values == {"p10": 1010.0, "p60": 1060.0, "p110": 1110.0}


async def test_a_garbled_reply_is_asked_for_once_more():
    numbers = itertools.count(1)
    counters = Counters()

    def answer(request, send):
        number = next(numbers)
        reply = rtu(1, number)
        send(reply[:-1] + bytes((reply[-1] ^ 1,)) if number == 1 else reply)

    async with pty_bus(answer) as path, serial(path) as link:
        sample = await create(context("a", profile(0), counters), link).read()
        assert sample.values == {"p0": 2.0}
    assert counters.get("device.a.garbled_replies") == 1


async def test_a_noise_byte_before_the_reply_costs_no_reading():
    numbers = itertools.count(1)

    def answer(request, send):
        send((b"\x00" if next(numbers) == 1 else b"") + rtu(1, 7))

    async with pty_bus(answer) as path, serial(path) as link:
        assert (await create(context("a", profile(0)), link).read()).values == {"p0": 7.0}


async def test_a_unit_that_garbles_always_is_a_protocol_error_and_asked_twice():
    asked = []

    def answer(request, send):
        asked.append(request)
        send(rtu(1, 7)[:-1] + b"?")

    async with pty_bus(answer) as path, serial(path) as link:
        with pytest.raises(ProtocolError, match="wrong CRC"):
            await create(context("a", profile(0)), link).read()
    assert len(asked) == 2


async def test_a_block_that_stays_broken_leaves_the_others_good():
    def answer(request, send):
        send(rtu_exception(1, 2) if request[3] == 60 else rtu(1, request[3]))

    async with pty_bus(answer) as path, serial(path) as link:
        sample = await create(context("a", profile(10, 60, 110)), link).read()
    assert sample.values == {"p10": 10.0, "p110": 110.0}
    assert sample.bad == {"p60": Reason.DECODE}


@pytest.mark.parametrize(
    ("code", "error", "text"),
    [
        (1, ProtocolError, "check the profile's `table`"),
        (2, ProtocolError, "check the profile's addresses"),
        (3, ProtocolError, "max_registers"),
        (6, DeviceUnavailable, "busy"),
        (11, DeviceUnavailable, "no answer"),
        (77, ProtocolError, "unknown to the standard"),
    ],
)
async def test_an_exception_says_what_to_do(code, error, text):
    async with pty_bus(lambda _, send: send(rtu_exception(1, code))) as path, serial(path) as link:
        with pytest.raises(error, match=text):
            await create(context("a", profile(0)), link).read()


@pytest.mark.parametrize("noise", [b"\x55" * 64, rtu(1, 7) * 8], ids=["noise", "frames"])
async def test_a_babbling_device_is_given_up_in_time_and_the_bus_heals(noise):
    babbling = True

    def babble(send):
        if babbling:
            send(noise)
            later(0.005, babble, send)

    def answer(request, send):
        if babbling:
            babble(send)
        else:
            send(rtu(1, 5))

    async with pty_bus(answer) as path, serial(path) as link:
        unit = create(context("a", profile(0)), link)
        for _ in range(2):
            began = time.monotonic()
            with pytest.raises(DeviceUnavailable, match="never falls silent"):
                await unit.read()
            assert time.monotonic() - began < 3
        babbling = False
        assert (await unit.read()).values == {"p0": 5.0}


async def test_a_late_tcp_reply_is_skipped_by_its_transaction():
    numbers = itertools.count(1)

    def answer(request, send):
        number = next(numbers)
        later(0.1 if number == 1 else 0.12 if number == 2 else 0, send, mbap(request, number))

    async with tcp_box(answer) as port, tcp("::1", port) as link:
        unit = create(context("a", profile(0), reply_timeout_s=0.05), link)
        with pytest.raises(DeviceUnavailable):
            await unit.read()
        patient = create(context("a", profile(0), reply_timeout_s=0.5), link)
        patient._transaction = unit._transaction
        assert (await patient.read()).values == {"p0": 2.0}
        assert link.opened == 1


async def test_tcp_replies_may_come_in_pieces():
    def answer(request, send):
        for index, byte in enumerate(mbap(request, 4711)):
            later(index * 0.001, send, bytes((byte,)))

    async with tcp_box(answer) as port, tcp("::1", port) as link:
        assert (await create(context("a", profile(0)), link).read()).values == {"p0": 4711.0}


@pytest.mark.parametrize("broken", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\0\1\0\0\xff\xff\1\3\2\0\0"])
async def test_a_tcp_stream_without_framing_is_connected_anew(broken):
    numbers = itertools.count(1)

    def answer(request, send):
        send(broken if next(numbers) == 1 else mbap(request, 5))

    async with tcp_box(answer) as port, tcp("::1", port) as link:
        unit = create(context("a", profile(0)), link)
        with pytest.raises((DeviceUnavailable, ProtocolError)):
            await unit.read()
        assert (await unit.read()).values == {"p0": 5.0}
        assert link.opened == 2


async def test_a_tcp_reply_of_another_unit_is_no_value():
    def answer(request, send):
        reply = bytearray(mbap(request, 5))
        reply[6] = 9
        send(bytes(reply))

    async with tcp_box(answer) as port, tcp("::1", port) as link:
        with pytest.raises(ProtocolError, match="unit 9"):
            await create(context("a", profile(0), unit=3), link).read()


async def test_a_transparent_converter_carries_rtu_over_tcp():
    def answer(request, send):
        send(rtu(request[0], request[3]))

    async with tcp_box(answer, request_bytes=8) as port, tcp("::1", port) as link:
        unit = create(context("a", profile(5, 80), framing="rtu"), link)
        assert (await unit.read()).values == {"p5": 5.0, "p80": 80.0}


async def test_a_reading_given_up_in_the_middle_leaves_the_bus_in_order():
    requests = asyncio.Event()

    def answer(request, send):
        if not requests.is_set():
            requests.set()
            return
        send(rtu(1, 5))

    async with pty_bus(answer) as path, serial(path) as link:
        unit = create(context("a", profile(0), reply_timeout_s=5.0), link)
        reading = asyncio.create_task(unit.read())
        await requests.wait()
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        assert (await unit.read()).values == {"p0": 5.0}
