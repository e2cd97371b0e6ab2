"""HTTP to an InfluxDB, or what takes its lines: one session, gzip, deadlines; status codes become our errors here."""

from __future__ import annotations

import asyncio
import base64
import gzip
import ipaddress
import json
import math
import re
from contextlib import asynccontextmanager
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from io import BytesIO
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import aiohttp

from cloud_ingest.line_protocol import LineEncoder
from telemetry.errors import AuthError, StoreBusy, StoreRejected

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence

    from cloud_ingest.addresses import StoreAddress
    from cloud_ingest.series import Row

WRITE_S: Final = 30.0
QUERY_S: Final = 120.0
_CONNECT_S: Final = 5.0
_RETRY_S: Final = 2.0
_MENDING_S: Final = 30.0
_ZIP_ABOVE: Final = 1024
_SHOWN: Final = 300
_REFUSALS: Final = frozenset(
    {
        HTTPStatus.CREATED,  # InfluxDB Cloud Serverless: some lines were written, others refused
        HTTPStatus.BAD_REQUEST,
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        HTTPStatus.UNPROCESSABLE_ENTITY,
    }
)
_HANDLE: Final = re.compile(r"\b[0-9a-f]{32}\b")


class NotFound(StoreBusy):
    """Database, bucket or mapping does not exist: a person must look, and no row is refused for it."""


class Answer:
    """Status, headers and body of a response, read to the end."""

    __slots__ = ("body", "headers", "status")

    def __init__(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.status = status
        self.headers = headers
        self.body = body

    @property
    def message(self) -> str:
        """What the server says is wrong."""
        try:
            document = json.loads(self.body)
        except ValueError:
            document = None
        if isinstance(document, dict):
            for key in ("error", "message"):
                if isinstance(document.get(key), str):
                    return _shown(document[key])
        text = self.body.decode(errors="replace").strip()
        return _shown(text or self.headers.get("X-Influxdb-Error", "") or f"HTTP {self.status}")

    @property
    def retry_after_s(self) -> float:
        """`Retry-After` in seconds, given as a number or a date; else a short wait."""
        text = self.headers.get("Retry-After", "")
        try:
            if text.replace(".", "", 1).isdecimal():
                return float(text)
            # Both dates by the server's clock: ours may differ.
            ahead = parsedate_to_datetime(text) - parsedate_to_datetime(self.headers["Date"])
            return max(0.0, ahead.total_seconds())
        except (ValueError, KeyError, TypeError):
            return _RETRY_S


class InfluxHttp:
    """A connection to one server. Raises StoreBusy when it does not answer."""

    def __init__(self, address: StoreAddress, headers: Mapping[str, str]) -> None:
        self.name = address.name
        self._base = address.base
        self._headers = dict(headers)
        self._session: aiohttp.ClientSession | None = None
        self._encoder = LineEncoder()
        self._zip_above = math.inf if _is_near(address.base) else _ZIP_ABOVE

    async def request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        data: bytes | None = None,
        document: Any = None,
        headers: Mapping[str, str] | None = None,
        deadline_s: float = WRITE_S,
    ) -> Answer:
        """Return the answer, whatever its status."""
        body = None if data is None else BytesIO(data)
        exchange = self._exchange(method, path, deadline_s, params=params, data=body, json=document, headers=headers)
        async with exchange as response:
            return Answer(response.status, response.headers, await response.read())

    async def read_lines(self, path: str, params: Mapping[str, str], take: Callable[[bytes], None]) -> None:
        """Hand each line of a long answer to `take` without ever holding all of it. Raises what `error_of` says."""
        async with self._exchange("GET", path, QUERY_S, params=params) as response:
            if response.status != HTTPStatus.OK:
                raise self.error_of(Answer(response.status, response.headers, await response.read()))
            rest = b""
            async for chunk in response.content.iter_any():
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    take(line)
            if rest:
                take(rest)

    @asynccontextmanager
    async def _exchange(
        self, method: str, path: str, deadline_s: float, **request: Any
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Send a request; within the deadline also its answer must be read."""
        if self._session is None:
            timeout = aiohttp.ClientTimeout(total=None, connect=_CONNECT_S, sock_connect=_CONNECT_S)
            self._session = aiohttp.ClientSession(
                self._base, headers=self._headers, timeout=timeout, raise_for_status=False
            )
        try:
            async with (
                asyncio.timeout(deadline_s),
                self._session.request(method, path, allow_redirects=False, **request) as response,
            ):
                yield response
        except TimeoutError as error:
            raise StoreBusy(f"{self.name} did not answer in time", retry_after_s=_RETRY_S) from error
        except (aiohttp.ClientError, OSError) as error:
            raise StoreBusy(f"{self.name} cannot be reached: {type(error).__name__}", retry_after_s=_RETRY_S) from error

    async def write(self, path: str, params: Mapping[str, str], rows: Sequence[Row]) -> None:
        """Post `rows` in line protocol. Raises StoreRejected for what the server will never take."""
        try:
            body = self._encoder.encode(rows)
        except ValueError as error:
            raise StoreRejected(str(error)) from error
        headers = {"Content-Type": "text/plain; charset=utf-8"}
        if len(body) > self._zip_above:
            body = await asyncio.to_thread(gzip.compress, body, 1)
            headers["Content-Encoding"] = "gzip"
        answer = await self.request("POST", path, params=params, data=body, headers=headers)
        if answer.status == HTTPStatus.NO_CONTENT:
            return
        raise self.error_of(answer)

    def error_of(self, answer: Answer) -> Exception:
        """Return the error of a response that is no success."""
        status, message = answer.status, answer.message
        if status in _REFUSALS:
            return StoreRejected(f"HTTP {status}: {message}")
        if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
            return AuthError(f"{self.name} answers HTTP {status}: {message}")
        if status == HTTPStatus.TOO_MANY_REQUESTS or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            return StoreBusy(f"{self.name} answers HTTP {status}: {message}", retry_after_s=answer.retry_after_s)
        if status == HTTPStatus.NOT_FOUND:
            return NotFound(f"{self.name} answers HTTP {status}: {message}", retry_after_s=_MENDING_S)
        # Redirected, or something no InfluxDB says: a person must look, and no row is refused for it.
        return StoreBusy(f"{self.name} answers HTTP {status}: {message}", retry_after_s=_MENDING_S)

    async def influxql(self, text: str, params: Mapping[str, str], *, method: str = "GET") -> dict[str, Any]:
        """Return the one result of a statement. Raises StoreRejected if the statement is refused."""
        query = {"q": text, "epoch": "ns", **params}
        answer = await self.request(method, "/query", params=query, deadline_s=QUERY_S)
        if answer.status != HTTPStatus.OK:
            raise self.error_of(answer)
        try:
            document = json.loads(answer.body)
            result: dict[str, Any] = document["results"][0]
        except (ValueError, KeyError, IndexError, TypeError) as error:
            raise StoreBusy(f"{self.name} answers no query result", retry_after_s=_MENDING_S) from error
        if "error" in result:
            raise StoreRejected(f"query is refused: {_shown(str(result['error']))}")
        if result.get("partial") or any(series.get("partial") for series in result.get("series", ())):
            raise StoreRejected(
                "the server cut the answer short (its max-row-limit): ask for a shorter time or --every"
            )
        return result

    async def close(self) -> None:
        """Close the connections."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()


def login(address: StoreAddress) -> dict[str, str]:
    """Return the header of user and password; none without a user."""
    if not address.user:
        return {}
    pair = base64.b64encode(f"{address.user}:{address.secret}".encode()).decode()
    return {"Authorization": f"Basic {pair}"}


def _shown(text: str) -> str:
    """Return the head of a server's text, which may quote whole rows, without pseudonyms: it goes into logs."""
    return _HANDLE.sub("…", text)[:_SHOWN]


def _is_near(base: str) -> bool:
    """Tell whether a server is on this machine: gzip would cost both sides more than it saves the wire."""
    host = urlsplit(base).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
