"""A room's page: its newest values, and a chart of the day for each quantity."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from nicegui import ui

from cloud_ingest.console.chart_options import aria_label, figures, options, summary
from cloud_ingest.console.parts import box, icon, simulated_mark, words
from cloud_ingest.console.rooms_page import Readings, shape
from cloud_ingest.console.texts import text
from cloud_ingest.console.wording import limit_words, quantity_name
from telemetry.errors import CampusError

if TYPE_CHECKING:
    from datetime import date, tzinfo

    from nicegui.element import Element
    from nicegui.elements.mixins.text_element import TextElement

    from cloud_ingest.console.chart_options import Figure
    from cloud_ingest.console.frame import Visit
    from cloud_ingest.console.hub import Hub, Snapshot
    from cloud_ingest.console.model import DayChart

REDRAWN_EVERY_S: Final = 20.0


def today(zone: tzinfo) -> date:
    """Return the school's day."""
    return datetime.now(zone).date()


class RoomPage:
    """One room."""

    def __init__(self, visit: Visit, hub: Hub, room: str, day: date, zone: tzinfo) -> None:
        self._visit, self._hub, self._room, self._day, self._zone = visit, hub, room, day, zone
        self._readings: Readings | None = None
        self._drawn: list[tuple[str, int, int]] | None = None
        self._charts: list[tuple[ui.echart, TextElement, Element]] = []
        lang = visit.lang
        with box("div", "page-head"):
            with box("a", "back", href=visit.link("")):
                icon("back")
                words("span", text("back", lang))
            with box("div", "title-line"):
                words("h1", room)
                self._mark = box("span")
        with box("section", "panel", aria_labelledby="now"):
            words("h2", text("now", lang), id="now")
            self._now = box("div", "now")
        with box("section", "panel", aria_labelledby="day"):
            with box("div", "day-head"):
                words("h2", text("details", lang), id="day")
                self._day_picker()
            words("p", text("gaps_note", lang), "hint")
            self._problem = words("p", "", "empty-line gone", role="status")
            self._figures = box("div", "figures")

    def _day_picker(self) -> None:
        lang, day = self._visit.lang, self._day
        newest = today(self._zone)

        def link(other: date) -> str:
            return self._visit.link(f"room/{self._room}", day=other.isoformat())

        with box("form", "day-picker", method="get", action=self._visit.link(f"room/{self._room}").partition("?")[0]):
            if len(self._visit.sites) > 1 and self._visit.site:
                box("input", type="hidden", name="site", value=self._visit.site)
            with box("a", "step", href=link(day - timedelta(days=1)), aria_label=text("previous_day", lang)):
                icon("back")
            with box("label"):
                words("span", text("day", lang), "label visually-hidden")
                picker = box("input", type="date", name="day", value=day.isoformat(), max=newest.isoformat())
            # A date that is typed is not complete before its last digit.
            picker.on("change", js_handler="(event) => event.target.value && event.target.form.submit()")
            if day < newest:
                with box("a", "step", href=link(day + timedelta(days=1)), aria_label=text("next_day", lang)):
                    icon("next")
                words("a", text("today", lang), "switch", href=link(newest))

    def show(self, snapshot: Snapshot) -> None:
        """Show the newest values."""
        site = self._visit.site or ""
        room = next((one for one in snapshot.rooms.get(site, ()) if one.room == self._room), None)
        if room is None:
            if self._readings is not None or not list(self._now):
                self._readings = None
                self._now.clear()
                with self._now:
                    words("p", text("no_room", self._visit.lang), "empty-line")
            return
        if self._readings is None or self._readings.keys != shape(room):
            self._now.clear()
            self._mark.clear()
            with self._now:
                self._readings = Readings(self._visit, room, aged=True)
            if room.simulated:
                with self._mark:
                    simulated_mark(self._visit.lang)
        self._readings.show(room, snapshot.rooms_at_ns.get(site, snapshot.at_ns))

    async def draw(self) -> None:
        """Draw the day, or say why it cannot be drawn."""
        lang = self._visit.lang
        try:
            chart = await self._hub.chart(self._visit.site or "", self._room, self._day)
        except CampusError:
            self._say(text("chart_failed", lang))
            return
        drawn = figures(chart)
        self._say("" if drawn else text("no_chart", lang))
        shapes = [(one.quantity, len(one.series), len(one.limits)) for one in drawn]
        if shapes != self._drawn:
            self._drawn = shapes
            self._figures.clear()
            with self._figures:
                self._charts = [self._figure(one, chart) for one in drawn]
            return
        for (shown, line, named), one in zip(self._charts, drawn, strict=True):
            shown.options.update(options(one, chart, lang, self._zone))
            shown.update()
            named.props["aria-label"] = aria_label(one, chart, lang)
            line.text = summary(one, lang)

    def _say(self, what: str) -> None:
        self._problem.text = what
        self._problem.classes(replace="empty-line" if what else "empty-line gone")

    def _figure(self, figure: Figure, chart: DayChart) -> tuple[ui.echart, TextElement, Element]:
        lang = self._visit.lang
        with box("figure", "figure"):
            with box("figcaption"):
                with box("div", "figure-head"):
                    words("h3", quantity_name(figure.quantity, lang, point=figure.point))
                    if any(series.simulated for series in figure.series):
                        simulated_mark(lang)
                line = words("p", summary(figure, lang), "figure-summary")
                for limit in figure.limits:
                    words("p", limit_words(limit, lang), "figure-limit")
            with box("div", "chart", role="img", aria_label=aria_label(figure, chart, lang)) as named:
                drawn = ui.echart(options(figure, chart, lang, self._zone), renderer="svg").classes("plot")
        return drawn, line, named
