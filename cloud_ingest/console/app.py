"""The web application: our routes, NiceGUI's pages below them, and the guard around all."""

from __future__ import annotations

import hashlib
import json
import re
from datetime import date
from functools import partial
from importlib.resources import files
from typing import TYPE_CHECKING, Final, cast

from fastapi import FastAPI, Request, Response
from fastapi.responses import RedirectResponse
from nicegui import Client, ui
from nicegui.page import page as Page  # noqa: N812 - a class by a lower-case name
from starlette.middleware.gzip import GZipMiddleware

from cloud_ingest.console.about_page import about
from cloud_ingest.console.frame import Visit, frame
from cloud_ingest.console.gateways_page import GatewaysPage
from cloud_ingest.console.parts import box, words
from cloud_ingest.console.room_page import REDRAWN_EVERY_S, RoomPage, today
from cloud_ingest.console.rooms_page import RoomsPage
from cloud_ingest.console.texts import LANG_COOKIE, LANG_TAGS, LANGS, preferred, text
from cloud_ingest.console.wording import AGE_PATTERNS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from datetime import tzinfo

    from starlette.types import ASGIApp

    from cloud_ingest.console.hub import Hub, Snapshot
    from cloud_ingest.console.texts import Lang

RECONNECT_S: Final = 5.0
"""How long a page that lost its connection may take to come back without being built anew."""
FAVICON: Final = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><rect width="32" height="32" rx="7" fill="#0b5c7d"/>'
    '<path d="M7 15 16 8l9 7v9H7z" fill="none" stroke="#fff" stroke-width="2.4" stroke-linejoin="round"/>'
    '<path d="M12 20h2l1.5-3.5 2 5.5 1.5-2H21" fill="none" stroke="#fff" stroke-width="1.8"/></svg>'
)
_TYPES: Final = {"console.css": "text/css; charset=utf-8", "console.js": "text/javascript; charset=utf-8"}


def _assets() -> dict[str, bytes]:
    folder = files("cloud_ingest.console")
    found = {name: (folder / name).read_text(encoding="utf-8") for name in _TYPES}
    found["console.js"] = found["console.js"].replace("/*PATTERNS*/ {}", json.dumps(AGE_PATTERNS, ensure_ascii=False))
    return {name: content.encode() for name, content in found.items()}


class Pages:
    """All pages in all languages."""

    def __init__(self, hub: Hub, *, zone: tzinfo, may_log_out: bool) -> None:
        self._hub = hub
        self._zone = zone
        self._may_log_out = may_log_out

    def register(self) -> None:
        """Tell NiceGUI of the pages; once a process."""
        routes: dict[str, Callable[..., Awaitable[None]]] = {
            "/": self._rooms,
            "/gateways": self._gateways,
            "/room/{room}": self._room,
            "/about": self._about,
            "/{rest:path}": self._missing,
        }
        for lang in LANGS:
            for path, build in routes.items():
                Page(f"/{lang}{path}", language=LANG_TAGS[lang])(_with_lang(build, lang))

    async def _visit(self, request: Request, lang: Lang, path: str = "", **query: str) -> tuple[Visit, Snapshot]:
        asked = request.query_params.get("site")
        snapshot = await self._hub.fresh(asked)
        known = snapshot.sites
        if asked not in known:
            snapshot = await self._hub.fresh(None)
            asked = known[0] if known else None
        visit = Visit(
            lang=lang,
            site=asked,
            sites=known,
            path=path,
            query=tuple(query.items()),
            may_log_out=self._may_log_out,
        )
        return visit, snapshot

    def _follow(self, client: Client, site: str | None, *shows: Callable[[Snapshot], None]) -> None:
        """Show each snapshot from now on, until the page is closed."""

        def show(snapshot: Snapshot) -> None:
            if not client.is_deleted:
                for one in shows:
                    one(snapshot)

        client.on_delete(self._hub.watch(site, show))

    async def _rooms(self, request: Request, client: Client, lang: Lang) -> None:
        visit, snapshot = await self._visit(request, lang)
        with frame(visit, text("rooms", lang), "rooms", snapshot) as notices:
            page = RoomsPage(visit)
            page.show(snapshot)
        # A first site that appears later is shown after a reload: until then there is nothing to follow.
        self._follow(client, visit.site, notices.show, page.show)
        if visit.site is None:
            self._reload_when_known(client)

    def _reload_when_known(self, client: Client) -> None:
        def look(snapshot: Snapshot) -> None:
            if snapshot.sites:
                client.run_javascript("location.reload()")

        self._follow(client, None, look)

    async def _gateways(self, request: Request, client: Client, lang: Lang) -> None:
        visit, snapshot = await self._visit(request, lang, "gateways")
        with frame(visit, text("gateways", lang), "gateways", snapshot) as notices:
            page = GatewaysPage(visit)
            page.show(snapshot)
        self._follow(client, visit.site, notices.show, page.show)

    async def _room(self, request: Request, client: Client, lang: Lang) -> None:
        room = request.path_params["room"]
        day = _day(request.query_params.get("day"), today(self._zone))
        query = {} if day == today(self._zone) else {"day": day.isoformat()}
        visit, snapshot = await self._visit(request, lang, f"room/{room}", **query)
        with frame(visit, room, "rooms", snapshot) as notices:
            page = RoomPage(visit, self._hub, room, day, self._zone)
            page.show(snapshot)
            await page.draw()
            if day == today(self._zone):
                ui.timer(REDRAWN_EVERY_S, page.draw, immediate=False)
        self._follow(client, visit.site, notices.show, page.show)

    async def _about(self, request: Request, client: Client, lang: Lang) -> None:
        visit, snapshot = await self._visit(request, lang, "about")
        with frame(visit, text("about", lang), "about", snapshot) as notices:
            about(lang)
        self._follow(client, None, notices.show)

    async def _missing(self, request: Request, client: Client, lang: Lang) -> None:
        client.status_code = 404
        visit, snapshot = await self._visit(request, lang)
        with frame(visit, text("not_found", lang), "", snapshot), box("div", "page-head"):
            words("h1", text("not_found", lang))
            words("a", text("back", lang), "switch", href=visit.link(""))


def _with_lang(build: Callable[..., Awaitable[None]], lang: Lang) -> Callable[..., Awaitable[None]]:
    """Return a page function of its own for `lang`: NiceGUI keeps one route for each function."""
    given = partial(build, lang=lang)

    async def page(request: Request, client: Client) -> None:
        await given(request, client)

    # Without our own annotations resolved, FastAPI would look `Request` up in this module by its text.
    page.__annotations__ = {"request": Request, "client": Client, "return": None}
    return page


def _day(asked: str | None, newest: date) -> date:
    if asked is None or not re.fullmatch(r"\d{4}-\d\d-\d\d", asked):
        return newest
    try:
        return min(date.fromisoformat(asked), newest)
    except ValueError:
        return newest


def build(hub: Hub, *, zone: tzinfo, may_log_out: bool) -> ASGIApp:
    """Return the application without its guard; once a process, since NiceGUI keeps one application."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    assets = _assets()

    @app.get("/")
    def start(request: Request) -> Response:
        lang = preferred(request.cookies.get(LANG_COOKIE), request.headers.get("accept-language", ""))
        query = f"?{request.url.query}" if request.url.query else ""
        return RedirectResponse(f"/{lang}/{query}", status_code=307)

    @app.get("/favicon.ico")
    def favicon() -> Response:
        return Response(FAVICON, media_type="image/svg+xml")

    @app.get("/assets/{name}")
    def asset(name: str) -> Response:
        if name not in assets:
            return Response("no such file", status_code=404)
        return Response(assets[name], media_type=_TYPES[name], headers={"Cache-Control": "public, max-age=86400"})

    for annotated in (start, favicon, asset):
        annotated.__annotations__.update({"request": Request, "return": Response})
    mark = hashlib.sha256(b"".join(assets.values())).hexdigest()[:12]
    ui.add_head_html(
        f'<link rel="stylesheet" href="/assets/console.css?{mark}">'
        f'<script defer src="/assets/console.js?{mark}"></script>'
        '<meta name="robots" content="noindex"><meta name="theme-color" content="#ffffff">',
        shared=True,
    )
    Pages(hub, zone=zone, may_log_out=may_log_out).register()
    ui.run_with(
        app,
        favicon=FAVICON,
        title="campus-edge",
        language="zh-CN",
        tailwind=False,
        binding_refresh_interval=None,
        reconnect_timeout=RECONNECT_S,
        gzip_middleware_factory=None,
        show_welcome_message=False,
    )
    return cast("ASGIApp", app)


def compressed(app: ASGIApp) -> ASGIApp:
    """Return `app` with its answers compressed; outermost, since the guard reads pages as they are."""
    return GZipMiddleware(app, minimum_size=1000)
