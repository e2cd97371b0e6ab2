"""Where bytes go that cannot be used but might be read by a person: bounded, never read back."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

    from edge_agent.buffer.disk import Disk

MAX_BYTES: Final = 8 * 1024 * 1024
MAX_FILES: Final = 100
_ZEROS: Final = 1024 * 1024


def quarantine(folder: Path, name: str, data: bytes, disk: Disk) -> bool:
    """Keep `data` under `name`; false if the quarantine is full or cannot be written: the loss is counted elsewhere."""
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        kept = [path.stat().st_size for path in folder.iterdir()]
        if len(kept) >= MAX_FILES or sum(kept) + len(data) > MAX_BYTES:
            return False
        descriptor = os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            disk.write(descriptor, data, 0)
        finally:
            os.close(descriptor)
    except OSError:
        return False
    return True


def empty(folder: Path, disk: Disk, *, names: str = "*", before_ns: int | None = None) -> int:
    """Overwrite and remove what is in quarantine, or what came before a time; return how many files. Raises OSError."""
    paths = list(folder.glob(names))
    if before_ns is not None:
        paths = [path for path in paths if path.stat().st_mtime_ns < before_ns]
    for path in paths:
        shred(unlinked(path), disk)
    return len(paths)


def unlinked(path: Path) -> int:
    """Unlink a file and return its descriptor, to be shredded. Raises OSError: it stays then."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        path.unlink()
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def shred(descriptor: int, disk: Disk) -> None:
    """Overwrite a file that has no name any more with zeros and close it. Raises OSError."""
    try:
        size = os.fstat(descriptor).st_size
        for at in range(0, size, _ZEROS):
            disk.write(descriptor, bytes(min(_ZEROS, size - at)), at)
        disk.sync(descriptor)
    finally:
        os.close(descriptor)
