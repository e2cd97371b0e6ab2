"""What a test can leave behind in its process: asyncio tasks, threads, child processes."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

GRACE_S = 3.0
"""How long what a test has already told to stop may take to be gone."""
_POLL_S = 0.005
_PR_SET_CHILD_SUBREAPER = 36
# pytest-timeout's timer and execnet's receiver belong to the run, not to a test.
_RUN_THREADS = ("pytest_timeout", "execnet", "<execnet", "[execnet")
# Made once per process by multiprocessing itself, and kept on purpose.
_RUN_PROCESSES = ("multiprocessing.resource_tracker", "multiprocessing.forkserver")


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """A living process; a pid alone may be given out again."""

    pid: int
    started: int
    command: str = field(compare=False)
    """As it was when it was looked at: one that is just being started bears another for a moment."""

    def __str__(self) -> str:
        return f"process {self.pid} ({self.command})"


def adopt_orphans() -> None:
    """Have the kernel hand this process the orphans of its children, so that a daemon's escape is seen too."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _process(pid: int) -> tuple[int, Process] | None:
    """Return (parent, process) of a living process; none if it is gone or only waits to be reaped."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return None
    # The name in brackets may hold anything, brackets too: fields are counted from its end.
    name, _, rest = stat.partition(b"(")[2].rpartition(b")")
    fields = rest.split()
    if fields[0] in (b"Z", b"X"):
        return None
    text = command.replace(b"\0", b" ").decode(errors="replace").strip() or name.decode(errors="replace")
    return int(fields[1]), Process(pid=pid, started=int(fields[19]), command=text[:160])


def descendants() -> frozenset[Process]:
    """Return the living processes below this one."""
    children: dict[int, list[Process]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (found := _process(int(entry.name))):
            children.setdefault(found[0], []).append(found[1])
    below: list[Process] = []
    pending = [os.getpid()]
    while pending:
        mine = children.get(pending.pop(), [])
        below += mine
        pending += [process.pid for process in mine]
    return frozenset(process for process in below if not any(word in process.command for word in _RUN_PROCESSES))


def threads() -> frozenset[threading.Thread]:
    """Return the living threads that a test could have started."""
    return frozenset(
        thread
        for thread in threading.enumerate()
        # A dummy stands for a thread that no Python code started, such as execnet's own.
        if not isinstance(thread, threading._DummyThread) and not thread.name.startswith(_RUN_THREADS)
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Before:
    """What was there when the test began; fixtures of a wider scope may keep theirs."""

    threads: frozenset[threading.Thread]
    processes: frozenset[Process]


def snapshot() -> Before:
    """Return what is there now."""
    return Before(threads=threads(), processes=descendants())


def _gone(what: Callable[[], list[str]]) -> list[str]:
    """Return what is still left when nothing is left or the grace is over."""
    end = time.monotonic() + GRACE_S
    while (left := what()) and time.monotonic() < end:
        time.sleep(_POLL_S)
    return left


def left_since(before: Before) -> list[str]:
    """Return the threads and processes that came since and do not go; the processes are killed, for the next test."""

    def left() -> list[str]:
        new_threads = [thread for thread in threads() - before.threads if thread.is_alive()]
        return sorted(
            [f"thread {thread.name!r}{' (daemon)' if thread.daemon else ''}" for thread in new_threads]
            + [str(process) for process in descendants() - before.processes]
        )

    found = _gone(left)
    if found:
        for process in descendants() - before.processes:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)
    return found


def left_tasks(loop: asyncio.AbstractEventLoop) -> list[str]:
    """Return the tasks of a loop that stands still which do not end by themselves within the grace."""
    if loop.is_closed():
        return []

    async def settle() -> set[asyncio.Task[object]]:
        me = asyncio.current_task()
        end = loop.time() + GRACE_S
        # In rounds: while old tasks end, new ones may come.
        while (others := {task for task in asyncio.all_tasks() if task is not me}) and loop.time() < end:
            await asyncio.wait(others, timeout=end - loop.time(), return_when=asyncio.FIRST_COMPLETED)
        return others

    if not asyncio.all_tasks(loop):
        return []
    return sorted(f"task {task.get_name()!r} in {task.get_coro()!r}" for task in loop.run_until_complete(settle()))
