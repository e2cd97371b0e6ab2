"""An RDM6300 card reader: one frame every 65 ms while a card lies there; the card's end is only silence."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import TYPE_CHECKING, Final

from simulators.cards import FRAME_PERIOD_S, Presence
from simulators.checksums import xor8
from simulators.faults import SILENCE, UNPLUG
from simulators.ledger import SaidPresence

if TYPE_CHECKING:
    from collections.abc import Iterator

    from simulators.faults import Faults
    from simulators.ledger import Journal
    from simulators.wire import Delivery, PtyCable
    from telemetry.counters import Counters

CARD_BYTES: Final = 5
CLEAN_FRAMES: Final = 2
"""So many frames that are equal and whole make a card believable: the checksum has only eight bits."""
MAX_PENDING: Final = 100
FIRST_GIVEN: Final = 1_000_001
"""Cards given on the control socket are numbered from here, apart from the plan's."""


def frame(card: str) -> bytes:
    """Return the 14 bytes for `card` (ten hex digits): 02, the digits, two digits of checksum, 03."""
    number = bytes.fromhex(card)
    if len(number) != CARD_BYTES:
        raise ValueError(f"a card has {CARD_BYTES * 2} hex digits, not {card!r}")
    return b"\x02" + f"{number.hex()}{xor8(number):02x}".upper().encode() + b"\x03"


class CardReader:
    """Plays planned presences and those given by hand, one after the other, and journals each."""

    def __init__(
        self,
        *,
        name: str,
        cable: PtyCable,
        planned: Iterator[Presence],
        hold: bool,
        faults: Faults,
        journal: Journal,
        counters: Counters,
    ) -> None:
        self.name = name
        self._cable = cable
        self._planned = planned
        self._faults = faults
        self._journal = journal
        self._counters = counters
        self._pending: deque[Presence] = deque()
        self._wake = asyncio.Event()
        self._given = FIRST_GIVEN
        self._said = 0
        self._began: float | None = None
        self._hold = hold
        self.points: set[str] = set()

    @property
    def endpoint(self) -> str:
        """The port's path now."""
        return self._cable.path

    @property
    def devices(self) -> dict[str, int]:
        """The reader and how many presences it has ended."""
        return {self.name: self._said}

    @property
    def is_open(self) -> bool:
        """Whether somebody has the port open."""
        return self._cable.is_open

    async def start(self, group: asyncio.TaskGroup) -> None:
        """Plug the cable in and start playing."""
        self.faults_changed()
        if not self._hold:
            self.begin()
        group.create_task(self._play(), name="rdm6300")

    def begin(self) -> None:
        """Start the schedule's time, if it has not started."""
        if self._began is None:
            self._began = asyncio.get_running_loop().time()
            self._wake.set()

    def present(self, card: str, frames: int) -> int:
        """Lay `card` on the reader for `frames` frames, after those already waiting; return its number.

        Raises ValueError if the card is not ten hex digits or too many are waiting.
        """
        frame(card)
        if frames < 1:
            raise ValueError(f"a card gives at least one frame, not {frames}")
        if len(self._pending) >= MAX_PENDING:
            raise ValueError(f"{MAX_PENDING} cards are waiting already")
        number, self._given = self._given, self._given + 1
        self._pending.append(Presence(n=number, offset_s=0.0, card=card.upper(), frames=frames))
        self._wake.set()
        return number

    def faults_changed(self) -> None:
        """Plug or unplug, as the faults say."""
        if self._faults.has(UNPLUG):
            self._cable.unplug()
        else:
            self._cable.plug()

    def close(self) -> None:
        """Take the cable away; presences are journalled by the playing task, when it is cancelled."""
        self._cable.close()

    async def _play(self) -> None:
        upcoming = next(self._planned, None)
        loop = asyncio.get_running_loop()
        while True:
            if self._pending:
                await self._lay(self._pending.popleft())
                continue
            self._wake.clear()
            if upcoming is None or self._began is None:
                await self._wake.wait()
                continue
            rest = self._began + upcoming.offset_s - loop.time()
            if rest <= 0:
                await self._lay(upcoming)
                upcoming = next(self._planned, None)
                continue
            try:
                async with asyncio.timeout(rest):
                    await self._wake.wait()
            except TimeoutError:
                continue

    async def _lay(self, presence: Presence) -> None:
        said = _Saying(self.name, presence)
        data = frame(presence.card)
        due = asyncio.get_running_loop().time()
        try:
            for _ in range(presence.frames):
                if self._faults.has(SILENCE, self.name):
                    said.silent()
                else:
                    said.sent(await self._cable.send(data))
                if said.confirmed:
                    self._journal.draft(said.record())
                due += FRAME_PERIOD_S
                await asyncio.sleep(max(0.0, due - asyncio.get_running_loop().time()))
        finally:
            self._said += 1
            record = said.record()
            self._journal.write(record)
            self._counters.add("cards.delivered" if record.delivered else "cards.undelivered")


class _Saying:
    """One presence while it lasts: which frames arrived, and when the second clean one did."""

    def __init__(self, device: str, presence: Presence) -> None:
        self._device = device
        self._presence = presence
        self._first_ns = self._last_ns = time.time_ns()
        self._confirmed_ns: int | None = None
        self._opened_ns: int | None = None
        self._frames = 0
        self._session = 0
        self._clean = 0
        self._fault: str | None = None

    def sent(self, delivery: Delivery) -> None:
        self._frames += 1
        self._last_ns = delivery.at_ns
        self._opened_ns = delivery.opened_ns
        if delivery.session != self._session:
            # Another opening of the port: its reader knows nothing of the frames before.
            self._session, self._clean = delivery.session, 0
        if delivery.fault is not None:
            self._fault = self._fault or delivery.fault
            return
        self._clean += 1
        if self._clean == CLEAN_FRAMES and self._confirmed_ns is None:
            self._confirmed_ns = delivery.at_ns

    @property
    def confirmed(self) -> bool:
        return self._confirmed_ns is not None

    def silent(self) -> None:
        self._last_ns = time.time_ns()
        self._fault = self._fault or SILENCE

    def record(self) -> SaidPresence:
        return SaidPresence(
            device=self._device,
            n=self._presence.n,
            card=self._presence.card,
            first_ns=self._first_ns,
            confirmed_ns=self._confirmed_ns,
            last_ns=self._last_ns,
            opened_ns=self._opened_ns,
            frames=self._frames,
            delivered=self._confirmed_ns is not None,
            refuses=self._presence.refuses,
            fault=self._fault,
        )
