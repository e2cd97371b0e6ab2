"""The waiting room on a disk that refuses: bounded, counted, told once, and written as soon as the disk takes it."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from edge_agent.buffer import unsynced_store
from edge_agent.buffer.unsynced import Lane
from telemetry.counters import Counters
from tests.edge_agent.buffer.helpers import event, sample, until
from tests.edge_agent.buffer.rooms import HIM, OFFSET, Boots, Sink, abandoned, on_disk, refuse


async def test_memory_is_bounded_while_the_disk_takes_nothing(open_room, monkeypatch):
    monkeypatch.setattr(unsynced_store, "MAX_IN_MEMORY", 50)

    now, counters = Boots(), Counters()
    room = await open_room(now, counters)
    with monkeypatch.context() as broken:
        broken.setattr(os, "posix_fallocate", refuse)
        for number in range(80):
            await room.put(now(), event(handle=HIM) if number % 10 == 0 else sample())
    assert room.waiting == 50
    assert counters.get("clock.dropped_samples") == 30
    assert len(room._memory[Lane.PERSONS]) == 8
    assert room.state().error is not None
    await room._write()
    assert (room.state().error, room.waiting) == (None, 50)


async def test_an_event_that_the_disk_refused_is_written_as_soon_as_it_takes_it(tmp_path, open_room, monkeypatch):
    monkeypatch.setattr(unsynced_store, "_RETRY_S", 0.05)
    room = await open_room(Boots())
    running = asyncio.create_task(room.run())
    try:
        await asyncio.sleep(0)  # it waits now, and knows of nothing that is due
        with monkeypatch.context() as broken:
            broken.setattr(os, "posix_fallocate", refuse)
            await room.put(1, event(handle=HIM))
        assert room.state().error is not None
        await until(lambda: room.state().error is None)
        assert [one.handle for one in on_disk(tmp_path)] == [HIM]
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_a_file_that_cannot_be_removed_is_told_once_and_goes_later(tmp_path, open_room, monkeypatch):
    room, sink = await open_room(Boots()), Sink()
    await room.put(1, sample())
    await room.learned(OFFSET)
    with monkeypatch.context() as broken:
        broken.setattr(Path, "unlink", refuse)
        for _ in range(3):
            await room.drain(sink.tell, sink.settled)
        assert room.state().error is not None
    assert len(sink.durable) == room.waiting == 1
    await room.drain(sink.tell, sink.settled)
    assert (len(sink.durable), room.waiting, room.state().error) == (1, 0, None)
    assert not any(path.suffix in {".air", ".stamp"} for path in (tmp_path / "unsynced").iterdir())


async def test_a_file_that_cannot_be_overwritten_is_gone_all_the_same(open_room, monkeypatch):
    room, sink = await open_room(Boots()), Sink()
    await room.put(1, event(handle=HIM))
    await room.learned(OFFSET)

    def half(descriptor: int, _: object) -> None:
        os.close(descriptor)
        refuse()

    with monkeypatch.context() as broken:
        broken.setattr("edge_agent.buffer.unsynced.shred", half)
        await room.drain(sink.tell, sink.settled)
        assert room.state().error is not None
    assert (len(sink.durable), room.waiting) == (1, 0)
    await room.drain(sink.tell, sink.settled)
    assert (len(sink.durable), room.state().error) == (1, None)


async def test_one_unreadable_file_costs_none_of_the_others(tmp_path, open_room):
    room = await open_room(Boots())
    await room.put(1, sample(value=4.0))
    await room._write()
    abandoned(room)
    (tmp_path / "unsynced" / "000000000000.air").mkdir()
    counters, sink = Counters(), Sink()
    room = await open_room(Boots(), counters)
    assert counters.get("clock.waiting_disk_errors") == 1
    await room.learned(OFFSET)
    await room.drain(sink.tell, sink.settled)
    assert [one.values["temperature"] for one, _ in sink.durable] == [4.0]
