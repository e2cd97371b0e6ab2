"""The real Source: stores for rooms, the broker for gateways; read once a second at most, for all pages together."""

from __future__ import annotations

import asyncio
import time
from datetime import datetime
from typing import TYPE_CHECKING, Final

from cloud_ingest.console.board import Board
from cloud_ingest.console.catalogue import Catalogue
from cloud_ingest.console.charts import Charts
from cloud_ingest.console.fleet import Fleet
from cloud_ingest.console.limits import load_limits
from cloud_ingest.console.listener import Listener
from cloud_ingest.console.model import SourceState
from cloud_ingest.console.people import BANDS, BANDS_SEEN, NOBODYS, count_taps
from cloud_ingest.console.reader import Reader
from cloud_ingest.console.rooms import Moment, RoomMaker
from cloud_ingest.stores.base import Selection
from cloud_ingest.zones import day_bounds_ns, zone
from telemetry.counters import Counters
from telemetry.errors import CampusError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import date

    from cloud_ingest.console.model import DayChart, GatewayView, RoomView
    from cloud_ingest.console.people import Place, Taps
    from cloud_ingest.settings import Settings

_NS: Final = 1_000_000_000
_MEASUREMENTS: Final = ("environment", "energy", "occupancy", "lesson")
_DEADLINE_S: Final = 10.0
_READ_EVERY_S: Final = 1.0
_RECENT_S: Final = 120
"""How far back the newest rows are looked for; slower or late ones are found by the thorough look."""
_THOROUGH_EVERY_S: Final = 300.0
_SHOWN_FOR_S: Final = 7 * 86_400
"""What has been silent for longer is not shown."""
_FILL_EVERY_S: Final = 10.0
_FILL_S: Final = 15
_FIRST_FILL_S: Final = 60
"""A point that is reported by exception is in one of so many seconds' rows."""
_TAPS_EVERY_S: Final = 5.0
_BANDS_EVERY_S: Final = 2.0
_BANDS_OVER_S: Final = 30
_BANDS_FIELDS: Final = (BANDS_SEEN, f"{BANDS_SEEN}_bad", "quality", "simulated")
_GATEWAYS_EVERY_S: Final = 10.0


class Due:
    """Tells when something is to be done again."""

    def __init__(self, every_s: float, clock_s: Callable[[], float]) -> None:
        self._every_s = every_s
        self._clock_s = clock_s
        self._done_at: float | None = None

    def now(self) -> bool:
        """Tell whether the time has come."""
        return self._done_at is None or self._clock_s() - self._done_at >= self._every_s

    def done(self) -> None:
        """Begin to wait."""
        self._done_at = self._clock_s()


class StoreSource:
    """Keeps the newest state of all rooms; reads on demand, one reading at a time for everybody."""

    def __init__(
        self,
        settings: Settings,
        *,
        now_ns: Callable[[], int] = time.time_ns,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self.counters = Counters()
        self._now_ns = now_ns
        self._zone = zone(settings.console.timezone)
        self._reader = Reader(settings.store.urls)
        self._fleet = Fleet(self.counters, now_ns=now_ns, clock_s=clock_s)
        self._listener = Listener(settings.mqtt, self._fleet, self.counters)
        self._board = Board(self.counters)
        limits, catalogue = load_limits(settings.console.limits_file), Catalogue()
        self._maker = RoomMaker(gateways=self._fleet, catalogue=catalogue, limits=limits, zone=self._zone)
        self._charts = Charts(
            reader=self._reader,
            gateways=self._fleet,
            catalogue=catalogue,
            limits=limits,
            zone=self._zone,
            now_ns=now_ns,
        )
        self._taps: Mapping[Place, Taps] = {}
        self._one = asyncio.Lock()
        self._failed: CampusError | None = None
        self._read_until_ns = 0
        self._due = Due(_READ_EVERY_S, clock_s)
        self._thorough = Due(_THOROUGH_EVERY_S, clock_s)
        self._fill = Due(_FILL_EVERY_S, clock_s)
        self._taps_due = Due(_TAPS_EVERY_S, clock_s)
        self._bands_due = Due(_BANDS_EVERY_S, clock_s)
        self._gateways_due = Due(_GATEWAYS_EVERY_S, clock_s)

    async def run(self) -> None:
        """Keep what gateways tell up to date, until cancelled."""
        await self._listener.run()

    async def sites(self) -> Sequence[str]:
        """Return the sites that are known, sorted; those of gateways also while no store answers."""
        await self._refresh()
        stored = {site for site, _ in (*self._board.places(), *self._taps)}
        return sorted(stored | self._fleet.sites())

    async def rooms(self, site: str) -> Sequence[RoomView]:
        """Return the rooms of a site, sorted by name. Raises StoreBusy, StoreRejected or AuthError."""
        await self._refresh()
        if self._failed is not None:
            raise self._failed
        moment = Moment(board=self._board, taps=self._taps, now_ns=self._now_ns())
        return self._maker.rooms(site, moment)

    async def chart(self, site: str, room: str, day: date) -> DayChart:
        """Return a room's local day. Raises StoreBusy, StoreRejected or AuthError."""
        return await self._charts.chart(site, room, day)

    async def gateways(self) -> Sequence[GatewayView]:
        """Return all gateways, sorted by site and name; from memory."""
        return self._fleet.views()

    async def state(self) -> SourceState:
        """Return what does not answer; from memory."""
        problem = self._reader.problem or (None if self._failed is None else str(self._failed))
        return SourceState(store_problem=problem, broker_problem=self._listener.problem)

    async def close(self) -> None:
        """Release the stores."""
        await self._reader.close()

    async def _refresh(self) -> None:
        """Read what is due; a failure is kept for `rooms` and `state`."""
        async with self._one:
            if not self._due.now():
                return
            try:
                await self._read()
                self._failed = None
            except CampusError as error:
                self._failed = error
            self._due.done()

    async def _read(self) -> None:
        now_ns = self._now_ns()
        thorough = self._thorough.now()
        # After a pause, in which nobody looked, as far back as the pause was long.
        recent_ns = min(self._read_until_ns, now_ns) - _RECENT_S * _NS
        oldest_ns = now_ns - _SHOWN_FOR_S * _NS
        since_ns = oldest_ns if thorough else max(oldest_ns, recent_ns)
        for measurement in _MEASUREMENTS:
            self._board.note(measurement, await self._reader.latest(measurement, since_ns, _DEADLINE_S))
        if self._fill.now():
            await self._fill_up(now_ns)
            self._fill.done()
        if self._bands_due.now():
            await self._read_bands(now_ns)
            self._bands_due.done()
        if self._taps_due.now():
            await self._read_taps(now_ns)
            self._taps_due.done()
        if self._gateways_due.now():
            self._fleet.note_rows(
                await self._reader.latest("gateway", oldest_ns if thorough else recent_ns, _DEADLINE_S)
            )
            self._gateways_due.done()
        if thorough:
            self._board.forget_before(oldest_ns)
            self._thorough.done()
        self._read_until_ns = now_ns

    async def _fill_up(self, now_ns: int) -> None:
        """Read the rows before the newest too: what is reported by exception may be in one of those."""
        paused = now_ns - self._read_until_ns > _FILL_S * _NS
        for measurement in _MEASUREMENTS:
            lacking = sorted(self._board.lacking(measurement))
            if not lacking and not paused:
                continue
            fields = [name for point in lacking for name in (point, f"{point}_bad")]
            selection = Selection(
                measurement=measurement,
                since_ns=now_ns - (_FIRST_FILL_S if paused else _FILL_S) * _NS,
                fields=() if paused else (*fields, "quality", "simulated"),
            )
            # Newest first: then the older rows have nothing to change.
            self._board.note(measurement, reversed(await self._reader.query(selection, _DEADLINE_S)))

    async def _read_bands(self, now_ns: int) -> None:
        """Read how many bands were seen in the last half minute; no row about a person is asked for."""
        since_ns = now_ns - _BANDS_OVER_S * _NS
        selection = Selection(measurement=BANDS, since_ns=since_ns, fields=_BANDS_FIELDS, where=NOBODYS)
        self._board.note(BANDS, await self._reader.query(selection, _DEADLINE_S))

    async def _read_taps(self, now_ns: int) -> None:
        """Count today's taps; rows of persons are not kept."""
        today = datetime.fromtimestamp(now_ns // _NS, self._zone).date()
        since_ns, until_ns = day_bounds_ns(today, self._zone)
        fields = ("presence", "simulated")
        selection = Selection(measurement="attendance", since_ns=since_ns, until_ns=until_ns, fields=fields)
        self._taps = count_taps(await self._reader.query(selection, _DEADLINE_S))


def open_source(settings: Settings) -> StoreSource:
    """Return the source of a console with `settings`, connected to nothing yet. Raises ConfigError."""
    return StoreSource(settings)
