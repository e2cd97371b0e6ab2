"""The hub: reads the source once a second for all open pages together, and hands each the same snapshot."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from cloud_ingest.console.model import DayChart, GatewayView, RoomView, Source, SourceState
from telemetry.errors import CampusError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import date

_log = logging.getLogger(__name__)
PERIOD_S: Final = 1.0
_CHART_AGE_S: Final = 15.0
_MOST_CHARTS: Final = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """What is known at one moment; a site's rooms are there once a page asked for them."""

    at_ns: int = 0
    sites: tuple[str, ...] = ()
    rooms: Mapping[str, tuple[RoomView, ...]] = field(default_factory=dict)
    rooms_at_ns: Mapping[str, int] = field(default_factory=dict)
    """When each site's rooms were read: their ages count from then."""
    gateways: tuple[GatewayView, ...] = ()
    state: SourceState = field(default_factory=SourceState)


class Hub:
    """Shared by all pages; what cannot be read now stays as it was, with a word about it."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._views: dict[int, tuple[str | None, Callable[[Snapshot], None]]] = {}
        self._next = 0
        self._lock = asyncio.Lock()
        self._charts: OrderedDict[tuple[str, str, date], tuple[float, DayChart]] = OrderedDict()
        self.snapshot = Snapshot()

    def watch(self, site: str | None, show: Callable[[Snapshot], None]) -> Callable[[], None]:
        """Have `show` called with each snapshot, with the rooms of `site`; returns what ends it."""
        number, self._next = self._next, self._next + 1
        self._views[number] = (site, show)

        def unwatch() -> None:
            self._views.pop(number, None)

        return unwatch

    async def run(self) -> None:
        """Refresh each second while a page is open, until cancelled."""
        while True:
            if self._views:
                await self.refresh()
                for _, show in list(self._views.values()):
                    show(self.snapshot)
            await asyncio.sleep(PERIOD_S)

    async def fresh(self, site: str | None) -> Snapshot:
        """Return a snapshot of this second with the rooms of `site`; none means the first site."""
        await self.refresh(extra=site, within_s=PERIOD_S)
        if site is None and self.snapshot.sites:
            return await self.fresh(self.snapshot.sites[0])
        return self.snapshot

    async def refresh(self, *, extra: str | None = None, within_s: float = 0.0) -> None:
        """Read anew what the open pages and `extra` need, unless that was done `within_s`."""
        async with self._lock:
            old = self.snapshot
            recent_ns = time.time_ns() - int(within_s * 1e9)
            if within_s and old.at_ns > recent_ns and (extra is None or old.rooms_at_ns.get(extra, 0) > recent_ns):
                return
            try:
                sites = tuple(await self._source.sites())
                trouble = None
            except CampusError as error:
                sites, trouble = old.sites, str(error)
            wanted = {site for site, _ in self._views.values()} | {extra}
            rooms, read_at = dict(old.rooms), dict(old.rooms_at_ns)
            for site in sorted(site for site in wanted if site in sites):
                try:
                    rooms[site], read_at[site] = tuple(await self._source.rooms(site)), time.time_ns()
                except CampusError as error:
                    trouble = str(error)
            state = await self._source.state()
            if trouble is not None:
                if old.state.store_problem is None:
                    _log.warning("store cannot be read: %s", trouble)
                state = replace(state, store_problem=state.store_problem or trouble)
            self.snapshot = Snapshot(
                at_ns=time.time_ns(),
                sites=sites,
                rooms=rooms,
                rooms_at_ns=read_at,
                gateways=tuple(await self._source.gateways()),
                state=state,
            )

    async def chart(self, site: str, room: str, day: date) -> DayChart:
        """Return a room's day, at most 15 s old. Raises CampusError when the store does not answer."""
        key = (site, room, day)
        found = self._charts.get(key)
        if found is not None and time.monotonic() - found[0] < _CHART_AGE_S:
            return found[1]
        chart = await self._source.chart(site, room, day)
        self._charts[key] = (time.monotonic(), chart)
        self._charts.move_to_end(key)
        while len(self._charts) > _MOST_CHARTS:
            self._charts.popitem(last=False)
        return chart
