"""The only way of the buffer to the disk: whole writes, syncs, and how many there were. Blocking; raises OSError."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

FRESH: Final = ".new"
"""Suffix of a file that is written to take another's place; what a crash left of one is removed."""


class Disk:
    """Writes and syncs for one thread, and counts both for the flash card's sake."""

    def __init__(self) -> None:
        self.written = 0
        """Bytes handed to the kernel; what reaches the card is more: whole blocks, and the file system's journal."""
        self.syncs = 0
        """fsync and fdatasync, of files and of folders."""

    def write(self, descriptor: int, data: bytes, at: int) -> None:
        """Write all of `data` at `at`."""
        view = memoryview(data)
        while view:
            count = os.pwrite(descriptor, view, at)
            self.written += count
            view, at = view[count:], at + count

    def sync(self, descriptor: int) -> None:
        """Make the file's content durable."""
        self.syncs += 1
        os.fdatasync(descriptor)

    def sync_all(self, descriptor: int) -> None:
        """Make the file's content and length durable."""
        self.syncs += 1
        os.fsync(descriptor)

    def sync_folder(self, folder: Path) -> None:
        """Make the creation, renaming and removal of files in `folder` durable."""
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            self.sync_all(descriptor)
        finally:
            os.close(descriptor)


def read_all(descriptor: int, size: int) -> bytes:
    """Return the first `size` bytes of the file, fewer if it is shorter."""
    parts: list[bytes] = []
    at = 0
    while at < size and (part := os.pread(descriptor, size - at, at)):
        parts.append(part)
        at += len(part)
    return b"".join(parts)
