"""The guard around the web application: host, origin, session, security headers. Plain ASGI, knows no NiceGUI."""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qs, urlencode, urlsplit

from cloud_ingest.console.login import login_page
from cloud_ingest.console.session import SESSION_S
from cloud_ingest.console.texts import LANG_COOKIE, preferred, text

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from cloud_ingest.console.session import Attempts, Password, Sessions
    from cloud_ingest.console.texts import Lang

_log = logging.getLogger(__name__)
COOKIE: Final = "campus_console"
_MOST_BODY: Final = 4096
_MOST_PAGE: Final = 8_000_000
_YEAR_S: Final = 31_536_000
_OPEN: Final = ("/assets/", "/favicon.ico")
"""What the login page itself needs."""
_SCRIPT: Final = re.compile(rb"<script(?=[\s>])")
# NiceGUI compiles its templates and handlers in the browser ('unsafe-eval') and styles elements inline. Its inline
# scripts get a nonce, so that no injected one runs.
_PAGE_POLICY: Final = (
    "default-src 'none'; script-src 'self' 'nonce-{nonce}' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; font-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'; manifest-src 'none'"
)
_PLAIN_POLICY: Final = (
    "default-src 'none'; style-src 'self'; img-src 'self' data:; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'"
)
_HEADERS: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=(), payment=(), usb=()"),
)
_HOLDER: Final = frozenset({b"content-length", b"access-control-allow-origin", b"access-control-allow-credentials"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Door:
    """What the guard lets in."""

    hosts: frozenset[str] | None
    """Names by which it may be addressed; none allows all, which only a password makes safe."""
    password: Password | None
    sessions: Sessions | None
    attempts: Attempts


class Guard:
    """Wraps `app`; attribute `app` is what NiceGUI looks for to find its server."""

    def __init__(self, app: ASGIApp, door: Door) -> None:
        self.app = app
        self._door = door
        self._checking = asyncio.Semaphore(2)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer or pass on."""
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        visitor = _Visitor(scope)
        refusal = self._refusal(visitor)
        if refusal is not None:
            await _refuse(scope, send, *refusal)
        elif self._door.password is None or visitor.path.startswith(_OPEN) or self._is_known(visitor):
            if self._door.password is not None and visitor.path in ("/login", "/logout"):
                await self._leave_or_return(visitor, send)
            else:
                await self.app(scope, receive, _dressed(visitor, send))
        elif visitor.path == "/login" and scope["type"] == "http":
            await self._log_in(visitor, receive, send)
        elif scope["type"] == "http" and visitor.method == "GET" and not visitor.path.startswith("/_nicegui"):
            target = urlencode({"to": visitor.path_and_query})
            await _answer(send, 303, b"", [(b"location", f"/login?{target}".encode())])
        else:
            await _refuse(scope, send, 401, "log in first")

    def _refusal(self, visitor: _Visitor) -> tuple[int, str] | None:
        """Return why a request is answered by nobody here: another site speaks, or speaks to another name."""
        if self._door.hosts is not None and visitor.hostname not in self._door.hosts:
            return 421, "this console does not go by that name; add it to console.hosts"
        # Browsers name the page that opens a socket or posts a form; another site's page has no business here.
        if visitor.origin is not None and visitor.origin != visitor.host:
            return 403, "requests from other sites are refused"
        return None

    def _is_known(self, visitor: _Visitor) -> bool:
        sessions, cookie = self._door.sessions, visitor.cookies.get(COOKIE)
        return sessions is not None and cookie is not None and sessions.valid(cookie)

    async def _leave_or_return(self, visitor: _Visitor, send: Send) -> None:
        headers = [(b"location", _safe_target(visitor.query.get("to", "/")).encode())]
        if visitor.path == "/logout":
            if visitor.method != "POST":
                await _answer(send, 405, b"use the button")
                return
            headers = [(b"location", b"/login"), _cookie(COOKIE, "", 0, visitor)]
        await _answer(send, 303, b"", headers)

    async def _log_in(self, visitor: _Visitor, receive: Receive, send: Send) -> None:
        target = _safe_target(visitor.query.get("to", "/"))
        lang = visitor.lang_of(target)
        if visitor.method != "POST":
            await _answer(send, 200, login_page(lang, target), _HTML)
            return
        wait_s = self._door.attempts.wait_s(visitor.address)
        if wait_s:
            page = login_page(lang, target, text("too_many", lang, n=wait_s))
            await _answer(send, 429, page, [*_HTML, (b"retry-after", str(wait_s).encode())])
            return
        attempt = (await _form(receive)).get("password", "")
        if not await self._matches(attempt):
            _log.warning("wrong password from %s", visitor.address)
            await _answer(send, 403, login_page(lang, target, text("wrong_password", lang)), _HTML)
            return
        self._door.attempts.forget(visitor.address)
        sessions = self._door.sessions
        cookie = sessions.issue() if sessions is not None else ""
        await _answer(send, 303, b"", [(b"location", target.encode()), _cookie(COOKIE, cookie, SESSION_S, visitor)])

    async def _matches(self, attempt: str) -> bool:
        password = self._door.password
        # Each try costs 16 MB for 50 ms: two at a time are enough.
        async with self._checking:
            return password is not None and await asyncio.to_thread(password.matches, attempt)


_HTML: Final = [(b"content-type", b"text/html; charset=utf-8"), (b"cache-control", b"no-store")]


class _Visitor:
    """What the guard reads of a request."""

    def __init__(self, scope: Scope) -> None:
        headers: dict[str, str] = {}
        for name, value in scope["headers"]:
            headers.setdefault(name.decode("latin-1").lower(), value.decode("latin-1"))
        self.path: str = scope["path"]
        self.method: str = scope.get("method", "GET")
        self.secure = scope.get("scheme") in ("https", "wss")
        self.host = headers.get("host", "").lower()
        self.hostname = _hostname(self.host)
        origin = headers.get("origin")
        self.origin = None if origin is None else _authority(origin)
        self.address: str = (scope.get("client") or ("?", 0))[0]
        self.query = {
            name: values[-1] for name, values in parse_qs(scope.get("query_string", b"").decode("latin-1")).items()
        }
        raw_query = scope.get("query_string", b"").decode("latin-1")
        raw_path = scope.get("raw_path") or scope["path"].encode()
        self.path_and_query = raw_path.decode("latin-1") + (f"?{raw_query}" if raw_query else "")
        self.accept_language = headers.get("accept-language", "")
        self.cookies: dict[str, str] = {}
        jar: SimpleCookie = SimpleCookie()
        try:
            jar.load(headers.get("cookie", ""))
            self.cookies = {name: morsel.value for name, morsel in jar.items()}
        except CookieError:
            self.cookies = {}

    def lang_of(self, target: str) -> Lang:
        """Return the language of the page that is wanted, else of the visitor."""
        for lang in ("zh", "en"):
            if target.startswith(f"/{lang}/"):
                return preferred(lang, "")
        return preferred(self.cookies.get(LANG_COOKIE), self.accept_language)


def _hostname(host: str) -> str:
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _authority(origin: str) -> str:
    """Return host and port of an origin; empty for `null`, which equals no host."""
    scheme, mark, rest = origin.lower().partition("://")
    return rest if mark and scheme in ("http", "https") else ""


def _safe_target(target: str) -> str:
    """Return `target` if it is a path of this site, else the start page: a login must not lead elsewhere."""
    ours = target.startswith("/") and not target.startswith(("//", "/\\", "/login", "/logout"))
    return target if ours and target.isascii() and target.isprintable() else "/"


def _cookie(name: str, value: str, age_s: int, visitor: _Visitor) -> tuple[bytes, bytes]:
    secure = "; Secure" if visitor.secure else ""
    return b"set-cookie", f"{name}={value}; Path=/; Max-Age={age_s}; HttpOnly; SameSite=Lax{secure}".encode()


async def _form(receive: Receive) -> dict[str, str]:
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if message["type"] != "http.request" or not message.get("more_body") or len(body) > _MOST_BODY:
            break
    fields = parse_qs(body[:_MOST_BODY].decode("utf-8", "replace"), keep_blank_values=True)
    return {name: values[-1] for name, values in fields.items()}


async def _answer(send: Send, status: int, body: bytes, headers: list[tuple[bytes, bytes]] | None = None) -> None:
    length = (b"content-length", str(len(body)).encode())
    policy = (b"content-security-policy", _PLAIN_POLICY.encode())
    start = {"type": "http.response.start", "status": status, "headers": [*(headers or []), length, policy, *_HEADERS]}
    await send(start)
    await send({"type": "http.response.body", "body": body})


async def _refuse(scope: Scope, send: Send, status: int, why: str) -> None:
    if scope["type"] == "websocket":
        # Closed before it is accepted: the server answers 403.
        await send({"type": "websocket.close", "code": 1008, "reason": why})
    else:
        await _answer(send, status, f"{why}\n".encode(), [(b"content-type", b"text/plain; charset=utf-8")])


def _dressed(visitor: _Visitor, send: Send) -> Send:
    """Return a `send` that adds security headers, and a nonce to the scripts of NiceGUI's pages."""
    held: dict[str, Any] = {"start": None, "body": bytearray()}
    nonce = secrets.token_urlsafe(16)

    async def dressed(message: Message) -> None:
        if message["type"] == "http.response.start":
            is_page = any(name.lower() == b"x-nicegui-content" for name, _ in message["headers"])
            policy = _PAGE_POLICY.format(nonce=nonce) if is_page else _PLAIN_POLICY
            dropped = _HOLDER if is_page else _HOLDER - {b"content-length"}
            headers = [(name, value) for name, value in message["headers"] if name.lower() not in dropped]
            headers += [*_HEADERS, (b"content-security-policy", policy.encode())]
            lang = visitor.path.split("/")[1]
            if is_page and lang in ("zh", "en"):
                headers.append(_cookie(LANG_COOKIE, lang, _YEAR_S, visitor))
            message = {**message, "headers": headers}
            if is_page:
                held["start"] = message
                return
        elif message["type"] == "http.response.body" and held["start"] is not None:
            held["body"] += message.get("body", b"")
            if message.get("more_body") and len(held["body"]) < _MOST_PAGE:
                return
            page = _SCRIPT.sub(b'<script nonce="' + nonce.encode() + b'"', bytes(held["body"]))
            start = held["start"]
            await send({**start, "headers": [*start["headers"], (b"content-length", str(len(page)).encode())]})
            held["start"] = None
            message = {**message, "body": page, "more_body": False}
        await send(message)

    return dressed
