"""Small files with a checksum, replaced at once or not at all. Blocking."""

from __future__ import annotations

import os
import zlib
from typing import TYPE_CHECKING, Final, TypeVar

import msgspec

from edge_agent.buffer.disk import FRESH

if TYPE_CHECKING:
    from pathlib import Path

    from edge_agent.buffer.disk import Disk

SmallT = TypeVar("SmallT", bound=msgspec.Struct)
_NEW: Final = os.O_CREAT | os.O_TRUNC


def small_text(content: msgspec.Struct, *, size: int = 0) -> bytes:
    """Return what such a file holds: JSON, its checksum, and spaces up to `size`."""
    body = msgspec.json.encode(content)
    return (body + b" %08x" % zlib.crc32(body)).ljust(size - 1) + b"\n"


def read_small(path: Path, kind: type[SmallT]) -> SmallT | None:
    """Return a small file's content; none if there is none or it is not what was written. Raises OSError."""
    try:
        body, _, checksum = path.read_bytes().rstrip().rpartition(b" ")
        return msgspec.json.decode(body, type=kind) if checksum == b"%08x" % zlib.crc32(body) else None
    except (FileNotFoundError, msgspec.DecodeError):
        return None


def write_small(path: Path, content: msgspec.Struct, disk: Disk) -> None:
    """Replace a small file atomically and durably. Raises OSError."""
    fresh = path.with_suffix(path.suffix + FRESH)
    write_synced(fresh, small_text(content), disk)
    fresh.replace(path)
    disk.sync_folder(path.parent)


def write_synced(path: Path, data: bytes, disk: Disk, *, flags: int = _NEW) -> None:
    """Write a file and sync it, not yet its folder. Raises OSError."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC | flags, 0o600)
    try:
        disk.write(descriptor, data, 0)
        disk.sync_all(descriptor)
    finally:
        os.close(descriptor)
