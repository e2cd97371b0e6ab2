"""A room's day, drawn from means by time bucket."""

from __future__ import annotations

import asyncio
import time
from datetime import datetime
from itertools import pairwise
from math import isfinite
from typing import TYPE_CHECKING, Final

from cloud_ingest.console.model import ChartSeries, DayChart, LimitState
from cloud_ingest.console.people import BANDS, BANDS_SEEN, NOBODYS, PUPILS, coarse_count, in_fives, is_point, place_of
from cloud_ingest.console.rooms import COUNTS_PEOPLE
from cloud_ingest.stores.base import Selection
from cloud_ingest.zones import day_bounds_ns
from telemetry.topics import NAME

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import date, tzinfo

    from cloud_ingest.console.catalogue import Catalogue
    from cloud_ingest.console.limits import Limits
    from cloud_ingest.console.people import Place
    from cloud_ingest.console.reader import Reader
    from cloud_ingest.console.rooms import Gateways
    from cloud_ingest.stores.base import Record

_NS: Final = 1_000_000_000
_MOST_POINTS: Final = 300
_STEPS_S: Final = (60, 120, 300, 600, 900, 1800, 3600)
_DEADLINE_S: Final = 60.0
_TAGS: Final = frozenset({"time_ns", "site", "room", "device", "gateway"})
_NUMBERS: Final = ("environment", "energy", "occupancy", "lesson")
_Columns = dict[tuple[str, str], dict[int, float]]
"""Device and point → value by time."""


class Charts:
    """Makes charts, one at a time, so that the rooms' values need not wait."""

    def __init__(
        self,
        *,
        reader: Reader,
        gateways: Gateways,
        catalogue: Catalogue,
        limits: Limits,
        zone: tzinfo,
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._reader = reader
        self._gateways = gateways
        self._catalogue = catalogue
        self._limits = limits
        self._zone = zone
        self._now_ns = now_ns
        self._one = asyncio.Lock()

    async def chart(self, site: str, room: str, day: date) -> DayChart:
        """Return a room's local day. Raises StoreBusy, StoreRejected or AuthError."""
        async with self._one:
            return await self._make(site, room, day)

    async def _make(self, site: str, room: str, day: date) -> DayChart:
        try:
            start_ns, end_ns = day_bounds_ns(day, self._zone)
        except (OverflowError, ValueError):
            return DayChart(site=site, room=room, day=day, start_ns=0, end_ns=0)
        until_ns = min(end_ns, self._now_ns())
        series: list[tuple[tuple[object, ...], ChartSeries]] = []
        if 0 < start_ns < until_ns and NAME.fullmatch(site) and NAME.fullmatch(room):
            every_ns = step_ns(end_ns - start_ns)
            grid = range(start_ns - start_ns % every_ns, until_ns, every_ns)
            for measurement in (*_NUMBERS, BANDS):
                series += await self._measured(measurement, (site, room), grid, until_ns, day.month)
        ordered = tuple(one for _, one in sorted(series, key=lambda pair: pair[0]))
        return DayChart(site=site, room=room, day=day, start_ns=start_ns, end_ns=end_ns, series=ordered)

    async def _measured(
        self, measurement: str, place: Place, grid: range, until_ns: int, month: int
    ) -> list[tuple[tuple[object, ...], ChartSeries]]:
        where = (("site", place[0]), ("room", place[1]), *NOBODYS)
        selection = Selection(
            measurement=measurement,
            since_ns=grid.start,
            until_ns=until_ns,
            every_ns=grid.step,
            fields=(BANDS_SEEN,) if measurement == BANDS else (),
            where=where,
        )
        columns = _columns(await self._reader.query(selection, _DEADLINE_S), place)
        simulated = await self._simulated(measurement, columns, grid.step, where)
        series: list[tuple[tuple[object, ...], ChartSeries]] = []
        for (device, point), found in columns.items():
            facts = self._catalogue.facts(point, self._gateways.device(*place, device))
            if not facts.shown or facts.text:
                continue
            values = {at: _told(point, facts.quantity, value) for at, value in found.items()}
            points = with_gaps(values, grid, int(facts.max_age_s * _NS))
            one = ChartSeries(
                device=device,
                point=point,
                quantity=facts.quantity,
                unit=facts.unit,
                points=points,
                limits=self._limits.shown(facts.quantity, month),
                beyond_s=self._beyond_s(facts.quantity, points),
                simulated=device in simulated,
            )
            series.append(((facts.order, point, device), one))
        return series

    def _beyond_s(self, quantity: str, points: Sequence[tuple[int, float | None]]) -> float | None:
        """Return for how long values stood beyond a limit in hours in which it judges; none where none does."""
        judged, beyond_ns = False, 0
        for (at, value), (following_at, following) in pairwise(points):
            if value is None:
                continue
            state, _ = self._limits.judge(quantity, value, datetime.fromtimestamp(at // _NS, self._zone))
            judged = judged or state is not LimitState.UNJUDGED
            if state in (LimitState.ABOVE, LimitState.BELOW) and following is not None:
                beyond_ns += following_at - at
        return beyond_ns / _NS if judged else None

    async def _simulated(
        self, measurement: str, columns: _Columns, every_ns: int, where: tuple[tuple[str, str], ...]
    ) -> frozenset[str]:
        """Return the devices with a simulated row in the first or the last bucket: means do not tell."""
        times = [time_ns for found in columns.values() for time_ns in found]
        devices: set[str] = set()
        for begin_ns in {min(times), max(times)} if times else ():
            until_ns = begin_ns + every_ns
            fields = ("simulated",)
            records = await self._reader.query(
                Selection(measurement=measurement, since_ns=begin_ns, until_ns=until_ns, fields=fields, where=where),
                _DEADLINE_S,
            )
            devices.update(record["device"] for record in records if record.get("simulated") is True)
        return frozenset(devices)


def _told(point: str, quantity: str, value: float) -> float:
    if point == PUPILS:
        return in_fives(value)
    return coarse_count(value)[0] if quantity in COUNTS_PEOPLE or point in COUNTS_PEOPLE else value


def step_ns(length_ns: int) -> int:
    """Return the shortest bucket that cuts `length_ns` into at most 300."""
    return next(step * _NS for step in (*_STEPS_S, 86_400) if length_ns <= _MOST_POINTS * step * _NS)


def with_gaps(values: Mapping[int, float], grid: range, max_age_ns: int) -> tuple[tuple[int, float | None], ...]:
    """Return a point for each bucket; buckets without value are left out where the device is just slow, else none."""
    points: list[tuple[int, float | None]] = []
    gap: list[tuple[int, float | None]] = []
    for at in grid:
        value = values.get(at)
        if value is None:
            gap.append((at, None))
            continue
        if not points or len(gap) * grid.step > max_age_ns:
            points += gap
        gap.clear()
        points.append((at, value))
    return (*points, *gap)


def _columns(records: Sequence[Record], place: Place) -> _Columns:
    """Return the numbers of each device's point by time."""
    columns: _Columns = {}
    for record in records:
        if place_of(record) != place or "subject" in record:
            continue
        for name, value in record.items():
            if name not in _TAGS and isinstance(value, float) and isfinite(value) and is_point(name):
                columns.setdefault((record["device"], name), {})[record["time_ns"]] = value
    return columns
