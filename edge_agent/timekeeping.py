"""Keeping the time: follows the clock, asks the ingest where NTP is blocked, remembers, and tells what waited."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

from edge_agent.buffer import WaitingRoom
from edge_agent.clock import Clock, Source, boot_id

if TYPE_CHECKING:
    from collections.abc import MutableMapping

    from edge_agent.pipeline import Pipeline
    from edge_agent.publisher import Publisher
    from edge_agent.settings import ClockSettings, Settings
    from telemetry.batch import DeviceInfo
    from telemetry.counters import Counters

LOOK_S: Final = 0.5
REMEMBER_S: Final = 3600.0
"""How often it is written down that the time is known: flash is dear, and only an estimate hangs on it."""
_ASK_S: Final = (2.0, 30.0)
"""Seconds between two questions to the ingest, the first few and then."""
_EAGER: Final = 10


def make_clock(settings: ClockSettings) -> Clock:
    """Return the clock as the settings want it."""
    return Clock(assume_synced=settings.assume_synced, sync_file=settings.sync_file)


async def open_room(
    settings: Settings, *, clock: Clock, infos: MutableMapping[str, DeviceInfo], counters: Counters
) -> WaitingRoom:
    """Open the waiting room, and let the clock go on from what an earlier run knew."""
    room = await WaitingRoom.open(
        settings.buffer.path,
        boot=boot_id(),
        guess_ns=clock.guess_ns,
        window_s=settings.window_s,
        max_bytes=settings.clock.waiting_max_bytes,
        devices=infos,
        counters=counters,
        now_boot_ns=clock.boot_ns,
    )
    clock.begin(await room.reserve())
    if room.known.boot == boot_id() and room.known.offset_ns is not None:
        clock.remember(room.known.offset_ns)
    return room


class Timekeeper:
    """Looks at the clock twice a second."""

    def __init__(self, clock: Clock, room: WaitingRoom, pipeline: Pipeline, ingest: Publisher | None) -> None:
        self._clock = clock
        self._room = room
        self._pipeline = pipeline
        self._ingest = ingest
        """Who asks the ingest; none without TLS: anybody on the network could set the clock."""
        self._asks = 0
        self._ask_at = 0.0
        self._remember_at = 0.0
        self._offset_ns: int | None = None

    async def run(self) -> None:
        """Go on until cancelled."""
        while True:
            self._clock.synced()
            if self._ingest is not None and (self._clock.source is not Source.SYSTEM or self._clock.held):
                self._ask(self._ingest)
            await self._remember()
            await self._pipeline.tend()
            await asyncio.sleep(LOOK_S)

    def _ask(self, ingest: Publisher) -> None:
        offset_ns = ingest.evidence.offset_ns(self._clock.boot_ns())
        if offset_ns is not None:
            self._clock.correct(offset_ns)
        # Where the time is known already, the acknowledgements of batches tell enough.
        if self._clock.source is not Source.INGEST and ingest.connected and time.monotonic() >= self._ask_at:
            self._ask_at = time.monotonic() + _ASK_S[self._asks >= _EAGER]
            self._asks += 1
            ingest.ask_time()

    async def _remember(self) -> None:
        offset_ns = self._clock.offset_ns
        if offset_ns is None or (offset_ns == self._offset_ns and time.monotonic() < self._remember_at):
            return
        self._offset_ns, self._remember_at = offset_ns, time.monotonic() + REMEMBER_S
        if self._clock.source is Source.EARLIER:
            return
        await self._room.note(offset_ns, now_ns=self._clock.now_ns(), reckoning=self._clock.reckoning)
