"""Reader: the thread that receives pictures; keeps the newest, and connects anew after each loss."""

from __future__ import annotations

import hashlib
import random
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from drivers.camera_people.record import State
from telemetry.errors import AuthError, DeviceUnavailable, ProtocolError

if TYPE_CHECKING:
    from drivers.camera_people.worker.source import Shot, Source

FIRST_S: Final = 0.25
CAP_S: Final = 2.0
"""A camera that is back is seen within two seconds, and one that is not is asked so often."""
KEEP_S: Final = 0.25
"""While nobody asks, one picture in so long is kept: a slow camera might have no newer one when somebody does."""
PROMPT_NS: Final = 500_000_000
"""A picture no older than this is taken at once; for a newer one than an older it is worth to wait."""
AGAIN_S: Final = 0.2
"""A source that was asked and had nothing new is left alone for so long, not asked hundreds of times a second."""
MAX_DAMAGED: Final = 50
"""So many damaged pictures in a row: the connection is opened anew."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """What the reader has for one request: a picture, or why there is none."""

    state: State
    """Any of those without a picture; COUNTED if there is one, to be looked at."""
    shot: Shot | None = None


class Reader:
    """All but `run` may be called from another thread than the reader's own."""

    def __init__(self, source: Source, *, stalled_s: float) -> None:
        self._source = source
        self._fresh_ns = int(stalled_s * 1e9)
        self._wanted = threading.Event()
        self._changed = threading.Condition()
        self._shot: Shot | None = None
        self._problem: State | None = None
        self._busy_s = time.monotonic()
        self._kept_s = 0.0
        self._last_sum = b""
        self.frames = self.taken = self.undecodable = self.reopened = 0

    def run(self) -> None:
        """Receive pictures until the camera refuses the login, which trying again does not mend."""
        failures = 0
        while True:
            frames = self.frames
            try:
                self._begin_call()  # the pause before it was none
                self._source.open()
                self._begin_call()
                self._receive()
            except AuthError:
                self._fail(State.REFUSED)
                return
            except ProtocolError:
                self._damaged()
            except DeviceUnavailable as error:
                self._fail(State.STALLED if error.timed_out else State.UNREACHABLE)
            finally:
                self._source.close()
            failures = 0 if self.frames > frames else min(failures + 1, 8)
            span = min(CAP_S, FIRST_S * float(1 << failures))
            time.sleep(span * (0.5 + random.random() / 2))  # noqa: S311 - spreads load, hides nothing
            self.reopened += 1

    def take(self, wait_s: float) -> Taken:
        """Return the newest picture that was not taken yet, waiting `wait_s` for a prompt one; or why there is none."""
        with self._changed:
            if not self._wanted.is_set():
                self._wanted.set()
                if not self._source.streams:
                    self._busy_s = time.monotonic()
            self._changed.wait_for(lambda: self._has(PROMPT_NS) or self._problem is State.REFUSED, wait_s)
            if not self._has(self._fresh_ns):
                return Taken(state=self._why_not())
            shot, self._shot = self._shot, None
            self.taken += 1
            return Taken(state=State.COUNTED, shot=shot)

    def stuck_s(self) -> float:
        """Return for how long the thread has been in one call."""
        with self._changed:
            waits = (self._source.streams or self._wanted.is_set()) and self._problem is not State.REFUSED
            return time.monotonic() - self._busy_s if waits else 0.0

    def _has(self, age_ns: int) -> bool:
        return self._shot is not None and time.monotonic_ns() - self._shot.received_ns <= age_ns

    def _why_not(self) -> State:
        if self._problem is not None:
            return self._problem
        return State.STALLED if self.taken else State.WAITING

    def _receive(self) -> None:
        damaged = 0
        while True:
            if self._source.streams and time.monotonic() - self._kept_s >= KEEP_S:
                self._wanted.set()
            try:
                shot = self._source.next(self._wanted)
            except ProtocolError:
                damaged += 1
                if damaged >= MAX_DAMAGED:
                    raise
                self._damaged()
                new = False
            else:
                damaged = 0
                new = self._received(shot)
                # Else this name would keep the picture in memory until the next one comes.
                del shot
            if not (new or self._source.streams):
                time.sleep(AGAIN_S)

    def _begin_call(self) -> None:
        with self._changed:
            self._busy_s = time.monotonic()

    def _received(self, shot: Shot | None) -> bool:
        """Take note of what came; tell whether it is no picture that was there already."""
        again = shot is not None and self._is_the_last(shot)
        with self._changed:
            self._busy_s = time.monotonic()
            self.frames += 1
            if again:
                return False  # the camera lives, its picture does not: no new one has come
            self._problem = None
            if shot is not None:
                self._shot, self._kept_s = shot, self._busy_s
                self._wanted.clear()
                self._changed.notify_all()
        return True

    def _is_the_last(self, shot: Shot) -> bool:
        """Tell whether a JPEG is the last one again, byte for byte, which no sensor's noise lets happen."""
        if not isinstance(shot.data, bytes):
            return False
        before, self._last_sum = self._last_sum, hashlib.blake2b(shot.data, digest_size=16).digest()
        return before == self._last_sum

    def _damaged(self) -> None:
        self.undecodable += 1
        self._fail(State.UNDECODABLE)

    def _fail(self, state: State) -> None:
        with self._changed:
            self._busy_s = time.monotonic()
            self._problem = state
            self._changed.notify_all()
