"""Files that may hold data about people: readable by their owner alone, from their first byte on."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def create_private(path: Path) -> None:
    """Create an empty file with mode 0600; one that exists keeps its mode. Raises OSError.

    SQLite gives its write-ahead log the mode of the database file, so it must be right before the log exists.
    """
    os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))


def identity(path: Path) -> tuple[int, int] | None:
    """Return what tells the file at `path` from another one that takes its place."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
