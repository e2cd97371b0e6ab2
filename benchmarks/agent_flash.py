"""What reaches the flash card: by events in a burst, in a healthy day, and in an outage; everything the agent writes.

On a loop device with the 4 KiB blocks of a real card, ext4's journal included (needs root); where none can be mounted,
what the kernel counts for the process. A burst is thirty pupils at a reader within a minute, each event acknowledged.
A healthy day is made up of what each writer costs and how often its own rule lets it write. An outage is a classroom
(`_classroom.py`) without a broker: bytes at the device beside the plain JSON of the batches that it keeps; with the
file system's own 5 s between two commits of its journal, and with the 60 s that systemd/README.md recommends.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from benchmarks import _classroom, _stage
from benchmarks.buffer_flash import flash_device, open_buffer
from benchmarks.buffer_write import make_sample
from edge_agent.audit import AuditLog
from edge_agent.buffer.disk import Disk
from edge_agent.buffer.identity import BLOCK, Meta, write_meta
from edge_agent.buffer.kept import Figures, write_figures
from edge_agent.buffer.rates import FlashState
from edge_agent.buffer.segment import Segment, segment_files
from edge_agent.privacy.accepted import replace_file
from telemetry.ack import Ack
from telemetry.batch import unpack
from telemetry.counters import Counters

if TYPE_CHECKING:
    from collections.abc import Callable

    from edge_agent.buffer.record import EncodedBatch

PUPILS: Final = 30
BURST_S: Final = 60.0
EVENT_BUDGET_B: Final = 16 * 1024
DAY_BUDGET_MB: Final = 5.0
BATCHES_DAY: Final = 2 * 86_400
"""At most two a second, W/4 each, where readings never stop."""
TAPS_DAY: Final = 180
"""45 pupils, in and out of two sessions."""
ENTRIES_DAY: Final = 20
"""Of the audit log: starts, stops, documents, purges."""
DOCUMENTS_DAY: Final = 3
"""A fresh list of consents at least, each with its file and the gate's memory."""
FIGURES_DAY: Final = 4
"""What `buffer status` tells from outside is kept each six hours."""
DOCUMENT_BYTES: Final = 20_000
TIMES: Final = 20
REPEATS: Final = 1
WARM_S: Final = 20.0
OUTAGE_S: Final = 120.0
OUTAGE_SHARE: Final = 3.0
REACHED: Final = 0.7
"""Of it: a classroom has so little to say that whole blocks and the journal outweigh it; docs/benchmarks.md."""
RECOMMENDED: Final = "noatime,commit=60"
"""Mount options: systemd/README.md. What is fdatasynced is durable all the same; what is not may wait a minute."""


def _cost(written: Callable[[], int], work: Callable[[int], None]) -> float:
    """Return the device's bytes for one round of `work`."""
    work(0)
    os.sync()
    before = written()
    for number in range(1, TIMES + 1):
        work(number)
    os.sync()
    return (written() - before) / TIMES


async def _burst(folder: Path, written: Callable[[], int]) -> float:
    """Return the device's bytes for one event of a burst, the acknowledgements' included."""
    buffer = await open_buffer(folder)

    def acknowledge() -> None:
        while (batch := buffer.take_live()) is not None:
            taken: EncodedBatch = batch
            stored = [(taken.number, taken.number)]
            buffer.acknowledge(Ack(epoch=taken.epoch, time_ns=time.time_ns(), stored=stored))

    buffer.on_ready(acknowledge)
    chance = random.Random(1)  # noqa: S311
    async with asyncio.TaskGroup() as group:
        group.create_task(buffer.run(), name="buffer")
        await buffer.append(make_sample(0, chance, event=True))
        await asyncio.sleep(6)  # the first event's acknowledgement is written too
        os.sync()
        before, started = written(), time.monotonic()
        for at in sorted(chance.uniform(0, BURST_S) for _ in range(PUPILS)):
            await asyncio.sleep(max(0.0, started + at - time.monotonic()))
            await buffer.append(make_sample(PUPILS, chance, event=True))
        await asyncio.sleep(6)
        os.sync()
        cost = (written() - before) / PUPILS
        await buffer.close()
    return cost


def _json_bytes(buffer: Path) -> int:
    """Return the plain JSON of all batches in the files, acknowledged or not."""
    total = 0
    for path in (*segment_files(buffer / "samples"), *segment_files(buffer / "bulk")):
        segment = Segment.open(path, on_damage=lambda *_: None, disk=Disk(), read_only=True)
        total += sum(len(unpack(payload)) for payload in segment.payloads_since(0))
        segment.close()
    return total


def _outage(folder: Path, flash: Path, written: Callable[[], int], wires: _classroom.Wires, window_s: float) -> float:
    """Return the device's bytes for a byte of JSON."""
    buffer = flash / f"w{window_s:g}" / "buffer"
    config = _classroom.configure(folder, wires, mqtt=_classroom.NOBODY, buffer=buffer, window_s=window_s)
    with _stage.agent(config, folder / "agent.log"):
        time.sleep(WARM_S)
        os.sync()
        json_before, before = _json_bytes(buffer), written()
        time.sleep(OUTAGE_S)
        os.sync()
        return (written() - before) / (_json_bytes(buffer) - json_before)


def _keep_figures(folder: Path) -> None:
    write_figures(folder, Figures(at_ns=0, per_hour={}, measured=True, flash=FlashState()), Disk())
    os.sync()  # hours lie between two, so none shares a block with the next


def _device(name: str, stack: contextlib.ExitStack, options: str) -> tuple[Path, Callable[[], int], str]:
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=f"flash-bench-{name}-")))
    return stack.enter_context(flash_device(folder, options))


def _info(name: str, figure: float, unit: str) -> dict[str, Any]:
    return {"name": name, "figure": round(figure, 2), "unit": unit, "limit": None, "ratio": None}


def run() -> list[dict[str, Any]]:
    """Return the figures."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="flash-bench-")))
        flash, written, how = _device("default", stack, "noatime")
        event = asyncio.run(_burst(flash / "events", written))
        meta = Meta(site="bench", gateway="gw-1", epoch="0" * 16, reserved=BLOCK)
        numbers = _cost(written, lambda _: write_meta(flash / "meta", meta, Disk()))
        figures = _cost(written, lambda _: _keep_figures(flash))
        audit = AuditLog(flash / "audit", counters=Counters())
        entry = _cost(written, lambda number: audit.append("bench", {"n": number}))
        document = _cost(written, lambda number: replace_file(flash / "document", os.urandom(DOCUMENT_BYTES + number)))
        memory = _cost(written, lambda number: replace_file(flash / "accepted", os.urandom(4000 + number)))
        wires = stack.enter_context(_classroom.devices(folder))
        outage = {window_s: _outage(folder, flash, written, wires, window_s) for window_s in (2.0, 10.0)}
        flash, written, _ = _device("recommended", stack, RECOMMENDED)
        recommended = _outage(folder, flash, written, wires, 10.0)
    day = numbers * BATCHES_DAY / BLOCK + entry * ENTRIES_DAY + (document + memory) * DOCUMENTS_DAY + event * TAPS_DAY
    day += figures * FIGURES_DAY
    kept = "flash in an outage: bytes for a byte of JSON"
    return [
        _stage.no_more_than(f"flash: one event of {PUPILS} within a minute, {how}", event, "B", EVENT_BUDGET_B),
        _info(f"flash: {BLOCK:,} batch numbers reserved", numbers, "B"),
        _info("flash: one entry of the audit log", entry, "B"),
        _info("flash: one document taken, the gate's memory with it", document + memory, "B"),
        _stage.no_more_than("flash: a healthy day of a classroom, by each rule", day / 1e6, "MB/day", DAY_BUDGET_MB),
        _info(f"{kept}, W = 2 s", outage[2.0], "B/B"),
        _info(f"{kept}, W = 10 s", outage[10.0], "B/B"),
        _stage.no_more_than(f"{kept}, W = 10 s, journal committed each 60 s", recommended, "B/B", OUTAGE_SHARE)
        | {"at_least": REACHED},
    ]


if __name__ == "__main__":
    for row in run():
        print(row)
