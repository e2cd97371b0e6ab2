"""Room views: what the board, the gateways and the groups know of each room, joined and judged. Pure."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final, Protocol

from cloud_ingest.console.model import LimitState, RoomView, ValueView
from cloud_ingest.console.people import PUPILS, Taps, coarse_count, pupils_range, without_handles
from telemetry.sample import Reason

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import tzinfo

    from cloud_ingest.console.board import Board, SeriesState
    from cloud_ingest.console.catalogue import Catalogue, DeviceInfo, PointFacts
    from cloud_ingest.console.limits import Limits
    from cloud_ingest.console.model import Limit
    from cloud_ingest.console.people import Place

_NS: Final = 1_000_000_000
_AHEAD_S: Final = 60.0
"""A row from further ahead comes from a clock that went wrong: not fresh."""
_SHOWN_CHARACTERS: Final = 60
_NO_TAPS: Final = Taps(count=0, simulated=False)
COUNTS_PEOPLE: Final = frozenset({"people", "bands_seen"})
_REASONS: Final = frozenset(reason.value for reason in Reason)


class Gateways(Protocol):
    """What rooms need to know of the fleet."""

    def device(self, site: str, room: str, device: str) -> DeviceInfo | None:
        """Return how its gateway describes a device."""
        ...

    def rooms_of(self, site: str) -> Mapping[str, bool]:
        """Return the rooms with devices → whether one of these is a card reader."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """What is known at one time: everything that a room view is made of."""

    board: Board
    taps: Mapping[Place, Taps]
    now_ns: int


class RoomMaker:
    """Makes the views of a site."""

    def __init__(self, *, gateways: Gateways, catalogue: Catalogue, limits: Limits, zone: tzinfo) -> None:
        self._gateways = gateways
        self._catalogue = catalogue
        self._limits = limits
        self._zone = zone

    def rooms(self, site: str, moment: Moment) -> tuple[RoomView, ...]:
        """Return the rooms of `site`, sorted by name."""
        local = datetime.fromtimestamp(moment.now_ns // _NS, self._zone)
        values: defaultdict[str, list[tuple[tuple[object, ...], ValueView]]] = defaultdict(list)
        for series in moment.board.site(site):
            values[series.room].extend(self._values(series, moment.now_ns, local))
        described = self._gateways.rooms_of(site)
        tapped = {room for of_site, room in moment.taps if of_site == site}
        views: list[RoomView] = []
        for room in sorted({*values, *described, *tapped}):
            shown = tuple(view for _, view in sorted(values.get(room, ()), key=lambda pair: pair[0]))
            taps = moment.taps.get((site, room)) or (_NO_TAPS if described.get(room) else None)
            views.append(
                RoomView(
                    site=site,
                    room=room,
                    values=shown,
                    taps_today=None if taps is None else taps.count,
                    simulated=any(view.simulated for view in shown) or (taps is not None and taps.simulated),
                )
            )
        return tuple(views)

    def _values(
        self, series: SeriesState, now_ns: int, local: datetime
    ) -> Iterable[tuple[tuple[object, ...], ValueView]]:
        device = self._gateways.device(series.site, series.room, series.device)
        for point, state in series.points.items():
            facts = self._catalogue.facts(point, device)
            if not facts.shown or (isinstance(state.value, str) and not facts.text):
                continue
            if facts.over_after_s is not None and (now_ns - state.time_ns) / _NS > facts.over_after_s:
                continue
            yield (facts.order, point, series.device), self._view(series, point, facts, now_ns, local)

    def _view(self, series: SeriesState, point: str, facts: PointFacts, now_ns: int, local: datetime) -> ValueView:
        state = series.points[point]
        age_s = (now_ns - state.time_ns) / _NS
        stale = age_s > facts.max_age_s or age_s < -_AHEAD_S
        value, range_from = state.value, None
        judged: tuple[LimitState, Limit | None] = (LimitState.UNJUDGED, None)
        if isinstance(value, float):
            if point == PUPILS:
                value, range_from = pupils_range(value)
            elif facts.quantity in COUNTS_PEOPLE or point in COUNTS_PEOPLE:
                value, range_from = coarse_count(value)
            judged = self._limits.judge(facts.quantity, value, local)
            if stale:
                judged = (LimitState.UNJUDGED, judged[1])
        elif isinstance(value, str):
            value = without_handles(value)[:_SHOWN_CHARACTERS]
        return ValueView(
            device=series.device,
            point=point,
            quantity=facts.quantity,
            unit=facts.unit,
            value=value,
            range_from=range_from,
            bad=None if state.bad is None else reason_of(state.bad),
            age_s=max(0.0, age_s),
            stale=stale,
            state=judged[0],
            limit=judged[1],
            quality=without_handles(state.quality)[:_SHOWN_CHARACTERS],
            simulated=state.simulated,
        )


def reason_of(text: str) -> Reason | str:
    """Return one of our reasons, or the head of what was stored instead."""
    return Reason(text) if text in _REASONS else without_handles(text)[:_SHOWN_CHARACTERS]
