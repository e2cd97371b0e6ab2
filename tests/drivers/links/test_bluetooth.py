"""One scanner for all, bounded queues, the ladder out of silence, errors that name nobody."""

import asyncio
import contextlib
import logging
import re
import subprocess
import sys
import time

import pytest
from bleak.exc import (
    BleakBluetoothNotAvailableError,
    BleakBluetoothNotAvailableReason,
    BleakDBusError,
    BleakError,
    BleakGATTProtocolError,
)

from drivers.links import bluetooth, bluez
from drivers.links.advert import MAX_ADVERTS, Peer
from telemetry.counters import Counters
from telemetry.errors import AuthError, DeviceUnavailable
from tests.drivers.air import ADDRESS, Air, radio
from tests.drivers.helpers import running
from tests.waiting import until


def everything(_advert):
    return True


def only(company):
    return lambda advert: company in advert.manufacturer


async def test_devices_share_one_scanner_and_hear_what_they_want():
    air = Air()
    async with radio(air) as link:
        assert not link.is_open
        async with link.subscribed(only(1), time.time_ns) as first, link.subscribed(only(2), lambda: 42) as second:
            assert (air.starts, link.is_open) == (1, True)
            air.advertise(manufacturer={1: b"one"})
            air.advertise(manufacturer={2: b"two"})
            assert (await first.next()).manufacturer == {1: b"one"}
            heard = await second.next()
            assert (heard.manufacturer, heard.at_ns) == ({2: b"two"}, 42)
        assert not link.is_open
        async with link.subscribed(everything, time.time_ns):
            assert air.starts == 2
    assert not air.scanners


async def test_what_is_heard_as_the_scanner_starts_is_not_lost(monkeypatch):
    air = Air()
    start = air.scanner.start

    async def start_and_hear(scanner):
        await start(scanner)
        air.advertise(manufacturer={1: b"early"})

    monkeypatch.setattr(air.scanner, "start", start_and_hear)
    async with radio(air) as link, link.subscribed(everything, time.time_ns) as adverts:
        assert (await adverts.next()).manufacturer == {1: b"early"}


async def test_what_a_device_leaves_unread_is_bounded_and_counted():
    air, counters = Air(), Counters()
    async with radio(air, counters) as link, link.subscribed(everything, time.time_ns) as adverts:
        for number in range(MAX_ADVERTS + 3):
            air.advertise(manufacturer={1: number.to_bytes(2, "big")})
        assert counters.get("link.radio.dropped_adverts") == 3
        assert (await adverts.next()).manufacturer == {1: b"\0\3"}


async def test_what_bluez_only_remembers_is_not_heard():
    air = Air()
    async with radio(air) as link, link.subscribed(everything, time.time_ns) as adverts:
        air.advertise(manufacturer={1: b"kept"}, rssi=-127)
        air.advertise(manufacturer={1: b"heard"})
        assert (await adverts.next()).manufacturer == {1: b"heard"}


async def test_an_address_can_not_be_printed():
    air = Air()
    async with radio(air) as link, link.subscribed(everything, time.time_ns) as adverts:
        air.advertise(7, name="Anna's band")
        heard = await adverts.next()
        text = f"{heard!r} {heard} {heard.peer!r} {heard.peer}"
        assert "Anna" not in text
        assert "DE:AD" not in text


async def test_pain_13_silence_climbs_the_ladder_and_is_logged_once(caplog):
    air, counters = Air(), Counters()
    caplog.set_level(logging.INFO)
    async with radio(air, counters, quiet_s=0.03) as link:
        with pytest.raises(DeviceUnavailable, match="hears nothing"):  # noqa: PT012 - by the last line
            async with link.subscribed(everything, time.time_ns) as adverts:
                air.advertise()
                await adverts.next()
                await adverts.next()
        climbed = [counters.get(f"link.radio.{rung}") for rung in ("rescans", "resets", "reopens")]
        assert climbed == [1, 1, 1]
        assert (air.starts, air.resets, air.closes) == (3, 1, 1)
        async with link.subscribed(everything, time.time_ns) as adverts:
            air.advertise()
            await adverts.next()
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]


async def test_pain_13_an_adapter_that_hangs_fails_all_devices_and_works_again_when_it_is_well(monkeypatch):
    monkeypatch.setattr(bluetooth, "OPEN_S", 0.05)
    air, counters = Air(), Counters()
    lost = []

    async def device(link):
        try:
            async with link.subscribed(everything, time.time_ns) as adverts:
                while True:
                    await adverts.next()
        except DeviceUnavailable as error:
            lost.append(str(error))

    async with radio(air, counters, quiet_s=0.03) as link:
        async with running(device(link), device(link)):
            await until(lambda: air.scanners)
            air.advertise()
            air.hangs = True
            await until(lambda: len(lost) == 2)
            assert not link.is_open
            assert counters.get("link.radio.resets") == 0  # who waited for the first one's turn climbs no further
        with pytest.raises(DeviceUnavailable, match="scanning did not end in time") as error:
            async with link.subscribed(everything, time.time_ns):
                pass
        assert error.value.timed_out
        air.hangs = False
        async with link.subscribed(everything, time.time_ns) as adverts:
            air.advertise()
            await adverts.next()


async def test_who_is_cancelled_while_tending_leaves_no_deaf_link():
    air, counters = Air(), Counters()
    async with radio(air, counters, quiet_s=0.02) as link, link.subscribed(everything, time.time_ns) as adverts:
        air.advertise()
        await adverts.next()
        air.hangs = True
        tending = asyncio.ensure_future(adverts.next())
        await until(lambda: air.starts == 2)
        tending.cancel()
        await asyncio.gather(tending, return_exceptions=True)
        air.hangs = False
        hearing = asyncio.ensure_future(adverts.next())
        await until(lambda: air.scanners)
        air.advertise(manufacturer={1: b"again"})
        assert (await hearing).manufacturer == {1: b"again"}
        assert len(air.scanners) == 1


async def test_an_empty_hall_is_no_fault():
    air, counters = Air(), Counters()
    async with radio(air, counters, quiet_s=0.01) as link, link.subscribed(everything, time.time_ns) as adverts:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(adverts.next(), 0.1)
        assert link.is_open
        assert counters.get("link.radio.rescans") <= 1
        assert counters.get("link.radio.resets") == 0


async def test_close_ends_who_waits():
    air = Air()
    async with radio(air) as link, link.subscribed(everything, time.time_ns) as adverts:
        waiting = asyncio.ensure_future(adverts.next())
        await asyncio.sleep(0)
        await link.close()
        with pytest.raises(DeviceUnavailable, match="is closed"):
            await waiting


REASONS = BleakBluetoothNotAvailableReason


@pytest.mark.parametrize(
    ("raised", "becomes"),
    [
        (BleakBluetoothNotAvailableError("no", REASONS.DENIED_BY_SYSTEM), AuthError),
        (BleakBluetoothNotAvailableError("off", REASONS.POWERED_OFF), DeviceUnavailable),
        (BleakDBusError("org.freedesktop.DBus.Error.AccessDenied", ["Rejected"]), AuthError),
        (BleakDBusError("org.bluez.Error.NotReady", []), DeviceUnavailable),
        (BleakError(f"device dev_{ADDRESS.format(1).replace(':', '_')} not found"), DeviceUnavailable),
        (PermissionError("no"), AuthError),
        (FileNotFoundError("no D-Bus"), DeviceUnavailable),
    ],
)
async def test_the_librarys_errors_are_translated_without_addresses(raised, becomes):
    air = Air()
    air.fails = [raised]
    async with radio(air) as link:
        with pytest.raises(becomes) as error:
            async with link.subscribed(everything, time.time_ns):
                pass
    assert not re.search("DE.AD", str(error.value))
    assert error.value.__cause__ is None


@pytest.mark.parametrize(
    ("raised", "becomes"),
    [
        (BleakError(f"{ADDRESS.format(1)} is gone"), DeviceUnavailable),
        (BleakGATTProtocolError(0x05), AuthError),
        (BleakDBusError("org.bluez.Error.AuthenticationFailed", [ADDRESS.format(1)]), AuthError),
    ],
)
async def test_a_device_that_refuses_is_not_named(raised, becomes):
    air = Air()
    air.refuse = raised
    async with radio(air) as link, link.subscribed(everything, time.time_ns) as adverts:
        air.advertise(1)
        peer = (await adverts.next()).peer
        with pytest.raises(becomes) as error:
            async with link.connected(peer):
                pass
    assert not re.search("DE.AD", str(error.value))


async def test_pain_14_connections_are_few_and_first_come_first_served():
    air, order = Air(), []

    async def one(link, peer, number):
        async with link.connected(peer):
            order.append(number)
            await asyncio.sleep(0.01)

    async with radio(air, max_connections=2) as link, link.subscribed(everything, time.time_ns) as adverts:
        peers: list[Peer] = []
        for number in range(6):
            air.advertise(number)
            peers.append((await adverts.next()).peer)
        async with asyncio.timeout(2):
            await asyncio.gather(*(one(link, peer, number) for number, peer in enumerate(peers)))
    assert order == sorted(order)
    assert air.most_connected == 2
    assert not air.connected


async def test_pain_14_no_end_of_a_connection_leaks_its_slot():
    """Refused, cancelled half-way, gone, an error in the middle: a hundred of them, and both slots are free."""
    air = Air()
    async with radio(air, max_connections=2) as link, link.subscribed(everything, time.time_ns) as adverts:
        air.advertise(0)
        peer = (await adverts.next()).peer

        async def refused():
            air.refuse = BleakError("no")
            try:
                async with link.connected(peer):
                    pass
            finally:
                air.refuse = None

        async def cancelled():
            async with asyncio.timeout(0), link.connected(peer):
                await asyncio.sleep(1)

        async def gone():
            async with link.connected(peer):
                air.connected[ADDRESS.format(0)].vanish()

        async def broken():
            async with link.connected(peer):
                raise RuntimeError

        for end in (refused, cancelled, gone, broken) * 25:
            with contextlib.suppress(DeviceUnavailable, TimeoutError, RuntimeError):
                await end()
        async with asyncio.timeout(2), link.connected(peer), link.connected(peer):
            air.advertise(7, manufacturer={1: b"heard"})
            assert (await adverts.next()).manufacturer == {1: b"heard"}  # adverts never wait for a connection
    assert not air.connected


async def test_an_adapter_whose_switching_off_takes_too_long_is_switched_on_all_the_same(monkeypatch):
    told = []

    class StuckBus:
        """A bluetoothd that takes what it is told and answers nothing."""

        def __init__(self, **_options):
            pass

        async def connect(self):
            pass

        async def call(self, message):
            told.append(message.body[2].value)
            await asyncio.Event().wait()

        def disconnect(self):
            pass

    monkeypatch.setattr(bluez, "MessageBus", StuckBus)
    monkeypatch.setattr(bluez, "LAST_S", 0.05)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await bluez.power_cycle("hci0")
    assert told == [False, True]


def test_what_the_libraries_log_of_devices_is_written_nowhere():
    script = (  # a process of its own: pytest hangs a handler into loggers that pass nothing on
        "import logging; logging.basicConfig(level='DEBUG')\n"
        "from drivers.links.bluetooth import BluetoothLink, make_backend\n"
        "from telemetry.counters import Counters\n"
        "BluetoothLink('radio', Counters(), backend=make_backend(adapter='', hci='tcp-client:[::1]:9'))\n"
        "for library in ('bleak', 'dbus_fast', 'bumble'):\n"
        "    logging.getLogger(library + '.inner').error('ADDRESS')\n"
        "logging.getLogger('ours').error('SEEN')"
    )
    done = subprocess.run([sys.executable, "-c", script], check=True, timeout=60, capture_output=True, text=True)
    assert "SEEN" in done.stderr
    assert "ADDRESS" not in done.stdout + done.stderr


def test_bleak_is_imported_only_where_it_is_configured():
    script = (
        "import sys, edge_agent.cli, edge_agent.agent, drivers.links, drivers.ble_heart_rate\n"
        "assert not {'bleak', 'bumble', 'dbus_fast'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)
