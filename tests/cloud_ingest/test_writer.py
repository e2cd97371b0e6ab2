"""The writer alone: its barrier, and whose samples a refused row was."""

from __future__ import annotations

import asyncio
import itertools
from typing import TYPE_CHECKING, Any
from unittest.mock import AsyncMock, Mock

from cloud_ingest.parcel import Parcel
from cloud_ingest.series import Row, make_series
from cloud_ingest.settings import WriterSettings
from cloud_ingest.stores.base import Capabilities, Outcome
from cloud_ingest.writer import Writer
from telemetry.counters import Counters
from telemetry.sample import DataClass
from tests.cloud_ingest.gateway import NOW, batch, block, sample, topic_of
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

SERIES = make_series("environment", {"device": "d"})


class Store:
    """Takes each write a turn of the loop later; refuses the rows at `refuses`."""

    name = "imitation"
    capabilities = Capabilities(durable=True, idempotent=True, strings=True, precision="ns", can_erase=True)

    def __init__(self, *refuses: int) -> None:
        self.refuses = refuses

    async def prepare(self) -> None:
        """Nothing."""

    async def write(self, rows: Sequence[Row]) -> Outcome:
        await asyncio.sleep(0)
        return Outcome(refused={index: "why" for index in self.refuses if index < len(rows)})


def make(store: Store, on_settled: Callable[[Parcel], None], **settings: Any) -> tuple[Writer, AsyncMock]:
    commit = AsyncMock()
    writer = Writer(
        store=store,  # type: ignore[arg-type]
        classes=[DataClass.OPEN],
        files=Mock(commit=commit),
        acks=Mock(flush=AsyncMock()),
        counters=Counters(),
        settings=WriterSettings(flush_s=0, **settings),
        on_settled=on_settled,
    )
    return writer, commit


def parcel(number: int, rows: int = 1) -> Parcel:
    one = batch(number, [block([sample(NOW + n) for n in range(rows)])])
    made = [Row(series=SERIES, time_ns=NOW + n, fields={"co2": 1.0}, sample=n) for n in range(rows)]
    return Parcel(topic=topic_of(one), identity=Mock(), digest=b"", batch=one, rows=made, values=rows, cost=rows)


async def test_the_barrier_is_reached_however_much_comes_meanwhile() -> None:
    """An order to erase waits behind it, and a school never falls silent."""
    settled = 0

    def count(_: Parcel) -> None:
        nonlocal settled
        settled += 1

    async def feed() -> None:
        for number in itertools.count(10):
            await until(lambda: writer.has_room(1))
            writer.submit(parcel(number))

    writer, _ = make(Store(), count, max_batches=8, flush_values=1)
    async with asyncio.timeout(20):
        running = [asyncio.create_task(writer.run()), asyncio.create_task(feed())]
        await until(lambda: settled > 50)
        barrier = asyncio.create_task(writer.settled_so_far())
        await until(lambda: barrier.done() or settled > 5000)
    for task in (*running, barrier):
        task.cancel()
    await asyncio.gather(*running, barrier, return_exceptions=True)
    assert not barrier.cancelled()


async def test_a_refused_row_is_filed_with_its_own_batch() -> None:
    done: list[Parcel] = []
    writer, commit = make(Store(1, 4), done.append)
    for number, rows in ((1, 2), (2, 2), (3, 2)):
        writer.submit(parcel(number, rows))
    running = asyncio.create_task(writer.run())
    try:
        async with asyncio.timeout(10):
            await writer.drained()
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    assert [[(r.batch, r.samples) for r in one.refused] for one in done] == [[(1, [1])], [], [(3, [0])]]
    assert [len(call.args[0]) for call in commit.call_args_list] == [0, 2]
