"""A Modbus unit: requests in, replies out (Modbus Application Protocol 1.1b3), with its measurement and its journal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from simulators.faults import DRIFT, STALL
from simulators.ledger import SaidMeasurement
from simulators.registers import SEQUENCE

if TYPE_CHECKING:
    from simulators.faults import Faults
    from simulators.ledger import Journal
    from simulators.registers import Model
    from simulators.school_day import SchoolDay

ILLEGAL_FUNCTION: Final = 1
ILLEGAL_ADDRESS: Final = 2
ILLEGAL_VALUE: Final = 3
MAX_REGISTERS: Final = 125
_READ_BYTES: Final = 5
UNREAD: Final = "unread"
"""A measurement was latched and overtaken by the next (or the end) before anybody read its values."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A reply's PDU, and what it says: `values` is empty for an exception or a reply without measured values."""

    pdu: bytes
    sequence: int = 0
    values: dict[str, float]


class Unit:
    """One device: latches a measurement when its model says so, answers reads, journals what it said."""

    def __init__(self, *, name: str, model: Model, day: SchoolDay, faults: Faults, journal: Journal) -> None:
        self.name = name
        self.model = model
        self.sequence = 0
        self._day = day
        self._faults = faults
        self._journal = journal
        self._drifted: dict[str, float] = {}
        self._values = day.measurement(0)
        self._registers = model.registers(self._values, 0)
        self._unread = False

    def answer(self, pdu: bytes, *, now_ns: int) -> Answer:
        """Return the reply to a request's PDU; a wrong request gets an exception, never silence."""
        function = pdu[0]
        if all(function != known for known, _address in self._registers):
            return self._exception(function, ILLEGAL_FUNCTION)
        count = int.from_bytes(pdu[3:5], "big")
        if len(pdu) != _READ_BYTES or not 1 <= count <= MAX_REGISTERS:
            return self._exception(function, ILLEGAL_VALUE)
        start = int.from_bytes(pdu[1:3], "big")
        addresses = range(start, start + count)
        if any((function, address) not in self._registers for address in addresses):
            return self._exception(function, ILLEGAL_ADDRESS)
        if self.model.latch[0] == function and self.model.latch[1] in addresses and not self._stalled:
            self._latch(now_ns)
        words = b"".join(self._registers[function, address].to_bytes(2, "big") for address in addresses)
        truths = self.model.truths(self._values, self.sequence)
        values = {point: truths[point] for point in self.model.covered(function, addresses) if point != SEQUENCE}
        if values and SEQUENCE in truths:
            values[SEQUENCE] = truths[SEQUENCE]
        return Answer(pdu=bytes([function, len(words)]) + words, sequence=self.sequence, values=values)

    def said(self, answer: Answer, *, at_ns: int, fault: str | None) -> None:
        """Journal a reply that has been sent; `fault` is what befell it on the way."""
        if not answer.values:
            return
        if answer.sequence == self.sequence:
            self._unread = False
        self._write(answer.sequence, answer.values, at_ns=at_ns, delivered=fault is None, fault=fault or self._harmless)

    def close(self, *, now_ns: int) -> None:
        """Journal the last measurement if nobody has read it."""
        if self._unread:
            self._unread = False
            truths = self.model.truths(self._values, self.sequence)
            self._write(self.sequence, truths, at_ns=now_ns, delivered=False, fault=UNREAD)

    @property
    def _stalled(self) -> bool:
        return self._faults.has(STALL, self.name)

    @property
    def _harmless(self) -> str | None:
        """The fault to note beside a delivered reply."""
        if self._stalled:
            return STALL
        return DRIFT if self._faults.drifts(self.name) else None

    def _latch(self, now_ns: int) -> None:
        self.close(now_ns=now_ns)
        self.sequence += 1
        self._values = self._day.measurement(self.sequence)
        drifts = self._faults.drifts(self.name)
        if not drifts:
            self._drifted.clear()
        for point, amount in drifts:
            if point in self._values:
                self._drifted[point] = self._drifted.get(point, 0.0) + amount
                self._values[point] += self._drifted[point]
        self._registers = self.model.registers(self._values, self.sequence)
        self._unread = True

    def _write(
        self, sequence: int, values: dict[str, float], *, at_ns: int, delivered: bool, fault: str | None
    ) -> None:
        self._journal.write(
            SaidMeasurement(
                device=self.name, seq=sequence, at_ns=at_ns, values=values, delivered=delivered, fault=fault
            )
        )

    @staticmethod
    def _exception(function: int, code: int) -> Answer:
        return Answer(pdu=bytes([function | 0x80, code]), values={})
