"""An RS-485 bus with its units: Modbus RTU frames over one cable. Nobody answers for a unit that is not there."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

from simulators.checksums import crc16_modbus
from simulators.faults import SILENCE, UNPLUG

if TYPE_CHECKING:
    from simulators.faults import Faults
    from simulators.modbus import Unit
    from simulators.wire import PtyCable
    from telemetry.counters import Counters

MIN_FRAME_BYTES: Final = 4
THINKING_S: Final = 0.005
"""A sensor's own time between request and reply."""


def frame(unit: int, pdu: bytes) -> bytes:
    """Return the RTU frame of `pdu`: unit, PDU, CRC."""
    body = bytes([unit]) + pdu
    return body + crc16_modbus(body)


def open_frame(data: bytes) -> tuple[int, bytes] | None:
    """Return (unit, PDU) of an RTU frame; none if it is too short or its CRC is wrong."""
    if len(data) < MIN_FRAME_BYTES or crc16_modbus(data[:-2]) != data[-2:]:
        return None
    return data[0], data[1:-2]


class RtuBus:
    """The units of one bus, by number."""

    def __init__(self, *, cable: PtyCable, units: dict[int, Unit], faults: Faults, counters: Counters) -> None:
        self._cable = cable
        self._units = units
        self._faults = faults
        self._counters = counters

    @property
    def endpoint(self) -> str:
        """The port's path now."""
        return self._cable.path

    @property
    def devices(self) -> dict[str, int]:
        """Each device and its last sequence."""
        return {unit.name: unit.sequence for unit in self._units.values()}

    @property
    def points(self) -> set[str]:
        """Points that can drift."""
        return {point for unit in self._units.values() for point in unit.model.points}

    @property
    def is_open(self) -> bool:
        """Whether somebody has the port open."""
        return self._cable.is_open

    async def start(self, group: asyncio.TaskGroup) -> None:
        """Plug the cable in and start answering."""
        self.faults_changed()
        group.create_task(self._serve(), name="modbus-rtu")

    def faults_changed(self) -> None:
        """Plug or unplug, as the faults say."""
        if self._faults.has(UNPLUG):
            self._cable.unplug()
        else:
            self._cable.plug()

    def close(self) -> None:
        """Take the cable away and complete the journals."""
        self._cable.close()
        for unit in self._units.values():
            unit.close(now_ns=time.time_ns())

    async def _serve(self) -> None:
        while True:
            heard = open_frame(await self._cable.receive())
            if heard is None:
                self._counters.add("modbus.requests.damaged")
                continue
            number, pdu = heard
            unit = self._units.get(number)
            if unit is None or self._faults.has(SILENCE, unit.name):
                self._counters.add("modbus.requests.ignored")
                continue
            await asyncio.sleep(THINKING_S)
            answer = unit.answer(pdu, now_ns=time.time_ns())
            delivery = await self._cable.send(frame(number, answer.pdu))
            unit.said(answer, at_ns=delivery.at_ns, fault=delivery.fault)
            self._counters.add("modbus.requests.answered")
