"""The console as a supervised child of `cloud-ingest run --console`: its crash never harms the ingest."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
import time
from typing import TYPE_CHECKING, Final

from cloud_ingest.notify import notify

if TYPE_CHECKING:
    from cloud_ingest.settings import Settings
    from telemetry.counters import Counters

_log = logging.getLogger(__name__)
_FIRST_BACKOFF_S: Final = 1.0
_LONGEST_BACKOFF_S: Final = 60.0
_STEADY_S: Final = 60.0
_GOODBYE_S: Final = 2.0
_FOREIGN: Final = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")
"""The service manager talks with the ingest alone."""


async def keep_console(settings: Settings, counters: Counters) -> None:
    """Run the console and start it again when it ends, until cancelled; then it is gone too."""
    backoff_s = _FIRST_BACKOFF_S
    while True:
        started = time.monotonic()
        try:
            code = await _run_once(settings)
        except OSError as error:
            _log.error("console cannot be started: %s", error)
        else:
            _log.error("console ended with code %d; its own lines above say why", code)
        counters.add("console.restarts")
        if time.monotonic() - started > _STEADY_S:
            backoff_s = _FIRST_BACKOFF_S
        _log.info("console is started again in %.0f s", backoff_s)
        await asyncio.sleep(backoff_s)
        backoff_s = min(backoff_s * 2, _LONGEST_BACKOFF_S)


async def _run_once(settings: Settings) -> int:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "cloud_ingest.console",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env={name: value for name, value in os.environ.items() if name not in _FOREIGN},
    )
    try:
        # By the pipe: a store's password must not be seen among the arguments of processes.
        await _hand_over(process, settings.model_dump_json().encode() + b"\n")
        await _read_address(process)
        return await process.wait()
    finally:
        await _end(process)


async def _hand_over(process: asyncio.subprocess.Process, line: bytes) -> None:
    if process.stdin is not None:
        process.stdin.write(line)
        with contextlib.suppress(ConnectionError):
            await process.stdin.drain()


async def _read_address(process: asyncio.subprocess.Process) -> None:
    """Tell the service manager where the console is; then read on, so that the child never waits for a reader."""
    if process.stdout is None:
        return
    async for line in process.stdout:
        address = line.decode(errors="replace").strip()
        _log.info("console is at %s", address)
        notify(f"STATUS=console at {address}\nX_CONSOLE_URL={address}")


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    try:
        async with asyncio.timeout(_GOODBYE_S):
            await process.wait()
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
