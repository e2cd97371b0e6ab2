"""What stands around every page: header, navigation, switches, notices."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, urlencode

from nicegui import ui

from cloud_ingest.console.parts import box, words
from cloud_ingest.console.texts import LANG_TAGS, text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nicegui.element import Element

    from cloud_ingest.console.hub import Snapshot
    from cloud_ingest.console.texts import Lang

CLOCK_EVERY: Final = 5
"""Snapshots between two words about the server's time."""
_PAGES: Final = (("rooms", ""), ("gateways", "gateways"), ("about", "about"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """Who looks at what: language, site, and the page's path below the language."""

    lang: Lang
    site: str | None
    sites: tuple[str, ...]
    path: str = ""
    query: tuple[tuple[str, str], ...] = ()
    may_log_out: bool = False

    def link(self, path: str, *, lang: Lang | None = None, **query: str) -> str:
        """Return the address of a page of the same site."""
        if self.site is not None and len(self.sites) > 1:
            query = {"site": self.site, **query}
        tail = f"?{urlencode(query)}" if query else ""
        return f"/{lang or self.lang}/{quote(path)}{tail}"


class Notices:
    """Says what does not answer; hidden while all is well."""

    def __init__(self, lang: Lang) -> None:
        self._clock = box("span", "clock", aria_hidden="true", id="campus-clock")
        self._ticks = 0
        with box("div", "notices", role="status"):
            self._store = words("p", text("store_problem", lang), "notice gone")
            self._broker = words("p", text("broker_problem", lang), "notice gone")

    def show(self, snapshot: Snapshot) -> None:
        """Show what `snapshot` says of the sources, and now and then the server's time."""
        if self._ticks % CLOCK_EVERY == 0:
            self._clock.props["data-now"] = str(snapshot.at_ns // 1_000_000)
        self._ticks += 1
        self._store.classes(replace="notice" if snapshot.state.store_problem else "notice gone")
        self._broker.classes(replace="notice" if snapshot.state.broker_problem else "notice gone")


@contextmanager
def frame(visit: Visit, title: str, active: str, snapshot: Snapshot) -> Iterator[Notices]:
    """Build the frame of a page around what the caller builds inside."""
    lang = visit.lang
    ui.page_title(f"{title} · {text('product', lang)}")
    words("a", text("skip", lang), "skip", href="#content")
    with box("header", "top"), box("div", "top-inner"):
        with box("a", "brand", href=visit.link("")):
            box("span", "brand-mark", aria_hidden="true")
            words("span", text("product", lang))
        with box("nav", "nav", aria_label=text("main_nav", lang)):
            for key, path in _PAGES:
                link = words("a", text(key, lang), "nav-link", href=visit.link(path))
                if key == active:
                    link.props["aria-current"] = "page"
        with box("div", "switches"):
            if len(visit.sites) > 1:
                _site_switch(visit)
            other: Lang = "en" if lang == "zh" else "zh"
            address = visit.link(visit.path, lang=other, **dict(visit.query))
            words("a", text("other_language", lang), "switch", href=address, lang=LANG_TAGS[other])
            if visit.may_log_out:
                with box("form", "log-out", method="post", action="/logout"):
                    words("button", text("log_out", lang), "switch", type="submit")
    notices = Notices(lang)
    notices.show(snapshot)
    with box("div", "content", id="content", tabindex="-1"):
        yield notices


def _site_switch(visit: Visit) -> Element:
    with box("form", "site-switch", method="get", action=f"/{visit.lang}/") as form:
        with box("label"):
            words("span", text("site", visit.lang), "label")
            with box("select", name="site") as select:
                for site in visit.sites:
                    option = words("option", site, value=site)
                    if site == visit.site:
                        option.props["selected"] = "selected"
        select.on("change", js_handler="(event) => event.target.form.submit()")
    return form
