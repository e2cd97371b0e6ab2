"""What the tests of the waiting room share: a boot's clock, a buffer that is told, rooms opened and left."""

from __future__ import annotations

import contextlib
import errno
import os
from typing import TYPE_CHECKING

from edge_agent.buffer import Stamp, WaitingRoom
from edge_agent.buffer.record import HEADER_BYTES, Found, scan
from edge_agent.buffer.unsynced_form import unpack
from edge_agent.clock import utc_of
from telemetry.counters import Counters
from tests.edge_agent.buffer.helpers import DEVICES

if TYPE_CHECKING:
    from pathlib import Path

    from telemetry.sample import Admitted

SECOND = 1_000_000_000
MINUTE = 60 * SECOND
OFFSET = 1_800_000_000 * SECOND + 7
HIM, HER = "ab" * 16, "cd" * 16


class Boots:
    """CLOCK_BOOTTIME, moved by hand."""

    def __init__(self) -> None:
        self.at_ns = 10 * SECOND

    def __call__(self) -> int:
        return self.at_ns


class Sink:
    """Durable is what was there when it was last settled; the rest goes with the process."""

    def __init__(self) -> None:
        self.durable: list[tuple[Admitted, int]] = []
        self.memory: list[tuple[Admitted, int]] = []

    async def tell(self, taken_ns: int, admitted: Admitted, stamp: Stamp) -> None:
        self.memory.append((admitted, utc_of(taken_ns, stamp.offset_ns)))

    async def settled(self) -> None:
        self.durable += self.memory
        self.memory = []


async def opened(path: Path, now: Boots, counters: Counters | None = None, **options: object) -> WaitingRoom:
    settings: dict[str, object] = {
        "boot": "this",
        "guess_ns": 0,
        "window_s": 0.4,
        "max_bytes": 64_000_000,
        "devices": dict(DEVICES),
        "counters": counters or Counters(),
        "now_boot_ns": now,
    }
    return await WaitingRoom.open(path, **(settings | options))  # type: ignore[arg-type]


def abandoned(room: WaitingRoom) -> None:
    """End as a process does: nothing more is written."""
    room._closed = True
    room._thread.shutdown(wait=True)
    for _, descriptor in room._log._active.values():
        with contextlib.suppress(OSError):
            os.close(descriptor)


def refuse(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def on_disk(path: Path) -> list[Admitted]:
    found: list[Admitted] = []
    for file in sorted([*(path / "unsynced").glob("*.air"), *(path / "unsynced").glob("*.persons")]):
        data = file.read_bytes()
        for item in scan(data):
            group = unpack(data[item.start + HEADER_BYTES : item.end]) if isinstance(item, Found) else None
            found += [one for _, one in group or []]
    return found
