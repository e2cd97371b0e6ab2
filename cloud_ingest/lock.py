"""One ingest a data folder: two would answer from two memories and overwrite each other's counters."""

from __future__ import annotations

import asyncio
import fcntl
import os
import time
from typing import TYPE_CHECKING, Final, TextIO

from cloud_ingest.private import create_private
from telemetry.errors import ConfigError, Problem

if TYPE_CHECKING:
    from pathlib import Path

FILE_NAME: Final = "ingest.lock"
PATIENCE_S: Final = 6.0
"""Longer than a graceful stop takes: the one before may still be about to end."""
_LOOK_EVERY_S: Final = 0.2


async def hold(data: Path, *, patience_s: float = PATIENCE_S) -> TextIO:
    """Return the open lock file: whoever has it open has the folder. Raises ConfigError if it is taken, OSError.

    The kernel lets go of it however the process ends.
    """
    path = data / FILE_NAME
    create_private(path)
    file = path.open("r+", encoding="ascii")
    deadline = time.monotonic() + patience_s
    try:
        while not _taken(file.fileno()):
            _check(data, file, deadline)
            await asyncio.sleep(_LOOK_EVERY_S)
        file.truncate()
        file.write(f"{os.getpid()}\n")
        file.flush()
    except BaseException:
        file.close()
        raise
    return file


def _taken(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _check(data: Path, file: TextIO, deadline: float) -> None:
    if time.monotonic() <= deadline:
        return
    holder = file.read(32).strip()
    problem = Problem(
        where=f"data folder {data}",
        what=f"is in use by another cloud-ingest{f' (process {holder})' if holder else ''}",
        mend="stop that one; or give this one a data folder and an mqtt.client_id of its own, and both one"
        " mqtt.share_group",
    )
    raise ConfigError([problem])
