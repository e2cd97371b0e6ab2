"""A serial cable made of a pty: the device holds the master, whoever reads opens the port by its stable link.

Bytes take their time (10 bits each) and may be damaged or lost on the way. The cable knows whether somebody has the
port open and at which speed, so that the device can tell what was heard from what it only said.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import select
import sys
import termios
import time
import tty
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from simulators.faults import CORRUPTION, DROP, UNPLUG

if TYPE_CHECKING:
    import random
    from pathlib import Path

    from simulators.faults import Faults
    from telemetry.counters import Counters

CHUNK_BYTES: Final = 8
"""A reply reaches the host in pieces, as from a UART: a reader that expects whole frames in one read must fail."""
LOOK_S: Final = 0.02
"""How often a closed port is checked for being opened; a pty cannot announce it."""
MAX_INCOMING: Final = 4096
MAX_PACKETS: Final = 16
"""Taken at once: a reader that writes without end must not keep everything else from being done."""
MAX_SILENCE_CHARS: Final = 3.5

NOBODY: Final = "unheard"
"""Nobody had the port open."""
WRONG_SPEED: Final = "baudrate"
"""The reader set another speed: it gets garbage."""
OVERRUN: Final = "overrun"
"""The port is open but nobody reads it: the bytes did not fit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """What became of bytes sent: `fault` none means that they reached an open port unharmed, all of them."""

    fault: str | None
    at_ns: int
    """UTC when the last byte had left."""
    session: int
    """Counts the openings of the port, and how often who opened it threw away what lay in it."""
    opened_ns: int | None
    """UTC when that was last; none if it never was."""


class PtyCable:
    """One port. Call `plug` first, `close` last; both ends of its life belong to one event loop."""

    def __init__(self, *, baudrate: int, link: Path, rng: random.Random, faults: Faults, counters: Counters) -> None:
        self.link = link
        self.path = ""
        self.session = 0
        self._opened_ns: int | None = None
        self._baudrate = baudrate
        self._speed: int | None = getattr(termios, f"B{baudrate}", None)
        self._char_s = 10 / baudrate
        self._rng = rng
        self._faults = faults
        self._counters = counters
        self._master = -1
        self._poll = select.poll()
        self._reading = False
        self._timer: asyncio.TimerHandle | None = None
        self._incoming = bytearray()
        self._heard = asyncio.Event()
        self._quiet_at = 0.0
        self._sending = asyncio.Lock()

    @property
    def plugged(self) -> bool:
        """Whether the port exists."""
        return self._master >= 0

    @property
    def is_open(self) -> bool:
        """Whether somebody has the port open."""
        self._look()
        return self._reading

    def plug(self) -> None:
        """Make the port and its link; nothing happens if it is there."""
        if self.plugged:
            return
        self._make()
        self._look()

    def unplug(self) -> None:
        """Take port and link away: whoever has it open gets a hang-up."""
        if not self.plugged:
            return
        self._unmake()
        with contextlib.suppress(OSError):
            if str(self.link.readlink()) == self.path:
                self.link.unlink()

    close = unplug

    async def receive(self) -> bytes:
        """Return what was heard up to a silence of 3.5 characters, which ends a Modbus RTU frame."""
        loop = asyncio.get_running_loop()
        await self._heard.wait()
        while (rest := self._quiet_at - loop.time()) > 0:  # noqa: ASYNC110 - each byte moves the end of the silence
            await asyncio.sleep(rest)
        data = bytes(self._incoming)
        self._incoming.clear()
        self._heard.clear()
        return data

    async def send(self, data: bytes) -> Delivery:
        """Send `data` at the line's speed and tell what became of it; never waits for a reader."""
        loop = asyncio.get_running_loop()
        async with self._sending:
            opened = self.session if self.is_open else 0
            fault = None
            due = loop.time()
            for start in range(0, len(data), CHUNK_BYTES):
                chunk = data[start : start + CHUNK_BYTES]
                due += len(chunk) * self._char_s
                await asyncio.sleep(max(0.0, due - loop.time()))
                happened = self._put(chunk)
                fault = fault or happened
            if fault is None and self.session != opened:
                fault = NOBODY
        if fault is not None:
            self._counters.add(f"wire.sent.{fault}")
        return Delivery(fault=fault, at_ns=time.time_ns(), session=self.session, opened_ns=self._opened_ns)

    def _make(self) -> None:
        master, slave = os.openpty()
        try:
            tty.setraw(slave)
            if self._speed is not None:
                # The port starts at the device's speed: only a reader that asks for another one gets garbage.
                settings = termios.tcgetattr(slave)
                settings[4] = settings[5] = self._speed
                termios.tcsetattr(slave, termios.TCSANOW, settings)
            self.path = os.ttyname(slave)
        finally:
            # Only the master is kept: a slave of ours would hide from us that nobody else has the port open.
            os.close(slave)
        os.set_blocking(master, False)
        # Each read then begins with a byte that is 0 before data, or tells what the reader did to the port.
        fcntl.ioctl(master, termios.TIOCPKT, (1).to_bytes(4, sys.byteorder))
        self._master = master
        self._poll.register(master, select.POLLIN)
        if not self.link.is_symlink() or str(self.link.readlink()) != self.path:
            fresh = self.link.with_name(f".{self.link.name}.{os.getpid()}")
            fresh.unlink(missing_ok=True)
            fresh.symlink_to(self.path)
            fresh.replace(self.link)

    def _unmake(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._reading:
            asyncio.get_running_loop().remove_reader(self._master)
            self._reading = False
        self._poll.unregister(self._master)
        os.close(self._master)
        self._master = -1

    def _hung_up(self) -> bool:
        return any(events & select.POLLHUP for _fd, events in self._poll.poll(0))

    def _look(self) -> None:
        """Bring `_reading` in line with whether the port is open; look again later while it is not."""
        if not self.plugged:
            return
        loop = asyncio.get_running_loop()
        hung_up = self._hung_up()
        if self._reading and hung_up:
            # A fresh port, most often of the same name: what the last reader left unread, set or locked is gone,
            # as with a real port (a pty would hand the old bytes to the next reader).
            self._drain()
            self._unmake()
            self._make()
        elif not self._reading and not hung_up:
            self._reading = True
            self._begin_session()
            loop.add_reader(self._master, self._readable)
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None if self._reading else loop.call_later(LOOK_S, self._look)

    def _readable(self) -> None:
        self._drain()
        if self._hung_up():
            self._look()

    def _begin_session(self) -> None:
        self.session += 1
        self._opened_ns = time.time_ns()

    def _drain(self) -> None:
        with contextlib.suppress(OSError):  # nothing more, or nobody there
            for _ in range(MAX_PACKETS):
                packet = os.read(self._master, MAX_INCOMING)
                if packet[0] & termios.TIOCPKT_FLUSHREAD:
                    self._begin_session()
                if len(packet) > 1:
                    self._hear(packet[1:])

    def _hear(self, data: bytes) -> None:
        if self._wrong_speed():
            self._counters.add("wire.received.baudrate")
            return
        heard, fault = self._damage(data)
        if fault is not None:
            self._counters.add(f"wire.received.{fault}")
        if len(self._incoming) + len(heard) > MAX_INCOMING:
            self._counters.add("wire.received.overrun")
            self._incoming.clear()
            return
        now = asyncio.get_running_loop().time()
        # The host hands over a request in no time; on the wire its bytes come one after the other.
        silence = MAX_SILENCE_CHARS * self._char_s
        self._quiet_at = max(now, self._quiet_at - silence) + len(data) * self._char_s + silence
        self._incoming += heard
        self._heard.set()

    def _wrong_speed(self) -> bool:
        if self._speed is None:
            return False
        return termios.tcgetattr(self._master)[4:6] != [self._speed, self._speed]

    def _put(self, chunk: bytes) -> str | None:
        """Write `chunk` as the wire leaves it; return the fault that befell it, if any."""
        if not self.plugged:
            return UNPLUG
        if not self.is_open:
            return NOBODY
        self._drain()
        arriving, fault = (self._rng.randbytes(len(chunk)), WRONG_SPEED) if self._wrong_speed() else self._damage(chunk)
        try:
            written = os.write(self._master, arriving)
        except BlockingIOError:
            written = 0
        except OSError:
            return NOBODY
        return OVERRUN if written < len(arriving) else fault

    def _damage(self, data: bytes) -> tuple[bytes, str | None]:
        """Return what the wire makes of `data`, and the fault if that is something else."""
        corrupt, drop = self._faults.rate(CORRUPTION), self._faults.rate(DROP)
        if not corrupt and not drop:
            return data, None
        out = bytearray()
        fault = None
        for byte in data:
            if self._rng.random() < drop:
                fault = fault or DROP
            elif self._rng.random() < corrupt:
                out.append(byte ^ self._rng.randrange(1, 256))
                fault = CORRUPTION
            else:
                out.append(byte)
        return bytes(out), fault
