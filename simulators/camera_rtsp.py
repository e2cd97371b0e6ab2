"""The RTSP outlet of a simulated camera: H.264 over interleaved TCP, one encoding for all who look."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from typing import TYPE_CHECKING, Final

from simulators.camera_rtp import CLOCK_HZ, Packetiser, interleaved, sdp
from simulators.camera_rtsp_session import Session
from simulators.camera_rtsp_wire import MAX_HEAD, Damaged, read, reply
from simulators.camera_video import H264, is_key, noise, parameter_sets
from simulators.faults import GARBAGE, HANG, UNPLUG
from simulators.plug import Plug

if TYPE_CHECKING:
    import random

    from simulators.camera import Frame
    from simulators.camera_auth import Login
    from simulators.camera_picture import Picture
    from simulators.faults import Faults
    from simulators.ledger import Journal
    from telemetry.counters import Counters

IDLE_S: Final = 60.0
"""A connection on which nothing comes for so long, neither request nor RTCP, is closed."""
WRITE_S: Final = 5.0
MAX_PENDING: Final = 8
"""Pictures that wait for a slow client; then some are skipped, up to the next keyframe."""


class _Viewer:
    """Carries pictures to one client; a slow one misses some and holds up nobody."""

    def __init__(self, writer: asyncio.StreamWriter, session: Session, counters: Counters) -> None:
        self.session = session
        self._writer = writer
        self._counters = counters
        self._pending: asyncio.Queue[bytes] = asyncio.Queue(MAX_PENDING)
        self._started = False

    def offer(self, packets: list[bytes], report: bytes | None) -> None:
        """Take a picture; `report` is there with a keyframe, and only there a client can start."""
        self._started = (self._started or report is not None) and not self._pending.full()
        if not self._started:
            self._counters.add("camera.frames.skipped")
            return
        video, control = self.session.channels
        pieces = [interleaved(control, report)] if report is not None else []
        self._pending.put_nowait(b"".join(pieces + [interleaved(video, packet) for packet in packets]))

    async def carry(self) -> None:
        """Send what is offered until the client goes away or takes nothing for too long."""
        with contextlib.suppress(OSError, TimeoutError):
            while True:
                self._writer.write(await self._pending.get())
                async with asyncio.timeout(WRITE_S):
                    await self._writer.drain()
                self._counters.add("camera.frames.sent")
        self._writer.transport.abort()


class RtspOutlet:
    """The RTSP server; a `camera.Outlet`."""

    def __init__(
        self,
        *,
        name: str,
        host: str,
        port: int,
        fps: int,
        sample: Picture,
        login: Login,
        offers_audio: bool,
        max_connections: int,
        rng: random.Random,
        faults: Faults,
        journal: Journal,
        counters: Counters,
    ) -> None:
        self._name = name
        self._fps = fps
        self._login = login
        self._offers_audio = offers_audio
        self._max_connections = max_connections
        self._rng = rng
        self._faults = faults
        self._journal = journal
        self._counters = counters
        # Each encoder of ours has the same parameter sets: clients are told them before there is any video.
        sps, pps = parameter_sets(H264(fps=fps).encode(sample))
        self._sdp = sdp(sps=sps, pps=pps, fps=fps, audio=offers_audio)
        self._packetiser = Packetiser(source=secrets.randbits(32), sequence=secrets.randbits(16))
        self._encoder: H264 | None = None
        self._spoilt = False
        self._viewers: dict[asyncio.StreamWriter, _Viewer] = {}
        self._group: asyncio.TaskGroup | None = None
        self._plug = Plug(self._protocol, host=host, port=port, faults=faults, hang_up=self._hang_up)

    @property
    def port(self) -> int:
        """The port it listens on."""
        return self._plug.port

    @property
    def viewers(self) -> int:
        """How many are connected."""
        return len(self._viewers)

    async def start(self, group: asyncio.TaskGroup) -> None:
        """Listen and serve. Raises OSError if the address cannot be had."""
        self._group = group
        await self._plug.start(group)

    def show(self, frame: Frame) -> None:
        """Encode the picture once and offer it to all who play."""
        playing = [viewer for viewer in self._viewers.values() if viewer.session.playing]
        if not playing:
            self._encoder = None
            return
        if self._encoder is None:
            self._encoder = H264(fps=self._fps)
        garbage = self._faults.has(GARBAGE)
        # After noise a keyframe: otherwise the next second would be drawn over a picture that nobody got.
        units = self._encoder.encode(frame.picture(), key=self._spoilt and not garbage)
        key = is_key(units)
        self._spoilt = garbage
        if garbage:
            units = [noise(unit, self._rng) for unit in units]
        timestamp = frame.number * CLOCK_HZ // self._fps
        packets = self._packetiser.packets(units, timestamp=timestamp)
        report = self._packetiser.report(timestamp=timestamp, now_ns=time.time_ns()) if key else None
        for viewer in playing:
            viewer.offer(packets, report)

    def faults_changed(self) -> None:
        """Pull the plug, if the faults say so."""
        self._plug.faults_changed()

    def close(self) -> None:
        """Stop listening and hang up."""
        self._plug.close()

    def _hang_up(self) -> None:
        for writer in self._viewers:
            writer.transport.abort()

    def _protocol(self) -> asyncio.BaseProtocol:
        return asyncio.StreamReaderProtocol(asyncio.StreamReader(MAX_HEAD), self._accept)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._group is None or len(self._viewers) >= self._max_connections or self._faults.has(UNPLUG):
            self._counters.add("camera.connections.refused")
            writer.transport.abort()
            return
        session = Session(
            name=self._name,
            sdp=self._sdp,
            login=self._login,
            offers_audio=self._offers_audio,
            journal=self._journal,
            counters=self._counters,
        )
        self._viewers[writer] = _Viewer(writer, session, self._counters)
        carrying = self._group.create_task(self._viewers[writer].carry(), name="camera-viewer")
        self._group.create_task(self._attend(reader, writer, session, carrying), name="camera-connection")

    async def _attend(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, session: Session, carrying: asyncio.Task[None]
    ) -> None:
        try:
            await self._converse(reader, writer, session)
        except (asyncio.IncompleteReadError, TimeoutError, OSError):
            # The client went away or said nothing for too long: what remains is to hang up.
            self._counters.add("camera.connections.ended")
        finally:
            carrying.cancel()
            del self._viewers[writer]
            writer.transport.abort()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, session: Session) -> None:
        while not session.over:
            try:
                async with asyncio.timeout(IDLE_S):
                    request = await read(reader)
                if request is None or self._faults.has(HANG):
                    continue
                answer = session.answer(request)
            except Damaged:
                self._counters.add("camera.requests.damaged")
                answer = reply("400 Bad Request", sequence="", headers={"Connection": "close"})
                session.over = True
            writer.write(answer)
            async with asyncio.timeout(WRITE_S):
                await writer.drain()
