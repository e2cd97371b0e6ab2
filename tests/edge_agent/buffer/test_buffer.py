from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest

from edge_agent.buffer import Buffer, read_status
from telemetry.ack import Ack, Refused
from telemetry.counters import Counters
from telemetry.errors import ConfigError
from telemetry.sample import DataClass, Sample
from tests.edge_agent.buffer.helpers import (
    DEVICES,
    HANDLE,
    WINDOW_S,
    ack,
    drain,
    event,
    live,
    opened,
    plain,
    sample,
    until,
    values_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from telemetry.sample import Admitted

SECOND = 1_000_000_000


async def first_of_its_class_gone(buffer: Buffer, ready: asyncio.Event) -> None:
    """Send the first batch, which waits for no company: whoever started the agent wants to see something."""
    started = time.monotonic()
    await buffer.append(sample(value=0.0))
    await asyncio.wait_for(ready.wait(), 1)
    assert time.monotonic() - started < WINDOW_S / 4
    batch = buffer.take_live()
    assert batch is not None
    buffer.acknowledge(ack(batch))
    ready.clear()


async def test_a_batch_closes_after_a_quarter_of_the_window_and_goes_out_live(tmp_path: Path) -> None:
    async with opened(tmp_path) as (buffer, _):
        ready = asyncio.Event()
        buffer.on_ready(ready.set)
        await first_of_its_class_gone(buffer, ready)
        started = time.monotonic()
        await buffer.append(sample(value=1.0))
        await buffer.append(sample(value=2.0, name="air-2"))
        assert buffer.take_live() is None
        await asyncio.wait_for(ready.wait(), 1)
        assert WINDOW_S / 4 - 0.01 < time.monotonic() - started < WINDOW_S
        batch = buffer.take_live()
        assert batch is not None
        assert values_of([batch]) == [1.0, 2.0]
        assert (batch.samples, batch.values, batch.event, batch.data_class) == (2, 2, False, DataClass.OPEN)
        assert plain(batch).epoch == buffer.epoch == batch.epoch
        assert buffer.take_live() is None
        buffer.acknowledge(ack(batch))
        assert buffer.status().batches == 0


async def test_acknowledged_in_time_nothing_is_written(tmp_path: Path) -> None:
    async with opened(tmp_path, window_s=1.2) as (buffer, counters):
        end = time.monotonic() + 2.0
        while time.monotonic() < end:
            await buffer.append(sample())
            await asyncio.sleep(0.01)
            if (batch := buffer.take_live()) is not None:
                buffer.acknowledge(ack(batch))
        assert counters.get("buffer.syncs.samples") == 0
        assert not list((tmp_path / "samples").glob("*.log"))


async def test_without_acknowledgement_everything_is_on_disk_within_the_window(tmp_path: Path) -> None:
    async with opened(tmp_path) as (buffer, counters):
        started = time.monotonic()
        await buffer.append(sample(value=1.0))
        await until(lambda: buffer.take_live() is not None)
        await buffer.append(sample(value=2.0))
        await until(lambda: counters.get("buffer.syncs.samples") == 1)
        # 0.75 W, and some for a machine that runs other tests beside this one.
        assert 0.7 * WINDOW_S < time.monotonic() - started < 1.5 * WINDOW_S
        status = buffer.status()
        assert (status.batches, status.values, status.memory_batches) == (2, 2, 0)
        assert status.unsent_batches == 1
        offline = read_status(tmp_path, max_bytes=64_000_000)
        assert (offline.batches, offline.values, offline.epoch) == (2, 2, buffer.epoch)


async def test_spilled_while_in_flight_it_is_acknowledged_once(tmp_path: Path) -> None:
    async with opened(tmp_path) as (buffer, counters):
        await buffer.append(sample(value=1.0))
        batch = await live(buffer)
        await until(lambda: counters.get("buffer.syncs.samples") == 1)
        assert await buffer.take_backfill() is None
        buffer.acknowledge(ack(batch))
        await until(lambda: buffer.status().batches == 0)
        assert await buffer.take_backfill() is None
        buffer.acknowledge(ack(batch))


async def test_an_event_is_durable_within_fifty_milliseconds(tmp_path: Path) -> None:
    async with opened(tmp_path) as (buffer, counters):
        took = []
        for number in range(20):
            started = time.perf_counter()
            await buffer.append(event(handle=f"{number:032x}"))
            took.append(time.perf_counter() - started)
            assert read_status(tmp_path, max_bytes=1).batches == number + 1
        assert sorted(took)[len(took) // 2] < 0.05
        before = counters.get("buffer.syncs.events")
        await asyncio.gather(*(buffer.append(event(handle=f"{number:032x}")) for number in range(100, 150)))
        assert counters.get("buffer.syncs.events") - before <= 3


async def test_events_go_first_and_survive_unsent(tmp_path: Path) -> None:
    async with opened(tmp_path) as (buffer, _):
        await buffer.append(sample())
        await buffer.append(event())
        batch = await live(buffer)
        assert batch.event
        assert plain(batch).devices[0].samples[0].subject == HANDLE
        rest = await live(buffer)
        assert not rest.event
        await buffer.append(event())
        # Not taken in time: it is no longer live, but comes from disk.
        await asyncio.sleep(WINDOW_S * 1.2)
        assert buffer.take_live() is None
        late = await buffer.take_backfill()
        assert late is not None
        assert late.event
        buffer.acknowledge(ack(batch, rest, late))
        await until(lambda: buffer.status().batches == 0)


async def test_a_lost_acknowledgement_means_the_same_bytes_again(tmp_path: Path) -> None:
    async with opened(tmp_path) as (buffer, _):
        for value in range(5):
            await buffer.append(sample(value=float(value)))
        await buffer.append(event())
        await asyncio.sleep(WINDOW_S / 3)
        first = {(one.epoch, one.number): one.payload for one in await drain(buffer)}
    async with opened(tmp_path) as (buffer, _):
        again = {(one.epoch, one.number): one.payload for one in await drain(buffer)}
        assert again == first
        assert len(again) == 2


async def test_close_leaves_everything_on_disk(tmp_path: Path) -> None:
    async with opened(tmp_path) as (buffer, _):
        await buffer.append(sample(value=7.0))
        await buffer.append(sample(value=8.0, data_class=DataClass.GROUP))
    assert read_status(tmp_path, max_bytes=1).values == 2
    async with opened(tmp_path) as (buffer, _):
        batches = await drain(buffer)
        assert sorted(values_of(batches)) == [7.0, 8.0]
        buffer.acknowledge(ack(*batches))
        await until(lambda: buffer.status().batches == 0)
    assert read_status(tmp_path, max_bytes=1).batches == 0


async def test_numbers_only_grow_and_the_epoch_stays(tmp_path: Path) -> None:
    seen = []
    for _ in range(3):
        async with opened(tmp_path) as (buffer, _):
            await buffer.append(event(handle=f"{time.time_ns():032x}"))
            epoch = buffer.epoch
            seen.append(max(one.number for one in await drain(buffer)))
    assert seen == sorted(set(seen))
    async with opened(tmp_path) as (buffer, _):
        assert buffer.epoch == epoch


async def test_reimaged_buffer_gets_a_new_epoch_and_ignores_the_old_ones_acknowledgements(tmp_path: Path) -> None:
    async with opened(tmp_path / "a") as (buffer, _):
        await buffer.append(sample())
        old = buffer.epoch
    async with opened(tmp_path / "b") as (buffer, counters):
        assert buffer.epoch != old
        await buffer.append(sample())
        await until(lambda: buffer.status().batches == 1)
        buffer.acknowledge(Ack(epoch=old, time_ns=0, stored=[(0, 1 << 62)]))
        assert counters.get("buffer.acks_unknown_epoch") == 1
        assert buffer.status().batches == 1


@pytest.mark.parametrize("damage", ["missing", "corrupt"])
async def test_without_meta_old_batches_keep_their_epoch(tmp_path: Path, damage: str) -> None:
    async with opened(tmp_path) as (buffer, _):
        await buffer.append(sample(value=1.0))
        old = buffer.epoch
    if damage == "missing":
        (tmp_path / "meta").unlink()
    else:
        (tmp_path / "meta").write_bytes(b"\0" * 100)
    async with opened(tmp_path) as (buffer, counters):
        assert buffer.epoch != old
        assert counters.get("buffer.meta_unreadable") == (damage == "corrupt")
        await buffer.append(event())
        batches = await drain(buffer)
        assert {one.epoch for one in batches} == {old, buffer.epoch}
        buffer.acknowledge(ack(*[one for one in batches if one.epoch == old]))
        await until(lambda: buffer.status().batches == 1)
        buffer.acknowledge(ack(*[one for one in batches if one.epoch != old]))
        await until(lambda: buffer.status().batches == 0)
        assert counters.get("buffer.acks_unknown_epoch") == 0


@pytest.mark.parametrize("renamed", [{"site": "other"}, {"gateway": "gw-2"}])
@pytest.mark.parametrize("what", [sample, event])
async def test_under_another_name_what_waits_is_neither_sent_nor_lost(
    tmp_path: Path, renamed: dict[str, str], what: Callable[[], Admitted]
) -> None:
    async with opened(tmp_path) as (buffer, _):
        await buffer.append(what())
        old = buffer.epoch
    with pytest.raises(ConfigError, match=r"1 batches of gateway 'gw-1' of site 'school' wait here") as error:
        await Buffer.open(
            tmp_path,
            **({"site": "school", "gateway": "gw-1"} | renamed),
            simulated=False,
            window_s=WINDOW_S,
            max_bytes=64_000_000,
            devices=DEVICES,
            counters=Counters(),
        )
    assert 'site = "school", gateway = "gw-1"' in error.value.problems[0].mend
    async with opened(tmp_path) as (buffer, _):
        assert buffer.epoch == old
        (batch,) = await drain(buffer)
        buffer.acknowledge(ack(batch))
        await until(lambda: buffer.status().batches == 0)
    async with opened(tmp_path, **renamed) as (buffer, _):
        assert buffer.epoch != old
        await buffer.append(sample())
        await asyncio.sleep(WINDOW_S / 3)
        assert {(one.epoch, plain(one).gateway, plain(one).site) for one in await drain(buffer)} == {
            (buffer.epoch, renamed.get("gateway", "gw-1"), renamed.get("site", "school"))
        }


async def test_refused_frees_the_buffer_too(tmp_path: Path) -> None:
    async with opened(tmp_path) as (buffer, _):
        await buffer.append(sample())
        batch = await live(buffer)
        refused = [Refused(batch=batch.number, samples=[], reason="schema")]
        buffer.acknowledge(Ack(epoch=buffer.epoch, time_ns=0, refused=refused))
        assert buffer.status().batches == 0


async def test_a_huge_range_acknowledges_only_what_was_there(tmp_path: Path) -> None:
    async with opened(tmp_path) as (buffer, _):
        await buffer.append(event())
        buffer.acknowledge(Ack(epoch=buffer.epoch, time_ns=0, stored=[(0, (1 << 64) - 1)]))
        await until(lambda: buffer.status().batches == 0)
    async with opened(tmp_path) as (buffer, _):
        await buffer.append(event(handle="f" * 32))
    async with opened(tmp_path) as (buffer, _):
        assert len(await drain(buffer)) == 1


async def test_a_resumed_event_is_merged_even_after_restart_and_acknowledgement(tmp_path: Path) -> None:
    at = time.time_ns()
    async with opened(tmp_path) as (buffer, counters):
        await buffer.append(event(at))
        await buffer.append(event(at + 10 * SECOND, resumed=True))
        assert counters.get("buffer.merged_resumed") == 1
        await buffer.append(event(at + 5 * SECOND, handle="a" * 32, resumed=True))
        batches = await drain(buffer)
        assert len(batches) == 2
        buffer.acknowledge(ack(*batches))
        await until(lambda: buffer.status().batches == 0)
    async with opened(tmp_path) as (buffer, counters):
        assert buffer.status().batches == 0
        await buffer.append(event(at + 29 * SECOND, resumed=True))
        assert counters.get("buffer.merged_resumed") == 1
        await buffer.append(event(at + 31 * SECOND, resumed=True))
        await buffer.append(event(at + 32 * SECOND))
        assert counters.get("buffer.merged_resumed") == 1
        assert buffer.status().batches == 2


async def test_old_event_files_go_when_nobody_needs_them(tmp_path: Path) -> None:
    shift = 0
    async with opened(tmp_path, now_ns=lambda: time.time_ns() + shift) as (buffer, _):
        await buffer.append(event())
        buffer.acknowledge(ack(*await drain(buffer)))
        await until(lambda: buffer.status().batches == 0)
        files = set((tmp_path / "events").glob("*.log"))
    shift = 120 * SECOND
    async with opened(tmp_path, now_ns=lambda: time.time_ns() + shift) as (buffer, _):
        assert len(files) == 1
        assert read_status(tmp_path, max_bytes=1).batches == 0


async def test_size_limits_close_a_batch(tmp_path: Path) -> None:
    async with opened(tmp_path, max_batch_values=10) as (buffer, _):
        for value in range(25):
            await buffer.append(sample(value=float(value)))
        sizes = [one.values for one in await drain(buffer)]
        assert sizes == [10, 10]
    async with opened(tmp_path / "bytes", max_batch_bytes=2000) as (buffer, _):
        for value in range(100):
            await buffer.append(sample(value=float(value)))
        batches = await drain(buffer)
        assert len(batches) > 3
        assert all(batch.values < 40 for batch in batches)


async def test_late_samples_do_not_make_their_neighbours_late(tmp_path: Path) -> None:
    async with opened(tmp_path) as (buffer, counters):
        await buffer.append(sample(time.time_ns() - 3600 * SECOND, value=1.0))
        await buffer.append(sample(value=2.0))
        young = await live(buffer)
        assert values_of([young]) == [2.0]
        assert buffer.take_live() is None
        late = await buffer.take_backfill()
        assert late is not None
        assert values_of([late]) == [1.0]
        assert counters.get("buffer.syncs.samples") == 0
        buffer.acknowledge(ack(young, late))
        assert buffer.status().batches == 0


async def test_while_nobody_takes_them_batches_grow(tmp_path: Path) -> None:
    async with opened(tmp_path) as (buffer, counters):
        end = time.monotonic() + 4 * WINDOW_S
        while time.monotonic() < end:
            await buffer.append(sample())
            await asyncio.sleep(0.005)
        # One file write, and about one batch, each 0.75 W.
        assert counters.get("buffer.syncs.samples") <= 6
        assert counters.get("buffer.batches") <= counters.get("buffer.syncs.samples") + 3


async def test_only_admitted_of_known_devices_come_in(tmp_path: Path) -> None:
    async with opened(tmp_path) as (buffer, _):
        with pytest.raises(TypeError, match="Sample"):
            await buffer.append(Sample(device="air-1", acquired_at_ns=0))  # type: ignore[arg-type]
        with pytest.raises(ConfigError, match="ghost"):
            await buffer.append(sample(name="ghost"))


async def test_one_directory_one_agent(tmp_path: Path) -> None:
    async with opened(tmp_path):
        with pytest.raises(ConfigError, match="another process"):
            await Buffer.open(
                tmp_path,
                site="school",
                gateway="gw-1",
                simulated=False,
                window_s=1,
                max_bytes=1,
                devices=DEVICES,
                counters=Counters(),
            )
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot be used"):
        async with opened(tmp_path / "file"):
            pass


async def test_of_nothing_no_hours_are_told_and_the_age_is_that_of_the_oldest(tmp_path: Path) -> None:
    async with opened(tmp_path) as (buffer, _):
        assert buffer.status().hours_left is None
        assert buffer.status().oldest_age_s is None
        await buffer.append(sample(time.time_ns() - 5 * SECOND))
        age = buffer.status().oldest_age_s
        assert age is not None
        assert 5 <= age < 6
