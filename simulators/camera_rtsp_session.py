"""One client's RTSP session with a simulated camera: what is answered to which request."""

from __future__ import annotations

import secrets
import time
from typing import TYPE_CHECKING, Final

from simulators.camera_rtp import AUDIO_TRACK, VIDEO_TRACK
from simulators.camera_rtsp_wire import reply
from simulators.ledger import SaidAudioSetup

if TYPE_CHECKING:
    from collections.abc import Callable

    from simulators.camera_auth import Login
    from simulators.camera_rtsp_wire import Request
    from simulators.ledger import Journal
    from telemetry.counters import Counters

PATH: Final = "stream"
TIMEOUT_S: Final = 60
_TRACKS: Final = {f"{PATH}/{VIDEO_TRACK}": False, f"{PATH}/{AUDIO_TRACK}": True}
"""Path of each track, and whether it is sound."""
_OPEN: Final = ("OPTIONS",)
"""Methods that no password is asked for."""


class Session:
    """State of one connection: what is set up, whether it plays. A connection has one session."""

    def __init__(
        self, *, name: str, sdp: str, login: Login, offers_audio: bool, journal: Journal, counters: Counters
    ) -> None:
        self.over = False
        """The connection is to be closed once the answer is sent."""
        self.playing = False
        self.channels = (0, 1)
        """Of the video: RTP, RTCP."""
        self._name = name
        self._sdp = sdp
        self._login = login
        self._offers_audio = offers_audio
        self._journal = journal
        self._counters = counters
        self._id = secrets.token_hex(8)
        self._video = False
        self._methods: dict[str, Callable[[Request], bytes]] = {
            "OPTIONS": self._options,
            "DESCRIBE": self._describe,
            "SETUP": self._setup,
            "PLAY": self._play,
            "GET_PARAMETER": self._alive,
            "SET_PARAMETER": self._alive,
            "TEARDOWN": self._teardown,
        }

    def answer(self, request: Request) -> bytes:
        """Return the answer to `request`."""
        method = self._methods.get(request.method)
        if request.version != (1, 0):
            return self._refuse(request, "505 RTSP Version Not Supported")
        if not request.sequence:
            return self._refuse(request, "400 Bad Request")
        if method is None:
            return self._refuse(request, "501 Not Implemented")
        if request.method not in _OPEN and not self._login.admits(
            request.headers.get("authorization", ""), method=request.method
        ):
            self._counters.add("camera.logins.refused")
            headers: dict[str, str | list[str]] = {"WWW-Authenticate": self._login.challenges(qop=False)}
            return reply("401 Unauthorized", sequence=request.sequence, headers=headers)
        if "session" in request.headers and request.headers["session"].partition(";")[0] != self._id:
            return self._refuse(request, "454 Session Not Found")
        return method(request)

    def _options(self, request: Request) -> bytes:
        return reply("200 OK", sequence=request.sequence, headers={"Public": ", ".join(self._methods)})

    def _describe(self, request: Request) -> bytes:
        if request.path != PATH:
            return self._refuse(request, "404 Not Found")
        base = request.uri.rstrip("/") + "/"
        headers: dict[str, str | list[str]] = {"Content-Type": "application/sdp", "Content-Base": base}
        return reply("200 OK", sequence=request.sequence, headers=headers, body=self._sdp)

    def _setup(self, request: Request) -> bytes:
        sound = _TRACKS.get(request.path)
        if sound is None or (sound and not self._offers_audio):
            return self._refuse(request, "404 Not Found")
        channels = request.channels
        if channels is None:
            return self._refuse(request, "461 Unsupported Transport")
        if sound:
            # A counter of people has no business with sound: that it was asked for is on record.
            self._counters.add("camera.audio_setups")
            self._journal.write(SaidAudioSetup(device=self._name, at_ns=time.time_ns()))
        else:
            self._video, self.channels = True, channels
        transport = f"RTP/AVP/TCP;unicast;interleaved={channels[0]}-{channels[1]}"
        return self._agree(request, {"Transport": transport}, timeout=True)

    def _play(self, request: Request) -> bytes:
        if not self._video:
            return self._refuse(request, "455 Method Not Valid in This State")
        self.playing = True
        return self._agree(request, {"Range": "npt=0.000-"})

    def _alive(self, request: Request) -> bytes:
        return self._agree(request)

    def _teardown(self, request: Request) -> bytes:
        self.playing, self.over = False, True
        return self._agree(request)

    def _agree(self, request: Request, headers: dict[str, str] | None = None, *, timeout: bool = False) -> bytes:
        session = f"{self._id};timeout={TIMEOUT_S}" if timeout else self._id
        return reply("200 OK", sequence=request.sequence, headers={**(headers or {}), "Session": session})

    def _refuse(self, request: Request, status: str) -> bytes:
        return reply(status, sequence=request.sequence, headers={})
