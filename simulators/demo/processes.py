"""One supervised process: started on a leash, ready when it says so, logged, measured, stopped or killed."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from simulators.demo.notify import Readiness
from telemetry.errors import CampusError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_LEASH: Final = str(Path(__file__).with_name("leash.py"))
_TAIL_BYTES: Final = 2000
_LOOK_S: Final = 0.02
_TICKS: Final = os.sysconf("SC_CLK_TCK")
_PAGE_MB: Final = os.sysconf("SC_PAGE_SIZE") / 1e6


class ProcessFailed(CampusError):
    """A process of the demo did not start, or ended by itself; the text shows the end of its log."""


@dataclass(slots=True)
class Usage:
    """What a process used, over all its restarts."""

    rss_mb: float = 0.0
    """Resident memory now; 0 when it does not run."""
    peak_rss_mb: float = 0.0
    cpu_s: float = 0.0
    _ended_cpu_s: float = 0.0

    def seen(self, rss_mb: float, cpu_s: float) -> None:
        """Take in one look at the running process."""
        self.rss_mb = rss_mb
        self.peak_rss_mb = max(self.peak_rss_mb, rss_mb)
        self.cpu_s = self._ended_cpu_s + cpu_s

    def ended(self) -> None:
        """Keep the CPU time of a process that has ended, since the next one starts at zero."""
        self.rss_mb = 0.0
        self._ended_cpu_s = self.cpu_s


@dataclass(slots=True, kw_only=True)
class Process:
    """A named command; may be started, stopped and killed again and again. Its output goes to `log`."""

    name: str
    command: Sequence[str]
    log: Path
    notify: Path
    """Where its readiness socket is made; a short path (an address has 108 bytes at most)."""
    says_ready: bool = False
    """It prints one JSON line when it is ready, kept in `answer`; otherwise it sends READY=1."""
    stdin: bytes | None = None
    """Written to its standard input, which then stays open as long as it runs."""
    answer: dict[str, Any] = field(default_factory=dict)
    env: Mapping[str, str]
    told: dict[str, str] = field(default_factory=dict)
    """What it told its supervisor, such as its STATUS, since it was started last."""
    usage: Usage = field(default_factory=Usage)
    helpers: Usage = field(default_factory=Usage)
    """Of the processes that it has started."""
    popen: subprocess.Popen[bytes] | None = None
    _log_start: int = 0
    _ended: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def running(self) -> bool:
        """Whether it was started and has not ended."""
        return self.popen is not None and self.popen.poll() is None

    async def start(self, *, ready_s: float) -> None:
        """Start it and return when it is ready. Raises ProcessFailed if it ends before, or is not ready in time."""
        if self.running:
            return
        self._ended = asyncio.Event()
        readiness = Readiness(self.notify)
        self.told = readiness.told
        self._spawn(readiness)
        ready = self._read_answer() if self.says_ready else readiness.wait()
        waits = [asyncio.create_task(ready, name=f"{self.name}-ready"),
                 asyncio.create_task(self._ended.wait(), name=f"{self.name}-ended")]  # fmt: skip
        try:
            done, _ = await asyncio.wait(waits, timeout=ready_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        if waits[0] not in done:
            what = "ended before it was ready" if done else f"was not ready within {ready_s:g} s"
            await self.kill()
            raise ProcessFailed(f"{self.name} {what}; the end of {self.log}:\n{self.log_tail()}")

    async def _read_answer(self) -> None:
        """Wait until the log has a JSON object on a line of its own, after what earlier runs wrote."""
        while True:
            with self.log.open("rb") as log:
                log.seek(self._log_start)
                for line in log:
                    if line.startswith(b"{") and line.endswith(b"\n"):
                        with contextlib.suppress(ValueError):  # its log stands there too
                            self.answer = json.loads(line)
                            return
            await asyncio.sleep(_LOOK_S)

    def _spawn(self, readiness: Readiness) -> None:
        self.log.parent.mkdir(parents=True, exist_ok=True)
        leashed = [sys.executable, "-E", "-S", _LEASH, str(os.getpid()), *self.command]
        with self.log.open("ab") as log:
            self._log_start = log.tell()
            self.popen = subprocess.Popen(  # noqa: S603 - the commands are ours, no shell
                leashed,
                stdin=subprocess.DEVNULL if self.stdin is None else subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,  # the terminal's Ctrl-C is for the demo alone, which stops them in order
                env=dict(self.env) | {"NOTIFY_SOCKET": str(self.notify)},
            )
        if self.popen.stdin is not None and self.stdin is not None:
            self.popen.stdin.write(self.stdin)  # a line: far below what a pipe holds
            self.popen.stdin.flush()
        loop = asyncio.get_running_loop()
        handle = os.pidfd_open(self.popen.pid)  # no thread, no SIGCHLD handler
        loop.add_reader(handle, self._reap, loop, handle, readiness)

    def _reap(self, loop: asyncio.AbstractEventLoop, handle: int, readiness: Readiness) -> None:
        readiness.close()
        loop.remove_reader(handle)
        os.close(handle)
        if self.popen is not None:
            self.popen.wait()
            if self.popen.stdin is not None:
                self.popen.stdin.close()
        self.usage.ended()
        self.helpers.ended()
        self._ended.set()

    async def stop(self, *, within_s: float) -> float:
        """SIGTERM; SIGKILL if it still runs after `within_s`. Returns how long it took, in seconds."""
        began = time.monotonic()
        if self.popen is not None and self.running:
            # To it alone, as KillMode=mixed does: it ends its helpers itself, and in the right order.
            with contextlib.suppress(ProcessLookupError):
                self.popen.terminate()
            try:
                async with asyncio.timeout(within_s):
                    await self._ended.wait()
            except TimeoutError:
                await self.kill()
        return time.monotonic() - began

    async def kill(self) -> None:
        """Kill -9, and wait until it is gone."""
        if self.running:
            self._signal(signal.SIGKILL)
            await self._ended.wait()

    async def gone(self) -> None:
        """Wait until an ended process is reaped and forgotten by the loop."""
        if self.popen is not None:
            await self._ended.wait()

    def freeze(self) -> None:
        """SIGSTOP it and its helpers: they are there and do nothing, until `thaw`."""
        if self.running:
            self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT."""
        if self.running:
            self._signal(signal.SIGCONT)

    def kill_now(self) -> None:
        """Kill -9 without waiting: for the way out, when nothing else may go wrong."""
        if self.running:
            self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        if self.popen is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.popen.pid, number)

    @property
    def exit_code(self) -> int | None:
        """How its last run ended; none while it runs."""
        return self.popen.poll() if self.popen is not None else None

    def log_tail(self) -> str:
        """Return the end of its log."""
        with contextlib.suppress(FileNotFoundError), self.log.open("rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - _TAIL_BYTES))
            return log.read().decode(errors="replace").strip()
        return ""

    def own_processes(self, marked: bytes) -> list[int]:
        """Return the ids of the processes it has started whose command line has `marked` in it."""
        if self.popen is None or not self.running:
            return []
        return [pid for pid in _tree(self.popen.pid)[1:] if marked in _command_line(pid)]

    def measure(self) -> None:
        """Take memory and CPU of the process, and of its helpers together, from /proc."""
        if self.popen is None or not self.running:
            return
        own, *helpers = _tree(self.popen.pid)
        self.usage.seen(*_used([own]))
        if helpers:
            self.helpers.seen(*_used(helpers))


def _command_line(pid: int) -> bytes:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


def _used(pids: Sequence[int]) -> tuple[float, float]:
    """Return resident memory in MB and CPU time in seconds of these processes together."""
    rss_mb = cpu_s = 0.0
    for pid in pids:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
            cpu_s += (int(stat[11]) + int(stat[12])) / _TICKS  # utime, stime
            rss_mb += int(stat[21]) * _PAGE_MB
    return rss_mb, cpu_s


def _tree(pid: int) -> list[int]:
    pids, waiting = [], [pid]
    while waiting:
        current = waiting.pop()
        pids.append(current)
        with contextlib.suppress(OSError):
            children = Path(f"/proc/{current}/task/{current}/children").read_text(encoding="ascii")
            waiting += [int(child) for child in children.split()]
    return pids
