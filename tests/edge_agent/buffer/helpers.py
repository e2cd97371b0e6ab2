"""What the buffer's tests share: samples, an opened buffer, acknowledgements."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, Any

from edge_agent.buffer import Buffer, EncodedBatch
from telemetry.ack import Ack
from telemetry.batch import Batch, DeviceInfo, decode_batch, unpack
from telemetry.counters import Counters
from telemetry.ranges import to_ranges
from telemetry.sample import Admitted, DataClass, Durability, Quality

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable
    from pathlib import Path

WINDOW_S = 0.6
HANDLE = "0123456789abcdef" * 2


def device(name: str, measurement: str = "environment") -> DeviceInfo:
    return DeviceInfo(
        device=name,
        room="r101",
        profile="modbus/sensor@1.0.0",
        measurement=measurement,
        quantities={"temperature": "temperature", "presence": "presence"},
    )


DEVICES = {name: device(name) for name in ("air-1", "air-2", "door")}


def sample(
    at_ns: int | None = None, *, name: str = "air-1", value: float = 21.5, data_class: DataClass = DataClass.OPEN
) -> Admitted:
    return Admitted(
        device=name,
        acquired_at_ns=time.time_ns() if at_ns is None else at_ns,
        data_class=data_class,
        purpose="environment",
        durability=Durability.SAMPLE,
        values={"temperature": value},
        bad={},
        quality=Quality.GOOD,
        handle=None,
    )


def event(at_ns: int | None = None, *, handle: str = HANDLE, resumed: bool = False) -> Admitted:
    return Admitted(
        device="door",
        acquired_at_ns=time.time_ns() if at_ns is None else at_ns,
        data_class=DataClass.PERSONAL,
        purpose="attendance",
        durability=Durability.EVENT,
        values={"presence": True},
        bad={},
        quality=Quality.GOOD,
        handle=handle,
        resumed=resumed,
    )


@contextlib.asynccontextmanager
async def opened(path: Path, **options: Any) -> AsyncIterator[tuple[Buffer, Counters]]:
    """Open a buffer with its loops running; closed gracefully at the end."""
    counters = options.pop("counters", None) or Counters()
    settings: dict[str, Any] = {
        "site": "school",
        "gateway": "gw-1",
        "simulated": False,
        "window_s": WINDOW_S,
        "max_bytes": 64_000_000,
        "devices": DEVICES,
        "counters": counters,
    }
    buffer = await Buffer.open(path, **(settings | options))
    async with asyncio.TaskGroup() as group:
        group.create_task(buffer.run(), name="buffer")
        try:
            yield buffer, counters
        finally:
            await buffer.close()


def plain(batch: EncodedBatch) -> Batch:
    return decode_batch(unpack(batch.payload))


def values_of(batches: Iterable[EncodedBatch]) -> list[float]:
    return [
        value
        for batch in batches
        for block in plain(batch).devices
        for one in block.samples
        for value in one.values.values()
        if isinstance(value, float)
    ]


def ack(*batches: EncodedBatch, epoch: str | None = None) -> Ack:
    return Ack(
        epoch=epoch or batches[0].epoch, time_ns=time.time_ns(), stored=to_ranges(batch.number for batch in batches)
    )


async def live(buffer: Buffer) -> EncodedBatch:
    """Take the next live batch as soon as there is one."""
    async with asyncio.timeout(5.0):
        while (batch := buffer.take_live()) is None:  # noqa: ASYNC110 - a batch that closes is no event here
            await asyncio.sleep(0.005)
    return batch


async def drain(buffer: Buffer) -> list[EncodedBatch]:
    """Take all there is, acknowledging nothing."""
    batches = []
    while (batch := buffer.take_live() or await buffer.take_backfill()) is not None:
        batches.append(batch)
    return batches


async def emptied(buffer: Buffer, timeout_s: float = 5.0) -> None:
    """Take and acknowledge until nothing is left: an open batch can be taken only when its window is over."""
    async with asyncio.timeout(timeout_s):
        while buffer.status().batches:
            if batches := await drain(buffer):
                buffer.acknowledge(ack(*batches))
            await asyncio.sleep(0.005)


async def until(condition: Callable[[], bool], timeout_s: float = 5.0) -> None:
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.005)
