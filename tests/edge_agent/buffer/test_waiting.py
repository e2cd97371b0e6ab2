"""The waiting room: durable within W, bounded, cleaned of people who go, told once whatever kills the process."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.buffer import WaitingRoom, read_status, unsynced_store
from edge_agent.buffer.unsynced_form import Waiting, estimate, pack, unpack
from edge_agent.clock import EARLIEST_NS
from telemetry.counters import Counters
from tests.edge_agent.buffer.helpers import DEVICES, event, sample, until
from tests.edge_agent.buffer.rooms import (
    HER,
    HIM,
    MINUTE,
    OFFSET,
    SECOND,
    Boots,
    Sink,
    abandoned,
    on_disk,
    opened,
)
from tests.edge_agent.buffer.test_purge import Cut, killed_at
from tests.edge_agent.buffer.traces import traces

if TYPE_CHECKING:
    from pathlib import Path


async def test_a_sample_is_durable_within_w_and_an_event_before_it_is_answered(tmp_path, open_room):
    now = Boots()
    room = await open_room(now, window_s=1.0)
    running = asyncio.create_task(room.run())
    try:
        began = asyncio.get_running_loop().time()
        await room.put(now(), sample(value=1.0))
        await room.put(now(), sample(value=2.0))
        assert on_disk(tmp_path) == []
        assert read_status(tmp_path, max_bytes=1).unsynced_bytes == 0
        assert room._due is not None
        assert room._due - began < 1.0
        await until(lambda: room._counters.get("clock.waiting_syncs") == 1)
        assert len(on_disk(tmp_path)) == 2  # one group
        assert read_status(tmp_path, max_bytes=1).unsynced_bytes == room.state().bytes > 0
        await room.put(now(), event(handle=HIM))
        assert on_disk(tmp_path)[-1].handle == HIM
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    abandoned(room)


async def test_pain_12_a_kill_at_any_step_tells_nothing_twice_nor_by_two_times(tmp_path):
    """Waiting, restart, learning the time, telling, removing: cut at each thing done to the disk, and gone on after."""

    async def live(place: Path, sink: Sink, *, offset_ns: int, first: bool) -> list[float]:
        now = Boots()
        room = await opened(place, now)
        kept: list[float] = []
        try:
            if first:
                await room.reserve()
                for number in range(6):
                    now.at_ns += SECOND
                    await room.put(now(), event(at_ns=number))
                    kept.append(float(number))
                    await room.put(now(), sample(at_ns=100 + number))
                    await room._write()
                    kept.append(float(100 + number))
            await room.learned(offset_ns)
            await room.note(offset_ns, now_ns=EARLIEST_NS, reckoning=7)
            await room.drain(sink.tell, sink.settled)
            await room.close()
        except Cut:
            pass
        finally:
            abandoned(room)
        live.kept = kept  # type: ignore[attr-defined]
        return kept

    with killed_at(10**9, half=False) as steps:
        whole = Sink()
        assert len(await live(tmp_path / "whole", whole, offset_ns=OFFSET, first=True)) == len(whole.durable) == 12
    assert 20 < steps[0] < 120
    told_twice = 0
    for call in range(1, steps[0] + 1):
        for half in (False, True):
            place, sink = tmp_path / f"{call}-{half}", Sink()
            with killed_at(call, half=half):
                kept = await live(place, sink, offset_ns=OFFSET, first=True)
            sink.memory = []
            await live(place, sink, offset_ns=OFFSET + 5_000_001, first=False)
            times: dict[int, set[int]] = {}
            for admitted, at_ns in sink.durable:
                times.setdefault(admitted.acquired_at_ns, set()).add(at_ns)
            assert set(kept) <= set(times), (call, half)
            assert all(len(found) == 1 for found in times.values()), (call, half)
            told_twice += len(sink.durable) - len(times)
            again = Sink()
            await live(place, again, offset_ns=OFFSET, first=False)
            assert again.durable == []
    assert told_twice  # or the test shows nothing


async def test_torn_and_damaged_files_cost_what_they_hit_and_are_counted(tmp_path, open_room):
    now = Boots()
    room = await open_room(now)
    for number in range(10):
        await room.put(now(), sample(value=float(number)))
        await room._write()
    abandoned(room)
    (path,) = (tmp_path / "unsynced").glob("*.air")
    data = bytearray(path.read_bytes())
    ends = [at for at in range(len(data)) if data.startswith(b"CmB\xe1", at)]
    data[ends[4] + 60] ^= 0xFF  # the fourth group
    torn = data[: ends[10] + 70]  # the last
    path.write_bytes(torn)
    counters = Counters()
    room = await open_room(now, counters)
    sink = Sink()
    await room.learned(OFFSET)
    await room.drain(sink.tell, sink.settled)
    assert [one.values["temperature"] for one, _ in sink.durable] == [0.0, 1.0, 2.0, 4.0, 5.0, 6.0, 7.0, 8.0]
    assert counters.get("clock.lost_samples") == 2
    assert counters.get("clock.waiting_damaged") == 2
    assert len(list((tmp_path / "quarantine").iterdir())) == 2


@given(st.binary(max_size=300), st.integers(0, 2**32))
def test_any_bytes_are_a_group_or_none(data, at):
    assert unpack(data) is None
    whole = bytearray(pack([(1, sample(at_ns=5))]))
    whole[at % len(whole)] ^= 1 + at % 255
    found = unpack(bytes(whole))
    assert found is None or isinstance(found, list)


async def test_who_withdraws_is_gone_from_memory_and_disk_and_nobody_else(tmp_path, open_room):
    now = Boots()
    room = await open_room(now)
    for number in range(30):
        await room.put(now(), event(handle=HIM if number % 3 == 0 else HER))
        await room.put(now(), sample(value=float(number)))
    await room._write()
    slow = msgspec.structs.replace(event(handle=HIM), durability="sample")
    await room.put(now(), slow)
    assert traces(tmp_path, HIM)
    assert await room.forget(lambda handle: handle == HIM) == (11, 11)
    assert not traces(tmp_path, HIM)
    assert await room.forget(lambda handle: handle == HIM) == (0, 0)
    await room.put(now(), event(handle=HER))
    assert room.waiting == 20 + 30 + 1
    sink = Sink()
    await room.learned(OFFSET)
    await room.drain(sink.tell, sink.settled)
    assert sum(one.handle == HER for one, _ in sink.durable) == 21
    assert not traces(tmp_path, HER)
    assert not any(path.suffix in {".air", ".persons", ".stamp"} for path in (tmp_path / "unsynced").iterdir())


async def test_pain_20_killed_in_a_purge_the_next_one_finishes_it(tmp_path):
    async def fill(place: Path) -> WaitingRoom:
        now = Boots()
        room = await opened(place, now)
        for number in range(6):
            await room.put(now(), event(at_ns=number, handle=HIM if number % 2 else HER))
        return room

    room = await fill(tmp_path / "count")
    with killed_at(10**9, half=False) as steps:
        await room.forget(HIM.__eq__)
    abandoned(room)
    for call in range(1, steps[0] + 1):
        place = tmp_path / str(call)
        room = await fill(place)
        with killed_at(call, half=True), contextlib.suppress(Cut):
            await room.forget(HIM.__eq__)
        abandoned(room)
        room = await opened(place, Boots())
        await room.forget(HIM.__eq__)
        assert not traces(place, HIM), call
        assert sorted(one.acquired_at_ns for one in on_disk(place)) == [0, 2, 4], call
        await room.close()


async def test_what_waited_too_long_about_people_leaves_the_disk_within_a_minute(tmp_path, open_room):
    now = Boots()
    room = await open_room(now)
    for _ in range(20):
        await room.put(now(), event(handle=HIM))
        now.at_ns += 30 * SECOND
    gone = await room.expire(now() - 5 * MINUTE)
    left = [one for one in on_disk(tmp_path) if one.handle == HIM]
    assert len(gone) + len(left) == 20
    assert 9 <= len(left) <= 12
    await room.expire(now())
    assert not traces(tmp_path, HIM)


async def test_people_of_another_boot_that_never_knew_the_time_are_withheld_and_air_is_told_once(tmp_path, open_room):
    now = Boots()
    room = await open_room(now, boot="first", guess_ns=EARLIEST_NS + MINUTE)
    await room.put(now(), event(handle=HIM))
    await room.put(now(), sample(value=3.0))
    await room._write()
    abandoned(room)
    now, sink = Boots(), Sink()
    room = await open_room(now, boot="second")
    assert [one.handle for one in await room.expire(now() - 15 * MINUTE)] == [HIM]
    await room.reckon_others(EARLIEST_NS + 60 * MINUTE, lambda: 9)
    await room.drain(sink.tell, sink.settled)
    ((told, at_ns),) = sink.durable
    assert (told.values, at_ns) == ({"temperature": 3.0}, EARLIEST_NS + MINUTE + 10 * SECOND + 9)
    assert not traces(tmp_path, HIM)
    await room.reckon_others(EARLIEST_NS + 60 * MINUTE, lambda: 9)
    await room.drain(sink.tell, sink.settled)
    assert len(sink.durable) == 1


async def test_a_device_that_the_settings_name_no_more_is_known_from_the_files(open_room):
    now = Boots()
    room = await open_room(now)
    await room.put(now(), sample())
    await room._write()
    abandoned(room)
    devices: dict[str, object] = {}
    await open_room(now, devices=devices)
    assert devices == DEVICES


async def test_over_the_cap_and_faster_than_it_can_be_told_air_goes_first_and_is_counted(tmp_path, open_room):
    now, counters = Boots(), Counters()
    room = await open_room(now, counters, max_bytes=1)
    await room.put(now(), event(handle=HIM))
    noise = [msgspec.structs.replace(sample(), values={f"p{n}": float(n * n % 977) for n in range(400)})] * 3
    for number in range(400):
        for one in noise:
            await room.put(now() + number, one)
        await room._write()
    assert room._log.size < unsynced_store.SLACK_BYTES + 2 * 65536
    dropped = counters.get("clock.dropped_samples")
    assert dropped > 0
    assert room.waiting == 1 + 1200 - dropped
    assert [one.handle for one in on_disk(tmp_path) if one.handle] == [HIM]


@pytest.mark.parametrize(
    ("boots", "lower", "upper", "expected"),
    [
        ([(-100, 10)], 0, None, [0]),  # 1970, nothing known: not before this program was made
        ([(5000, 10)], 0, None, [5000]),
        ([(-100, 10)], 3000, None, [3000]),  # its clock shows less than what was known before it
        ([(5000, 10)], 3000, 4000, [3990]),  # it was over before this boot began
        ([(3500, 10)], 3000, 4000, [3500]),  # a clock that may be right is believed
        ([(-100, 10), (-100, 20)], 3000, 9000, [3000, 3010]),
        ([(8000, 10), (8000, 1500)], 3000, 9000, [7490, 7500]),
    ],
)
def test_when_a_boot_was_that_never_knew(boots, lower, upper, expected):
    found = estimate(
        [(EARLIEST_NS + guess, last) for guess, last in boots],
        lower_ns=EARLIEST_NS + lower,
        upper_ns=None if upper is None else EARLIEST_NS + upper,
    )
    assert [one - EARLIEST_NS for one in found] == expected


def test_a_group_says_what_it_was_told():
    group: list[Waiting] = [(5, sample(at_ns=7)), (6, event(at_ns=8, handle=HIM, resumed=True))]
    assert unpack(pack(group)) == group
