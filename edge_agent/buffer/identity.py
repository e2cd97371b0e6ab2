"""Identity of batches: the epoch, and numbers that are reserved on disk in blocks and only grow."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Final

import msgspec

from edge_agent.buffer.small import read_small, small_text, write_small, write_synced

if TYPE_CHECKING:
    from pathlib import Path

    from edge_agent.buffer.disk import Disk

BLOCK: Final = 10_000
SCHEMA: Final = "campus.buffer/1"
UNSAVED_LIMIT: Final = 1 << 60


class Meta(msgspec.Struct, frozen=True, kw_only=True):
    """The `meta` file: no number below `reserved` is ever given again under `epoch`."""

    schema: str = SCHEMA
    site: str
    gateway: str
    epoch: str
    reserved: int


def new_epoch() -> str:
    """Return a random epoch, 16 hex digits."""
    return secrets.token_hex(8)


def read_meta(path: Path) -> Meta | None:
    """Return the meta file's content; none if it is missing or its checksum does not fit. Raises OSError."""
    meta = read_small(path, Meta)
    return meta if meta is not None and meta.schema == SCHEMA else None


def write_meta(path: Path, meta: Meta, disk: Disk) -> None:
    """Replace the meta file atomically and durably; on a full disk overwrite it in place. Raises OSError."""
    try:
        write_small(path, meta, disk)
    except OSError:
        # The file is smaller than one block, so this needs no space; torn, it only costs a new epoch.
        write_synced(path, small_text(meta), disk, flags=0)


class Identity:
    """Gives out numbers; `low` tells when the next block has to be reserved (see `reserve`)."""

    def __init__(self, *, site: str, gateway: str, epoch: str, first: int) -> None:
        self.epoch = epoch
        self._site = site
        self._gateway = gateway
        self._next = first
        self._reserved = first

    @property
    def low(self) -> bool:
        """Whether less than half a block is left."""
        return self.left < BLOCK // 2

    @property
    def left(self) -> int:
        """How many numbers may be taken before more have to be reserved."""
        return self._reserved - self._next

    def next_meta(self) -> Meta:
        """Return the meta that reserves one more block; write it, then call `reserve` with it."""
        return Meta(site=self._site, gateway=self._gateway, epoch=self.epoch, reserved=self._reserved + BLOCK)

    def reserve(self, meta: Meta) -> None:
        """Allow the numbers that `meta`, now on disk, reserves."""
        if meta.epoch == self.epoch:
            self._reserved = max(self._reserved, meta.reserved)

    def take(self) -> int | None:
        """Return the next number; none if all that are reserved are used up."""
        if self._next >= self._reserved:
            return None
        number = self._next
        self._next += 1
        return number

    def go_on_unsaved(self) -> int:
        """Mint an epoch that is only in memory, for a disk that cannot be written; return its first number."""
        self.epoch = new_epoch()
        self._next, self._reserved = 1, UNSAVED_LIMIT
        return 0
