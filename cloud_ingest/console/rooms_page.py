"""The start page: a card for each room with its newest values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from cloud_ingest.console.model import LimitState
from cloud_ingest.console.parts import Age, Reading, box, icon, simulated_mark, words
from cloud_ingest.console.texts import counted, text
from cloud_ingest.console.wording import called, tell, twins

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cloud_ingest.console.frame import Visit
    from cloud_ingest.console.hub import Snapshot
    from cloud_ingest.console.model import RoomView, ValueView

_LAGS_S: Final = 20.0
"""A value that is so much older than its room's newest shows its own age."""


def acquired_ms(read_at_ns: int, age_s: float) -> int:
    """Return when a value was acquired, in UTC milliseconds."""
    return read_at_ns // 1_000_000 - round(age_s * 1000)


class Readings:
    """The values of one room, kept up to date."""

    def __init__(self, visit: Visit, room: RoomView, *, aged: bool = False) -> None:
        self._lang = visit.lang
        self._aged = aged
        self.keys = shape(room)
        twice = twins(room.values)
        with box("dl", "values"):
            self._rows = [
                Reading(tell(view, visit.lang, with_device=called(view) in twice), with_limit=aged)
                for view in room.values
            ]
            self._taps = None
            if room.taps_today is not None:
                with box("div", "value tone-plain"):
                    words("dt", text("taps_today", visit.lang))
                    with box("dd", "reading"):
                        self._taps = words("span", "", "number")
                        words("span", text("taps", visit.lang), "unit")
                    box("dd", "state")

    def show(self, room: RoomView, read_at_ns: int) -> None:
        """Show `room`, whose shape is that of the first one."""
        newest_s = min((view.age_s for view in room.values), default=0.0)
        twice = twins(room.values)
        for row, view in zip(self._rows, room.values, strict=True):
            lags = self._aged or view.stale or view.age_s - newest_s > _LAGS_S
            told = tell(view, self._lang, with_device=called(view) in twice)
            row.show(told, acquired_ms(read_at_ns, view.age_s) if lags else None)
        if self._taps is not None:
            self._taps.text = str(room.taps_today or 0)


def shape(room: RoomView) -> tuple[object, ...]:
    """Return what must stay the same for a card to be updated in place."""
    keys = tuple((view.device, view.point) for view in room.values)
    return (room.room, keys, room.taps_today is None, room.simulated)


class _Card:
    def __init__(self, visit: Visit, room: RoomView) -> None:
        with box("li", "card") as self._card:
            with box("div", "card-head"):
                with box("h2", "card-title"):
                    words("a", room.room, href=visit.link(f"room/{room.room}"))
                if room.simulated:
                    simulated_mark(visit.lang)
                with box("span", "updated") as self._updated:
                    words("span", text("updated", visit.lang))
                    self._age = Age()
            self._readings = Readings(visit, room)
            address = visit.link(f"room/{room.room}")
            label = text("open_room", visit.lang, room=room.room)
            with box("a", "card-more", href=address, aria_label=label):
                words("span", text("details", visit.lang))
                icon("next")
        self.keys = self._readings.keys

    def show(self, room: RoomView, read_at_ns: int) -> None:
        newest_s = min((view.age_s for view in room.values), default=None)
        # A room with nothing but card taps has no reading that could be old.
        self._updated.classes(replace="updated" if newest_s is not None else "updated gone")
        self._age.show(None if newest_s is None else acquired_ms(read_at_ns, newest_s))
        attention = any(view.state in (LimitState.ABOVE, LimitState.BELOW) for view in room.values if not view.stale)
        faulty = any(view.bad is not None or view.stale for view in room.values)
        self._card.classes(replace=f"card{' card-beyond' if attention else ' card-faulty' if faulty else ''}")
        self._readings.show(room, read_at_ns)


class RoomsPage:
    """All rooms of a site."""

    def __init__(self, visit: Visit) -> None:
        self._visit = visit
        self._cards: list[_Card] = []
        self._shown: list[tuple[object, ...]] | None = None
        with box("div", "page-head"):
            words("h1", text("rooms_title", visit.lang))
            self._summary = words("p", "", "summary", role="status")
        with box("ul", "cards") as self._list:
            pass
        with box("div", "empty gone") as self._empty:
            words("h2", text("no_rooms", visit.lang))
            words("p", text("no_rooms_hint", visit.lang))

    def show(self, snapshot: Snapshot) -> None:
        """Show the snapshot; cards are built anew only when rooms or their points changed."""
        site = self._visit.site or ""
        rooms = snapshot.rooms.get(site, ())
        shapes = [shape(room) for room in rooms]
        if shapes != self._shown:
            self._shown = shapes
            self._list.clear()
            with self._list:
                self._cards = [_Card(self._visit, room) for room in rooms]
            self._empty.classes(replace="empty gone" if rooms else "empty")
        for card, room in zip(self._cards, rooms, strict=True):
            card.show(room, snapshot.rooms_at_ns.get(site, snapshot.at_ns))
        self._summary.text = self._told(rooms)

    def _told(self, rooms: Sequence[RoomView]) -> str:
        if not rooms:
            return ""
        lang = self._visit.lang
        views = [view for room in rooms for view in room.values]
        counts = {
            "sum_beyond": sum(_beyond(view) for view in views),
            "sum_bad": sum(view.bad is not None for view in views),
            "sum_stale": sum(view.stale and view.bad is None for view in views),
        }
        parts = [text(key, lang, n=number) for key, number in counts.items() if number]
        return " · ".join([counted("sum_rooms", lang, len(rooms)), *(parts or [text("sum_fine", lang)])])


def _beyond(view: ValueView) -> bool:
    return not view.stale and view.bad is None and view.state in (LimitState.ABOVE, LimitState.BELOW)
