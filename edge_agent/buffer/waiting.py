"""The waiting room: what the gate admitted before anybody knew the time waits here, durable, until it can be told."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final, Self

import msgspec

from edge_agent.buffer.small import read_small, write_small
from edge_agent.buffer.unsynced import FOLDER, Lane, UnsyncedLog
from edge_agent.buffer.unsynced_form import Known, Stamp, estimate
from edge_agent.buffer.unsynced_store import UnsyncedStore
from edge_agent.clock import GRAIN_NS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, MutableMapping, Sequence
    from pathlib import Path

    from edge_agent.buffer.unsynced import WaitingFile
    from telemetry.batch import DeviceInfo
    from telemetry.counters import Counters
    from telemetry.sample import Admitted

_KNOWN: Final = "known"
_FILES_AT_ONCE: Final = 4
"""So many files are told before they are waited for: each is small."""
_RESERVE: Final = 4
"""Reckonings that a start sets aside: a crash must not bring one back that was used."""


class WaitingRoom(UnsyncedStore):
    """Tells what waits by the time, once that is known: file by file, each removed when the buffer has it durably."""

    known = Known()
    """As an earlier run left it."""

    @classmethod
    async def open(
        cls,
        path: Path,
        *,
        boot: str,
        guess_ns: int,
        window_s: float,
        max_bytes: int,
        devices: MutableMapping[str, DeviceInfo],
        counters: Counters,
        now_boot_ns: Callable[[], int],
    ) -> Self:
        """Open the room in the buffer directory `path`; whatever is wrong with it, the agent starts."""
        folder, bad = path / FOLDER, path / "quarantine"
        log = UnsyncedLog(folder, boot=boot, guess_ns=guess_ns, devices=devices, quarantine_folder=bad)
        room = cls(log, window_s=window_s, max_bytes=max_bytes, counters=counters, now_boot_ns=now_boot_ns)
        try:
            await room._call(log.open)
            room.known = await room._call(lambda: read_small(folder / _KNOWN, Known) or Known())
        except OSError as error:
            room._failed(error)
        for file in log.files:
            for name, info in file.label.devices.items():
                devices.setdefault(name, info)
        return room

    async def learned(self, offset_ns: int) -> None:
        """Note UTC minus CLOCK_BOOTTIME of this boot: all that waits of it will be told by it, whatever happens."""
        await self._write()
        mine = [file for file in self._log.files if file.label.boot == self._log.boot and not self._log.stamp_of(file)]
        if mine:
            await self._stamp(mine, offset_ns, uncertain=False)

    async def reckon_others(self, offset_ns: int | None, new_reckoning: Callable[[], int]) -> None:
        """Give a time, marked uncertain, to what other boots left that never knew theirs.

        `offset_ns` is this boot's, none if it does not know its own either.
        """
        others = [
            file for file in self._log.files if file.label.boot != self._log.boot and self._log.stamp_of(file) is None
        ]
        boots: dict[str, list[WaitingFile]] = {}
        for file in others:
            boots.setdefault(file.label.boot, []).append(file)
        spans = [(files[0].label.guess_ns, max(file.newest_ns for file in files)) for files in boots.values()]
        estimates = estimate(spans, lower_ns=self.known.last_good_ns, upper_ns=offset_ns)
        for files, guess in zip(boots.values(), estimates, strict=True):
            await self._stamp(files, guess // GRAIN_NS * GRAIN_NS + new_reckoning(), uncertain=True)

    async def overflow(self, new_reckoning: Callable[[], int]) -> None:
        """Mark the oldest file about no person to be told as uncertain, if the room is full."""
        if self._log.size <= self._max_bytes:
            return
        oldest = next((one for one in self._log.files if one.lane is Lane.AIR and not self._log.stamp_of(one)), None)
        if oldest is not None:
            (guess,) = estimate([(oldest.label.guess_ns, oldest.newest_ns)], lower_ns=self.known.last_good_ns)
            await self._stamp([oldest], guess // GRAIN_NS * GRAIN_NS + new_reckoning(), uncertain=True)

    async def drain(
        self,
        tell: Callable[[int, Admitted, Stamp], Awaitable[None]],
        settled: Callable[[], Awaitable[None]],
    ) -> None:
        """Tell everything whose time is known; a file goes when `settled` says that the buffer has all of it.

        Killed in between, what was told is told again by the same offset: the same points.
        """
        self._trouble = None
        told: list[WaitingFile] = []
        for file in [one for one in self._log.files if self._log.stamp_of(one) is not None]:
            # A purge waits until what was read is in the buffer: there it looks next.
            async with self._files:
                stamp = self._log.stamp_of(file)
                if stamp is None:
                    continue
                if not file.told:
                    try:
                        samples = await self._read(file)
                    except OSError as error:
                        self._failed(error)
                        continue
                    for taken_ns, admitted in samples:
                        await tell(taken_ns, admitted, stamp)
                    file.told = True
            told.append(file)
            if len(told) >= _FILES_AT_ONCE:
                await self._let_go(told, settled)
                told = []
        await self._let_go(told, settled)

    async def note(self, offset_ns: int, *, now_ns: int, reckoning: int) -> None:
        """Write down that UTC is known in this boot."""
        reserved = (reckoning + _RESERVE) % GRAIN_NS
        await self._remember(Known(boot=self._log.boot, offset_ns=offset_ns, last_good_ns=now_ns, reckoning=reserved))

    async def reserve(self) -> int:
        """Return the number after which reckonings may be counted on; enough of them are set aside on disk."""
        first = self.known.reckoning
        await self._remember(msgspec.structs.replace(self.known, reckoning=(first + _RESERVE) % GRAIN_NS))
        return first

    async def _remember(self, known: Known) -> None:
        try:
            await self._call(lambda: write_small(self._log.folder / _KNOWN, known, self._log.disk))
        except OSError as error:
            self._failed(error)

    async def _let_go(self, told: Sequence[WaitingFile], settled: Callable[[], Awaitable[None]]) -> None:
        if not told:
            return
        await settled()
        async with self._files:
            for file in told:
                try:
                    await self._call(partial(self._log.remove, file))
                except OSError as error:
                    self._failed(error)

    async def _stamp(self, files: Sequence[WaitingFile], offset_ns: int, *, uncertain: bool) -> None:
        stamp = Stamp(
            boot=files[0].label.boot,
            files=[file.sequence for file in files],
            offset_ns=offset_ns,
            at_boot_ns=self._now_boot_ns(),
            uncertain=uncertain,
        )

        def work() -> None:
            for lane in Lane:
                self._log.seal(lane)
            self._log.stamp(stamp)

        try:
            await self._call(work)
        except OSError as error:
            self._failed(error)  # it is told all the same; only a crash now could tell it by another offset
