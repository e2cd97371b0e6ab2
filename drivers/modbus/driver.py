"""ModbusDriver: reads the profile's blocks of one unit, over RTU or TCP."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, Self

from drivers.links import TcpLink
from drivers.modbus import frame, register_map
from telemetry.errors import ConfigError, DeviceUnavailable, Problem, ProtocolError
from telemetry.sample import Reason, Sample, Value
from telemetry.validation import validated

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

    from drivers.links import Link, Port
    from drivers.modbus.register_map import Block
    from telemetry.driver import DeviceContext
    from telemetry.profile import DeviceProfile

_QUIET_S: Final = 0.02
"""A line silent for so long has nothing more of a broken frame to say."""
_LATE_REPLY_S: Final = 0.5
"""A unit that timed out is left alone for so long: RTU replies are not numbered: a late one would pass for the next."""


class ModbusDriver:
    """One unit. All its blocks make one Sample; a block that stays broken leaves its points bad, the others good."""

    def __init__(self, context: DeviceContext, link: Link) -> None:
        self._context = context
        self._link = link
        self._options = register_map.options_of(context.options, f"device {context.device}: options")
        self._blocks = register_map.plan(context.profile, self._options)
        self._tcp = self._options.framing == "tcp" or (self._options.framing == "auto" and isinstance(link, TcpLink))
        self._transaction = 0
        self._silent_until = 0.0
        self._reply_due = 0.0
        """Until when the unit may still answer the last RTU request; 0 when it has, well or badly."""

    async def __aenter__(self) -> Self:
        """Nothing to prepare: the link opens at the first turn."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing to release: the link is shared."""

    async def read(self) -> Sample:
        """Return one reading of all blocks, within the profile's deadline from its turn on the link.

        Raises DeviceUnavailable when the unit is silent, ProtocolError when not one block could be read.
        """
        loop = asyncio.get_running_loop()
        values: dict[str, Value] = {}
        bad: dict[str, Reason] = {}
        broken: ProtocolError | None = None
        await asyncio.sleep(self._silent_until - loop.time())
        async with self._link.turn() as port:
            deadline = loop.time() + self._context.profile.deadline_s
            acquired_at_ns = self._context.now_ns()
            for block in self._blocks:
                try:
                    good, faulty = block.decode(await self._ask(port, block, deadline))
                except ProtocolError as error:
                    broken = error
                    bad.update(dict.fromkeys((field.name for field in block.fields), Reason.DECODE))
                else:
                    values.update(good)
                    bad.update(faulty)
        if broken is not None and not values:
            raise broken
        return Sample(device=self._context.device, acquired_at_ns=acquired_at_ns, values=values, bad=bad)

    async def _ask(self, port: Port, block: Block, deadline: float) -> bytes:
        """Return the block's data bytes; a garbled reply is asked for once more."""
        try:
            return await self._tidy_exchange(port, block, deadline)
        except ProtocolError:
            return await self._tidy_exchange(port, block, deadline)

    async def _tidy_exchange(self, port: Port, block: Block, deadline: float) -> bytes:
        """As `_exchange`, but the line is quiet again when it raises ProtocolError."""
        try:
            return await self._exchange(port, block, deadline)
        except ProtocolError:
            self._context.counters.add(f"device.{self._context.device}.garbled_replies")
            await self._quiet(port)
            raise

    async def _exchange(self, port: Port, block: Block, deadline: float) -> bytes:
        expected = frame.data_bytes(block.function, block.count)
        pdu = frame.read_request(block.function, block.address, block.count)
        wire_s = self._link.seconds_on_wire(len(pdu) + expected + 2 * frame.RTU_OVERHEAD)
        loop = asyncio.get_running_loop()
        port.discard()
        due = min(deadline, loop.time() + self._options.reply_timeout_s + wire_s)
        try:
            async with asyncio.timeout_at(due):
                if self._tcp:
                    return await self._exchange_tcp(port, pdu, expected)
                return await self._exchange_rtu(port, pdu, expected, due)
        except TimeoutError as error:
            if not self._tcp:
                self._silent_until = loop.time() + _LATE_REPLY_S
            raise DeviceUnavailable(
                f"unit {self._options.unit} did not answer within {self._options.reply_timeout_s:g} s", timed_out=True
            ) from error

    async def _exchange_rtu(self, port: Port, pdu: bytes, expected: int, due: float) -> bytes:
        self._reply_due = due
        port.write(frame.rtu_request(self._options.unit, pdu))
        received = b""
        while frame.rtu_missing(received, expected):
            received += await port.receive()
        if frame.rtu_is_from(received, self._options.unit, pdu[0]):
            self._reply_due = 0.0
        return frame.rtu_reply(received, self._options.unit, pdu[0], expected)

    async def _exchange_tcp(self, port: Port, pdu: bytes, expected: int) -> bytes:
        self._transaction = (self._transaction + 1) & 0xFFFF
        port.write(frame.tcp_request(self._transaction, self._options.unit, pdu))
        received = b""
        while True:
            while len(received) < frame.MBAP_BYTES:
                received += await port.receive()
            try:
                end = frame.MBAP_BYTES + frame.tcp_length(received[: frame.MBAP_BYTES])
            except ProtocolError:
                self._link.drop()  # the stream has lost its framing: only a new connection mends it
                raise
            while len(received) < end:
                received += await port.receive()
            if frame.tcp_transaction(received) == self._transaction:
                return frame.tcp_reply(received[:end], self._options.unit, pdu[0], expected)
            received = received[end:]  # a late reply to a question nobody waits for any more

    async def _quiet(self, port: Port) -> None:
        """Wait until a broken frame's last bytes are in and thrown away.

        Noise, or the late reply of another unit, is not the answer: then that is waited for too, lest it passes for
        the next one.
        """
        loop = asyncio.get_running_loop()
        end = max(loop.time(), self._reply_due) + 10 * _QUIET_S
        while True:
            await asyncio.sleep(_QUIET_S)
            if not port.discard() and loop.time() >= self._reply_due:
                return
            if loop.time() >= end:
                raise DeviceUnavailable(f"link {self._link.name} never falls silent: a babbling device?")


def create(context: DeviceContext, link: Link) -> ModbusDriver:
    """Return the driver for one device. Raises ConfigError if its profile or options are wrong."""
    return ModbusDriver(context, link)


def problems(profile: DeviceProfile, options: dict[str, bool | int | float | str], where: str) -> list[Problem]:
    """Return everything wrong with the profile's sources and the device's options."""
    found: list[Problem] = []
    parsed = validated(register_map.Options, options, where, found, see=register_map.SEE)
    try:
        register_map.plan(profile, parsed or register_map.Options())
    except ConfigError as error:
        found.extend(error.problems)
    return found


def link_address(options: Mapping[str, bool | int | float | str]) -> int | None:
    """Return the unit: many share a bus."""
    return int(options.get("unit", 1))
