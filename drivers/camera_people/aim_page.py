"""The aiming view's page: HTTP on 127.0.0.1 alone, one key for one visit, nothing stored, nothing from elsewhere."""

from __future__ import annotations

import asyncio
import hmac
import secrets
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from drivers.camera_people import aim_words

if TYPE_CHECKING:
    from drivers.camera_people.aim import AimingView

HOST: Final = "127.0.0.1"
REQUEST_S: Final = 5.0
MAX_HEAD: Final = 8192
MAX_VISITORS: Final = 8
KEY_HEADER: Final = "x-view-key"
_TEXT: Final = "text/plain; charset=utf-8"
_PAGE: Final = """<!doctype html><html lang="zh-CN"><meta charset="utf-8"><title>摄像头对准 · Aim the camera</title>
<style nonce="{nonce}">body{{font:16px sans-serif;margin:1em;background:#222;color:#eee}}img{{max-width:100%}}</style>
<p id="said" role="status">{waiting}</p>
<img id="seen" alt="摄像头看到的空教室 · What the camera sees of the empty room" hidden>
<script nonce="{nonce}">
const said = document.getElementById("said"), seen = document.getElementById("seen");
function clear(text) {{
  if (seen.src) {{ URL.revokeObjectURL(seen.src); seen.removeAttribute("src"); }}
  seen.hidden = true; said.textContent = text;
}}
async function look() {{
  let next = 400;
  try {{
    const answer = await fetch("/picture", {{headers: {{"X-View-Key": "{key}"}}, cache: "no-store"}});
    if (answer.status === 200) {{
      const before = seen.src;
      seen.src = URL.createObjectURL(await answer.blob());
      if (before) URL.revokeObjectURL(before);
      seen.hidden = false; said.textContent = "{shown}";
    }} else {{
      clear(answer.status === 204 ? decodeURIComponent(answer.headers.get("X-Said")) : await answer.text());
      if (answer.status !== 204) next = 0;
    }}
  }} catch (error) {{ clear("{closed}"); next = 0; }}
  if (next) setTimeout(look, next);
}}
look();
</script></html>"""


class AimingPage:
    """Serves one visitor; whoever comes without the key, or with a used one, is refused."""

    def __init__(self, view: AimingView) -> None:
        self._view = view
        self._key = secrets.token_urlsafe(24)
        self._picture_key = secrets.token_urlsafe(24)
        self._visited = False
        self._visitors = 0
        self._server: asyncio.Server | None = None
        self._port = 0

    @property
    def url(self) -> str:
        """The address with its key; good for one visit."""
        return f"http://{HOST}:{self._port}/?key={self._key}"

    async def start(self, port: int) -> None:
        """Listen on loopback. Raises OSError."""
        self._server = await asyncio.start_server(self._serve, HOST, port, limit=MAX_HEAD)
        self._port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Stop listening and hang up."""
        if self._server is not None:
            self._server.close()
            if hasattr(self._server, "close_clients"):  # from Python 3.13 on
                self._server.close_clients()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._visitors += 1
        try:
            if self._visitors <= MAX_VISITORS:
                async with asyncio.timeout(REQUEST_S):
                    head = await reader.readuntil(b"\r\n\r\n")
                    writer.write(self._answer(head.decode("latin-1")))
                    writer.close()
                    await writer.wait_closed()
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # a visitor that speaks no HTTP in time, or does not read, is hung up on
        finally:
            self._visitors -= 1
            writer.transport.abort()

    def _answer(self, head: str) -> bytes:
        request, *lines = head.split("\r\n")
        headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        words = request.split(" ")
        # A page of elsewhere may have its own name lead here: only ours is answered.
        if len(words) != 3 or headers.get("host") != f"{HOST}:{self._port}":  # noqa: PLR2004 - method, target, version
            return _response(421, "This is not the address of the view.")
        method, target, _ = words
        if method != "GET":
            return _response(405, "Only GET.")
        path, _, query = target.partition("?")
        if path == "/":
            return self._page(query.removeprefix("key="))
        if path == "/picture":
            return self._picture(headers.get(KEY_HEADER, ""))
        return _response(404, "Nothing here.")

    def _page(self, key: str) -> bytes:
        if not _same(key, self._key) or self._visited:
            return _response(403, aim_words.USED_KEY)
        self._visited = True
        nonce = secrets.token_urlsafe(16)
        words = {"waiting": aim_words.WAITING, "shown": aim_words.SHOWN, "closed": aim_words.CLOSED}
        page = _PAGE.format(nonce=nonce, key=self._picture_key, **words).encode()
        return _response(200, page, kind="text/html; charset=utf-8", nonce=nonce)

    def _picture(self, key: str) -> bytes:
        if not self._visited or not _same(key, self._picture_key):
            return _response(403, "Wrong key.")
        if self._view.ended is not None:
            return _response(410, aim_words.closed_since(self._view.ended))
        picture = self._view.picture
        if picture:
            return _response(200, picture, kind="image/jpeg")
        return _response(204, b"", said=aim_words.HELD.get(self._view.verdict, aim_words.NOTHING))


def _same(given: str, key: str) -> bool:
    return hmac.compare_digest(given.encode(), key.encode())


def _response(status: int, body: str | bytes, *, kind: str = _TEXT, nonce: str = "", said: str = "") -> bytes:
    data = body.encode() if isinstance(body, str) else body
    own = f"'nonce-{nonce}'" if nonce else "'none'"
    policy = (
        f"default-src 'none'; script-src {own}; style-src {own}; img-src blob:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    headers = {
        "Content-Type": kind,
        "Content-Length": str(len(data)),
        "Cache-Control": "no-store",
        "Content-Security-Policy": policy,
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
        "Connection": "close",
    }
    if said:
        headers["X-Said"] = quote(said)
    text = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 {status} {_REASONS[status]}\r\n{text}\r\n".encode() + data


_REASONS: Final = {
    200: "OK",
    204: "No Content",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    410: "Gone",
    421: "Misdirected Request",
}
