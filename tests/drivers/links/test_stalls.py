"""Pain 18: a link that stands still without an error is noticed and opened anew; one that is only slow is not."""

import asyncio

import pytest

from drivers.links import TcpLink, link
from drivers.modbus import create
from telemetry.counters import Counters
from telemetry.errors import DeviceUnavailable
from tests.drivers.fuzz.virtual import FarLink, VirtualLoop
from tests.drivers.helpers import context
from tests.drivers.modbus import far_end
from tests.waiting import until

REGISTERS = 9
PERIOD_S = 1.0


class Adapter:
    """A serial adapter's far end that may be stuck until its port is opened anew."""

    def __init__(self) -> None:
        self.stuck = False
        self.asked = 0

    def answer(self, request):
        self.asked += 1
        return [] if self.stuck else [(0.01, far_end.rtu(request[0], *range(REGISTERS)))]


def played(main):
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)


async def read_for(unit, seconds, period_s=PERIOD_S):
    """Read each period; return how often it succeeded."""
    loop, good = asyncio.get_running_loop(), 0
    end_s = loop.time() + seconds
    while loop.time() < end_s:
        began_s = loop.time()
        try:
            await unit.read()
            good += 1
        except DeviceUnavailable:
            pass
        await asyncio.sleep(began_s + period_s - loop.time())
    return good


def test_pain_18_a_port_that_is_open_and_silent_is_opened_anew():
    async def main():
        counters, adapter = Counters(), Adapter()
        line = FarLink(counters, adapter.answer)
        unit = create(context("a", "modbus/multisensor_6in1", counters, framing="rtu"), line)
        assert await read_for(unit, 5) == 5
        adapter.stuck = True
        open_line = line._open

        async def opened_anew():
            adapter.stuck = False  # what a stuck adapter needs, and nobody told us
            return await open_line()

        line._open = opened_anew
        began_s, healed = asyncio.get_running_loop().time(), 0
        while not healed:
            healed = await read_for(unit, 1)
        took_s = asyncio.get_running_loop().time() - began_s
        assert link.STALLED_S <= took_s < link.STALLED_S + 3
        assert (counters.get("link.far.stalled"), line.opened) == (1, 2)
        assert await read_for(unit, 60) == 60
        assert line.opened == 2
        await line.close()

    played(main())


def test_pain_18_devices_that_are_switched_off_are_not_hammered():
    async def main():
        counters, adapter = Counters(), Adapter()
        adapter.stuck = True
        line = FarLink(counters, adapter.answer)
        unit = create(context("a", "modbus/multisensor_6in1", counters, framing="rtu"), line)
        assert await read_for(unit, 3600) == 0
        assert 10 < counters.get("link.far.stalled") < 20  # after 10, 20, 40 … 300 s
        adapter.stuck = False
        assert await read_for(unit, 10) == 10
        await line.close()

    played(main())


@pytest.mark.parametrize("period_s", [1.0, 60.0])
def test_pain_18_one_silent_unit_costs_the_others_no_connection(period_s):
    async def main():
        counters, adapter = Counters(), Adapter()
        line = FarLink(counters, lambda request: adapter.answer(request) if request[0] == 1 else [])
        units = [
            create(context("a", "modbus/multisensor_6in1", counters, framing="rtu", unit=number), line)
            for number in (1, 2)
        ]
        good, none = await asyncio.gather(*(read_for(unit, 20 * period_s, period_s) for unit in units))
        assert (good, none, line.opened) == (20, 0, 1)
        await line.close()

    played(main())


async def test_pain_18_a_box_that_forgot_its_connection_is_connected_anew(monkeypatch):
    """It takes every byte, so TCP sees nothing wrong, and answers only on a new connection."""
    monkeypatch.setattr(link, "STALLED_S", 0.2)
    connections = 0

    async def box(reader, writer):
        nonlocal connections
        connections += 1
        deaf = connections == 1
        while request := await reader.read(12):
            if not deaf:
                count = int.from_bytes(request[10:12], "big")
                data = bytes(2 * count)
                writer.write(request[:4] + bytes((0, 3 + len(data), request[6], request[7], len(data))) + data)
        writer.close()

    counters = Counters()
    server = await asyncio.start_server(box, "::1", 0)
    line = TcpLink("box", counters, host="::1", port=server.sockets[0].getsockname()[1])
    unit = create(context("a", "modbus/airbox_tcp", counters, reply_timeout_s=0.05), line)

    async def answered():
        while True:
            try:
                return await unit.read()
            except DeviceUnavailable:
                continue

    async with server:
        async with asyncio.timeout(5):
            assert (await answered()).values["sequence"] == 0
        assert (connections, counters.get("link.box.stalled")) == (2, 1)
        await line.close()
        await until(lambda: not line.is_open)
