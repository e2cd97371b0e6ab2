"""What one event costs the flash card: bytes that reach the block device, beside SQLite in WAL mode for the same event.

On a loop device with the 4 KiB blocks of a real card; where none can be mounted, what the kernel counts for us.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import sqlite3
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from benchmarks.buffer_write import infos, make_sample
from edge_agent.buffer import Buffer
from telemetry.counters import Counters

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

EVENTS: Final = 300
PAYLOAD_BYTES: Final = 520
SECTOR: Final = 512
MAX_BYTES: Final = 64_000_000
AT_DEVICE: Final = "at a loop device"


@contextlib.contextmanager
def flash_device(folder: Path, options: str = "noatime") -> Iterator[tuple[Path, Callable[[], int], str]]:
    """Yield (a folder, what counts the bytes written to its device, how they are counted)."""
    image, mounted = folder / "flash.img", folder / "flash"
    mounted.mkdir()
    steps = (
        ["truncate", "-s", "256M", str(image)],
        ["mkfs.ext4", "-q", "-F", "-b", "4096", "-E", "lazy_itable_init=0,lazy_journal_init=0", str(image)],
        ["mount", "-o", f"loop,{options}", str(image), str(mounted)],
    )
    for step in steps:
        try:
            subprocess.run(step, check=True, capture_output=True, timeout=30)
        except (OSError, subprocess.SubprocessError):
            yield mounted, _process_bytes, "by /proc/self/io"
            return
    try:
        number = mounted.stat().st_dev
        stat = Path(f"/sys/dev/block/{os.major(number)}:{os.minor(number)}/stat")
        yield mounted, lambda: int(stat.read_text().split()[6]) * SECTOR, AT_DEVICE
    finally:
        subprocess.run(["umount", str(mounted)], check=True, timeout=30)


def _process_bytes() -> int:
    lines = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(lines["write_bytes"])


async def open_buffer(folder: Path) -> Buffer:
    """Return a new buffer of `infos()` in `folder`."""
    return await Buffer.open(
        folder,
        site="bench",
        gateway="gw-1",
        simulated=True,
        window_s=2.0,
        max_bytes=MAX_BYTES,
        devices=infos(),
        counters=Counters(),
    )


async def _buffer(folder: Path, written: Callable[[], int]) -> float:
    buffer = await open_buffer(folder)
    chance = random.Random(1)  # noqa: S311
    async with asyncio.TaskGroup() as group:
        group.create_task(buffer.run(), name="buffer")
        await buffer.append(make_sample(0, chance, event=True))
        os.sync()
        before = written()
        for number in range(EVENTS):
            await buffer.append(make_sample(number, chance, event=True))
        os.sync()  # the file system's journal too
        cost = (written() - before) / EVENTS
        await buffer.close()
    return cost


def _sqlite(path: Path, written: Callable[[], int]) -> float:
    payload = os.urandom(PAYLOAD_BYTES)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as store:
        store.execute("PRAGMA journal_mode=WAL")
        store.execute("PRAGMA synchronous=FULL")
        store.execute("CREATE TABLE batch (number INTEGER PRIMARY KEY, acquired_at_ns INTEGER, payload BLOB)")
        os.sync()
        before = written()
        for _ in range(EVENTS):
            store.execute("INSERT INTO batch (acquired_at_ns, payload) VALUES (?, ?)", (time.time_ns(), payload))
        store.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        os.sync()
        return (written() - before) / EVENTS


def run() -> list[dict[str, Any]]:
    """Measure both on the same file system, which is removed again."""
    with tempfile.TemporaryDirectory(prefix="flash-bench-") as name, flash_device(Path(name)) as (folder, written, how):
        ours = asyncio.run(_buffer(folder / "buffer", written))
        theirs = _sqlite(folder / "store.sqlite", written)
    return [
        {
            "name": f"bytes written for one durable event, {how}; limit: SQLite in WAL mode",
            "figure": ours,
            "unit": "B",
            "limit": theirs,
            "ratio": theirs / ours,
        }
    ]
