"""Independent clients of simulated cameras: FFmpeg by PyAV and by OpenCV, and a bare RTSP client."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import TYPE_CHECKING
from urllib.parse import quote

import av

from simulators.camera_picture import read_stamp

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from simulators.held import HeldDevice

QUICK = {"rtsp_transport": "tcp", "fpsprobesize": "0", "analyzeduration": "200000"}


def with_login(url: str, username: str, password: str) -> str:
    return url.replace("://", f"://{quote(username)}:{quote(password)}@") if username else url


class Looker:
    """Decodes a camera's stream with PyAV."""

    def __init__(self, camera: HeldDevice, **options: str) -> None:
        spec = camera.spec
        self._container = av.open(
            with_login(camera.url, spec.username, spec.password),
            format="mpjpeg" if spec.capture == "mjpeg" else None,
            options={**(QUICK if spec.capture == "rtsp" else {}), **options},
            timeout=(5.0, 1.0),
        )
        self.damaged = 0

    def frames(self) -> Iterator[av.VideoFrame]:
        """Yield pictures; what cannot be decoded is counted. Raises ExitError when nothing comes for a second."""
        for packet in self._container.demux(video=0):
            try:
                frames = packet.decode()
            except av.error.InvalidDataError:
                self.damaged += 1
                frames = []
            yield from frames

    def numbers(self, count: int) -> list[int]:
        """Return the numbers of the next pictures."""
        frames = self.frames()
        return [read_stamp(next(frames).to_ndarray(format="rgb24")) for _ in range(count)]

    def close(self) -> None:
        self._container.close()


@contextlib.contextmanager
def looking(camera: HeldDevice, **options: str) -> Iterator[Looker]:
    looker = Looker(camera, **options)
    try:
        yield looker
    finally:
        looker.close()


class Line:
    """An RTSP connection of which each byte is ours."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, url: str) -> None:
        self.reader = reader
        self.url = url
        self._writer = writer
        self._sent = 0
        self.session = ""

    def send(self, data: bytes) -> None:
        self._writer.write(data)

    async def ask(self, method: str, path: str = "", **headers: str) -> tuple[int, dict[str, str], str]:
        """Return status, headers and body of the answer."""
        self._sent += 1
        lines = [f"{method} {self.url}{path} RTSP/1.0", f"CSeq: {self._sent}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        lines += [f"Session: {self.session}"] if self.session else []
        self.send(("\r\n".join(lines) + "\r\n\r\n").encode())
        return await self.answer()

    async def answer(self) -> tuple[int, dict[str, str], str]:
        async with asyncio.timeout(3):
            while (first := await self.reader.readexactly(1)) == b"$":
                await self.packet(first)
            head = (first + await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            headers = dict(line.split(": ", 1) for line in head[1:] if line)
            body = await self.reader.readexactly(int(headers.get("Content-Length", 0)))
        self.session = headers.get("Session", self.session).partition(";")[0]
        return int(head[0].split()[1]), headers, body.decode()

    async def packet(self, first: bytes = b"") -> tuple[int, bytes]:
        """Return channel and content of the next interleaved packet."""
        async with asyncio.timeout(3):
            head = first + await self.reader.readexactly(4 - len(first))
            assert head[:1] == b"$"
            return head[1], await self.reader.readexactly(int.from_bytes(head[2:], "big"))

    async def play(self) -> None:
        assert (await self.ask("SETUP", "/trackID=1", Transport="RTP/AVP/TCP;unicast;interleaved=4-5"))[0] == 200
        assert (await self.ask("PLAY"))[0] == 200


@contextlib.asynccontextmanager
async def dialled(camera: HeldDevice, *, buffer_bytes: int = 0) -> AsyncIterator[Line]:
    line = socket.socket(socket.AF_INET6 if ":" in camera.host else socket.AF_INET)
    if buffer_bytes:
        # Before connecting: a window once given is never taken back.
        line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer_bytes)
    line.setblocking(False)
    await asyncio.get_running_loop().sock_connect(line, (camera.host, camera.port))
    reader, writer = await asyncio.open_connection(sock=line)
    try:
        yield Line(reader, writer, camera.url)
    finally:
        writer.transport.abort()
