"""The newest state of every point, merged from rows as they are read. Holds no row about a person."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import isfinite
from typing import TYPE_CHECKING, Final

from cloud_ingest.console.people import is_point, place_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from cloud_ingest.console.people import Place
    from cloud_ingest.stores.base import Record
    from telemetry.counters import Counters
    from telemetry.sample import Value

_NO_POINTS: Final = frozenset({"time_ns", "site", "room", "device", "gateway", "quality", "simulated"})
_ABOUT_PERSONS: Final = frozenset({"subject", "presence", "heart_rate", "rr_interval"})
"""No row with one of these is of any use to a room's board, wherever it was stored."""
_BAD: Final = "_bad"
_LATELY_NS: Final = 600 * 10**9
_GONE_AFTER_NS: Final = 86_400 * 10**9
_MOST_SERIES: Final = 20_000
_MOST_POINTS: Final = 100


@dataclass(slots=True, kw_only=True)
class PointState:
    """The newest reading of a point: a value, or why there is none."""

    time_ns: int
    value: Value | None
    bad: str | None
    quality: str
    simulated: bool


@dataclass(slots=True, kw_only=True)
class SeriesState:
    """A device's points under one measurement."""

    site: str
    room: str
    device: str
    newest_ns: int = -1
    in_newest: frozenset[str] = frozenset()
    """Points that the newest row tells of; a point that is reported by exception is in few rows."""
    points: dict[str, PointState] = field(default_factory=dict)


class Board:
    """Series by measurement, site, room and device; bounded."""

    def __init__(self, counters: Counters) -> None:
        self._counters = counters
        self._series: dict[tuple[str, object, object, object], SeriesState] = {}
        """Measurement, site, room, device → state."""

    def note(self, measurement: str, records: Iterable[Record]) -> None:
        """Take over what is newer than what is known."""
        for record in records:
            # Rows come each second, so names are judged once: when a series or a point is new.
            series = self._series.get((measurement, record.get("site"), record.get("room"), record.get("device")))
            if series is None:
                series = self._new(measurement, record)
            if series is None or not _ABOUT_PERSONS.isdisjoint(record):
                self._counters.add("console.dropped_rows")
            else:
                _merge(series, record)

    def _new(self, measurement: str, record: Record) -> SeriesState | None:
        place = place_of(record)
        if place is None or not _ABOUT_PERSONS.isdisjoint(record) or len(self._series) >= _MOST_SERIES:
            return None
        series = SeriesState(site=place[0], room=place[1], device=record["device"])
        self._series[measurement, series.site, series.room, series.device] = series
        return series

    def forget_before(self, time_ns: int) -> None:
        """Drop series that have been silent since `time_ns`, and points that their device no longer has."""
        self._series = {key: series for key, series in self._series.items() if series.newest_ns >= time_ns}
        for series in self._series.values():
            oldest_ns = series.newest_ns - _GONE_AFTER_NS
            series.points = {name: state for name, state in series.points.items() if state.time_ns >= oldest_ns}

    def lacking(self, measurement: str) -> frozenset[str]:
        """Return points that some series had lately, but has not in its newest row."""
        return frozenset(
            point
            for key, series in self._series.items()
            if key[0] == measurement
            for point, state in series.points.items()
            if point not in series.in_newest and series.newest_ns - state.time_ns < _LATELY_NS
        )

    def places(self) -> Iterator[Place]:
        """Return where something was measured; may repeat."""
        return ((series.site, series.room) for series in self._series.values())

    def site(self, site: str) -> Iterator[SeriesState]:
        """Return the series of a site."""
        return (series for series in self._series.values() if series.site == site)


def _merge(series: SeriesState, record: Record) -> None:
    time_ns = record["time_ns"]
    quality, simulated = record.get("quality"), record.get("simulated") is True
    names: set[str] = set()
    for name, value in record.items():
        if name in _NO_POINTS:
            continue
        point, bad = name, None
        if name.endswith(_BAD) and isinstance(value, str):
            point, bad = name.removesuffix(_BAD), value
        known = series.points.get(point)
        if known is None and (len(series.points) >= _MOST_POINTS or not is_point(point)):
            continue
        names.add(point)
        if (known is not None and known.time_ns > time_ns) or (isinstance(value, float) and not isfinite(value)):
            continue
        series.points[point] = PointState(
            time_ns=time_ns,
            value=value if bad is None else None,
            bad=bad,
            quality=quality if isinstance(quality, str) else "good",
            simulated=simulated,
        )
    if time_ns >= series.newest_ns:
        series.newest_ns = time_ns
        series.in_newest = frozenset(names)
