"""RTSP/1.0 messages (RFC 2326) as a server reads and writes them; whatever it is sent, reading ends."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote, urlsplit

VERSION: Final = "RTSP/1.0"
MAX_HEAD: Final = 8 * 1024
MAX_BODY: Final = 64 * 1024
_REQUEST_LINE: Final = re.compile(r"([A-Z_]{1,32}) (\S{1,2048}) RTSP/(\d)\.(\d)")
_CHANNELS: Final = re.compile(r"interleaved=(\d{1,3})(?:-(\d{1,3}))?", re.IGNORECASE)
_HEADER_NAME: Final = re.compile(r"[!-9;-~]+")
_NUMBER: Final = re.compile(r"[0-9]{1,8}")
_MAX_CHANNEL: Final = 255


class Damaged(Exception):
    """These bytes are no RTSP request; what follows them cannot be told apart from them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request. Header names are in lower case."""

    method: str
    uri: str
    version: tuple[int, int]
    headers: dict[str, str]

    @property
    def path(self) -> str:
        """The resource asked for, without the slashes around it; empty for `*` and for what is no address."""
        try:
            return "" if self.uri == "*" else unquote(urlsplit(self.uri).path).strip("/")
        except ValueError:
            return ""

    @property
    def sequence(self) -> str:
        """The request's CSeq, which its answer repeats; empty if it is no number."""
        number = self.headers.get("cseq", "")
        return number if _NUMBER.fullmatch(number) else ""

    @property
    def channels(self) -> tuple[int, int] | None:
        """Channels for RTP and RTCP that a SETUP wishes for; none if it does not ask for RTP over TCP at all."""
        for transport in self.headers.get("transport", "").split(","):
            if transport.strip().upper().startswith("RTP/AVP/TCP"):
                wish = _CHANNELS.search(transport)
                if wish is None:
                    return 0, 1
                first = int(wish[1])
                second = int(wish[2]) if wish[2] else first + 1
                return (first, second) if max(first, second) <= _MAX_CHANNEL and first != second else None
        return None


def parse(head: bytes) -> Request:
    """Return the request whose line and headers, up to the empty line, are `head`. Raises Damaged."""
    line, *rest = head.decode("latin-1").split("\r\n")
    match = _REQUEST_LINE.fullmatch(line)
    if match is None:
        raise Damaged("no request line")
    headers = {}
    for text in filter(None, rest):
        name, colon, value = text.partition(":")
        if not colon or not _HEADER_NAME.fullmatch(name):
            raise Damaged("no header")
        headers[name.lower()] = value.strip()
    return Request(method=match[1], uri=match[2], version=(int(match[3]), int(match[4])), headers=headers)


async def read(stream: asyncio.StreamReader) -> Request | None:
    """Return the next request; none for an interleaved packet (the client's RTCP), which is read and dropped.

    The stream's limit must be MAX_HEAD. Raises Damaged, or IncompleteReadError when the stream ends.
    """
    first = await stream.readexactly(1)
    if first == b"$":
        header = await stream.readexactly(3)
        await stream.readexactly(int.from_bytes(header[1:], "big"))
        return None
    try:
        head = await stream.readuntil(b"\r\n\r\n")
    except asyncio.LimitOverrunError as error:
        raise Damaged("headers without end") from error
    request = parse((first + head).lstrip(b"\r\n"))
    length = request.headers.get("content-length", "0")
    if not _NUMBER.fullmatch(length) or int(length) > MAX_BODY:
        raise Damaged("no length of a body")
    await stream.readexactly(int(length))
    return request


def reply(status: str, *, sequence: str, headers: dict[str, str | list[str]], body: str = "") -> bytes:
    """Return an answer; a header with several values stands there several times."""
    lines = [f"{VERSION} {status}", *([f"CSeq: {sequence}"] if sequence else [])]
    for name, values in headers.items():
        lines += [f"{name}: {value}" for value in ([values] if isinstance(values, str) else values)]
    if body:
        lines.append(f"Content-Length: {len(body.encode())}")
    return ("\r\n".join(lines) + "\r\n\r\n" + body).encode()
