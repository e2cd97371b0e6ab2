"""The HTTP outlets of a simulated camera: motion JPEG without end, or one picture for each request."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, Literal

from aiohttp import web

from simulators.camera_video import jpeg, jpeg_noise
from simulators.faults import GARBAGE, HANG, STALL, UNPLUG
from simulators.plug import Plug

if TYPE_CHECKING:
    import random

    from aiohttp.typedefs import Handler

    from simulators.camera import Frame
    from simulators.camera_auth import Login
    from simulators.faults import Faults
    from telemetry.counters import Counters

BOUNDARY: Final = "campus-sim-picture"
WRITE_S: Final = 5.0
CLOSE_S: Final = 0.2
MAX_PENDING: Final = 4
"""Pictures that wait for a slow client; then the oldest is skipped."""


class HttpOutlet:
    """The web server; a `camera.Outlet`."""

    def __init__(
        self,
        *,
        host: str,
        port: int,
        capture: Literal["mjpeg", "snapshot"],
        path: str,
        login: Login,
        max_connections: int,
        rng: random.Random,
        faults: Faults,
        counters: Counters,
    ) -> None:
        self._login = login
        self._max_connections = max_connections
        self._rng = rng
        self._faults = faults
        self._counters = counters
        self._frame: Frame | None = None
        self._body = b""
        self._pending: set[asyncio.Queue[bytes]] = set()
        self._held: set[asyncio.BaseTransport] = set()
        app = web.Application(middlewares=[self._guard])
        app.router.add_get(path, self._stream if capture == "mjpeg" else self._snapshot, allow_head=False)
        self._runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=CLOSE_S)
        self._plug = Plug(self._protocol, host=host, port=port, faults=faults, hang_up=self._hang_up)

    @property
    def port(self) -> int:
        """The port it listens on."""
        return self._plug.port

    @property
    def viewers(self) -> int:
        """How many are connected."""
        return len(self._connections)

    async def start(self, group: asyncio.TaskGroup) -> None:
        """Listen and serve. Raises OSError if the address cannot be had."""
        await self._runner.setup()
        await self._plug.start(group)
        group.create_task(self._clean_up(), name="camera-http")

    def show(self, frame: Frame) -> None:
        """Take the picture; it is encoded only if somebody looks, and once."""
        self._frame, self._body = frame, b""
        for pending in self._pending:
            if pending.full():
                pending.get_nowait()
                self._counters.add("camera.frames.skipped")
            pending.put_nowait(self._picture())

    def faults_changed(self) -> None:
        """Pull the plug, if the faults say so; let go of requests that waited for a fault to end."""
        self._plug.faults_changed()
        if not any(self._faults.has(name) for name in (UNPLUG, HANG, STALL)):
            for transport in self._held:
                transport.close()

    def close(self) -> None:
        """Stop listening and hang up."""
        self._plug.close()

    @property
    def _connections(self) -> list[web.RequestHandler]:
        return self._runner.server.connections if self._runner.server is not None else []

    def _protocol(self) -> asyncio.BaseProtocol:
        if self._runner.server is None:
            raise RuntimeError("the outlet was not started")
        return self._runner.server()

    def _hang_up(self) -> None:
        for connection in self._connections:
            connection.force_close()
            if isinstance(connection.transport, asyncio.Transport):
                connection.transport.abort()

    async def _clean_up(self) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await self._runner.cleanup()

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Let a request in if the camera is fit, has room, and knows the password."""
        if len(self._connections) > self._max_connections:
            self._counters.add("camera.connections.refused")
            refusal = web.Response(status=503)
            refusal.force_close()
            return refusal
        if self._faults.has(HANG) or self._faults.has(UNPLUG):
            # The latter only for a connection that was being made when the plug was pulled.
            await self._hold(request)
        if not self._login.admits(request.headers.get("Authorization", ""), method=request.method):
            self._counters.add("camera.logins.refused")
            refusal = web.Response(status=401)
            for challenge in self._login.challenges(qop=True):
                refusal.headers.add("WWW-Authenticate", challenge)
            return refusal
        return await handler(request)

    async def _hold(self, request: web.Request) -> None:
        """Leave a request without answer; it is cancelled when the connection ends, at the latest with the fault."""
        transport = request.transport
        if transport is None:
            return
        self._held.add(transport)
        try:
            await asyncio.Event().wait()
        finally:
            self._held.discard(transport)

    def _picture(self) -> bytes:
        if not self._body and self._frame is not None:
            body = jpeg(self._frame.picture())
            self._body = jpeg_noise(len(body), self._rng) if self._faults.has(GARBAGE) else body
        return self._body

    async def _snapshot(self, request: web.Request) -> web.StreamResponse:
        body = self._picture()
        response = web.StreamResponse(headers={"Content-Type": "image/jpeg", "Cache-Control": "no-store"})
        response.content_length = len(body)
        await response.prepare(request)
        if self._faults.has(STALL):
            await self._hold(request)
        async with asyncio.timeout(WRITE_S):
            await response.write(body)
        self._counters.add("camera.frames.sent")
        return response

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": f"multipart/x-mixed-replace; boundary={BOUNDARY}"})
        await response.prepare(request)
        pending: asyncio.Queue[bytes] = asyncio.Queue(MAX_PENDING)
        self._pending.add(pending)
        try:
            while True:
                body = await pending.get()
                head = f"--{BOUNDARY}\r\nContent-Type: image/jpeg\r\nContent-Length: {len(body)}\r\n\r\n"
                async with asyncio.timeout(WRITE_S):
                    await response.write(head.encode() + body + b"\r\n")
                self._counters.add("camera.frames.sent")
        except (ConnectionError, TimeoutError):
            return response
        finally:
            self._pending.discard(pending)
