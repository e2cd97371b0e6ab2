"""Nothing waits longer than its class may; and no clock that is wrong for a while costs a value."""

from __future__ import annotations

import errno
import os
import time
from typing import TYPE_CHECKING, Any

import pytest

from edge_agent.buffer.ageing import STEADY_S, Ages
from edge_agent.buffer.segment import Segment
from edge_agent.settings import BufferSettings
from telemetry.sample import DataClass
from tests.edge_agent.buffer.helpers import HANDLE, ack, drain, event, opened, sample, until, values_of
from tests.edge_agent.buffer.test_damage import batch, stream
from tests.edge_agent.buffer.traces import traces

if TYPE_CHECKING:
    from pathlib import Path

DAY_NS = 24 * 3600 * 10**9
LIMITS = {DataClass.PERSONAL: 90.0, DataClass.SENSITIVE: 7.0}
OLD = "ee" * 16


@pytest.fixture
def steady(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock is believed at once, and looked at often."""
    monkeypatch.setattr("edge_agent.buffer.ageing.STEADY_S", 0.0)
    monkeypatch.setattr("edge_agent.buffer.housekeeping.EXPIRE_EVERY_S", 0.0)
    monkeypatch.setattr("edge_agent.buffer.writer.MAINTAIN_S", 0.05)


@pytest.mark.usefixtures("steady")
async def test_what_is_too_old_goes_by_class_and_is_counted(tmp_path: Path) -> None:
    now_ns = time.time_ns()
    async with opened(tmp_path) as (buffer, _):
        for days, handle in ((100, OLD), (91, OLD), (80, HANDLE)):
            await buffer.append(event(now_ns - days * DAY_NS, handle=handle))
        for age in (8.0, 6.0):
            await buffer.append(sample(now_ns - int(age * DAY_NS), value=age, data_class=DataClass.SENSITIVE))
            await buffer.append(sample(now_ns - int(age * DAY_NS), value=age * 100, data_class=DataClass.OPS))
        await buffer.append(sample(now_ns - 4000 * DAY_NS, value=1.0))
        await until(lambda: buffer.status().held["events"].batches == 3)
    assert traces(tmp_path, OLD)
    folder = tmp_path / "quarantine"
    folder.mkdir()
    for name, days in (("older", 91), ("younger", 89), ("bulk-1-64.bin", 8), ("samples-1-64.bin", 8)):
        (folder / name).write_bytes(b"damaged")
        os.utime(folder / name, ns=(0, now_ns - days * DAY_NS))
    async with opened(tmp_path, max_age_days=LIMITS) as (buffer, counters):
        await until(lambda: counters.get("buffer.expired_values.events") == 2)
        # What waits in one batch is as old as its oldest.
        await until(lambda: counters.get("buffer.expired_values.bulk") > 0)
        bulk = counters.get("buffer.expired_values.bulk")
        assert counters.get("buffer.expired_batches.events") == 2
        assert sorted(path.name for path in folder.iterdir()) == ["samples-1-64.bin", "younger"]
        assert counters.get("buffer.expired_values.samples") == 0
        assert not traces(tmp_path, OLD)
        assert buffer.status().values == 8 - 2 - bulk
        await buffer.append(event())
    async with opened(tmp_path, max_age_days=LIMITS) as (buffer, counters):
        batches = await drain(buffer)
        assert sum(batch.event for batch in batches) == 2
        assert {600.0, 800.0, 1.0} <= set(values_of(batches))
        assert 8.0 not in values_of(batches)
        assert counters.get("buffer.lost_values") == 0
        buffer.acknowledge(ack(*batches))
        await until(lambda: buffer.status().batches == 0)


@pytest.mark.usefixtures("steady")
async def test_what_is_on_its_way_is_neither_dropped_nor_counted(tmp_path: Path) -> None:
    async with opened(tmp_path) as (buffer, _):
        await buffer.append(event(time.time_ns() - 100 * DAY_NS))
    async with opened(tmp_path, max_age_days=LIMITS) as (buffer, counters):
        (batch,) = await drain(buffer)
        syncs = counters.get("buffer.syncs.events")
        await buffer.append(event())
        await until(lambda: counters.get("buffer.syncs.events") > syncs)
        assert counters.get("buffer.expired_values.events") == 0
        buffer.acknowledge(ack(batch))
        await until(lambda: buffer.status().batches == 1)


@pytest.mark.usefixtures("steady")
async def test_what_is_too_old_goes_though_what_came_before_it_is_younger(tmp_path: Path) -> None:
    async with opened(tmp_path) as (buffer, _):
        await buffer.append(event())
        await buffer.append(event(time.time_ns() - 100 * DAY_NS, handle=OLD))
    async with opened(tmp_path, max_age_days=LIMITS) as (buffer, counters):
        await until(lambda: counters.get("buffer.expired_values.events") == 1)
        await until(lambda: not traces(tmp_path, OLD))
        assert buffer.status().values == 1


@pytest.mark.usefixtures("steady")
async def test_a_disk_that_refuses_only_puts_off_that_no_byte_of_people_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(tmp_path) as (buffer, _):
        await buffer.append(event(time.time_ns() - 100 * DAY_NS, handle=OLD))
        await buffer.append(event())

    def refused(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as full:
        full.setattr("edge_agent.buffer.segment.Segment.write", refused)
        async with opened(tmp_path, max_age_days=LIMITS) as (buffer, counters):
            await until(lambda: counters.get("buffer.disk_errors") > 0)
            assert counters.get("buffer.expired_values.events") == 1
            assert traces(tmp_path, OLD)
            full.undo()
            await until(lambda: not traces(tmp_path, OLD))
            assert counters.get("buffer.expired_values.events") == 1
            assert buffer.status().values == 1


def test_a_long_outage_is_not_read_through_every_ten_minutes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The room's data may wait for ever, vitals a week: whose files were looked at once are not read again for that."""
    it = stream(tmp_path)
    it.open()
    for number in range(1, 101):
        it.append([batch(number)])
    files = it.state().segments
    it.close()
    loads: list[Segment] = []
    load = Segment.load

    def noted(segment: Segment, *arguments: Any, **options: Any) -> None:
        loads.append(segment)
        load(segment, *arguments, **options)

    it = stream(tmp_path)
    it.open()
    monkeypatch.setattr(Segment, "load", noted)
    for _ in range(3):
        it.expire({DataClass.SENSITIVE: 1000}, frozenset())
    assert len(loads) == files - 1 > 2
    it.expire({DataClass.SENSITIVE: 1000, DataClass.OPEN: 51}, frozenset())
    assert it.take_counts()["buffer.expired_batches.samples"] == 50
    it.close()


def test_the_clock_must_be_believed_for_an_hour() -> None:
    utc_ns, synced = [10**18], [False]
    ages = Ages(LIMITS, now_ns=lambda: utc_ns[0], synced=lambda: synced[0])

    def after(now: float) -> dict[DataClass, int]:
        utc_ns[0] = 10**18 + int(now * 1e9)
        return ages.limits_ns(now)

    assert after(0.0) == {}
    assert after(2 * STEADY_S) == {}, "never synchronised"
    synced[0] = True
    assert after(2 * STEADY_S + 5) == {}
    late = 3 * STEADY_S + 5
    assert after(late) == {name: utc_ns[0] - int(days * DAY_NS) for name, days in LIMITS.items()}
    # It jumps a year ahead, and back before the hour is over: nothing was judged by it.
    utc_ns[0] = 10**18 + 366 * DAY_NS
    assert ages.limits_ns(late + 5) == {}
    utc_ns[0] += int(3000e9)
    assert ages.limits_ns(late + 3005) == {}
    assert after(late + 3010) == {}
    assert after(late + 3010 + STEADY_S + 1)


def test_the_settings_say_which_class_waits_how_long(tmp_path: Path) -> None:
    assert BufferSettings(path=tmp_path).age_limits == {DataClass.PERSONAL: 90.0, DataClass.SENSITIVE: 7.0}
    limits = BufferSettings(path=tmp_path, max_age_days=30.0).age_limits
    assert limits == dict.fromkeys(DataClass, 30.0) | {DataClass.SENSITIVE: 7.0}
