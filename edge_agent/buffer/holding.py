"""Batches in memory, and which batches the publisher has. Pure bookkeeping."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge_agent.buffer.priority import Priority
from edge_agent.buffer.record import HEADER_BYTES
from telemetry.ranges import numbers_in

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from edge_agent.buffer.assembly import ClosedBatch
    from edge_agent.buffer.record import EncodedBatch
    from telemetry.ranges import Range
    from telemetry.sample import DataClass

Key = tuple[str, int]
"""Epoch and number."""


class Holding:
    """Closed batches that are not on disk yet, and durable events that can still go out live."""

    def __init__(self) -> None:
        self.batches: dict[Key, ClosedBatch] = {}
        self.taken: set[Key] = set()
        """With the publisher, wherever they are kept: never handed out again."""
        self.bytes = 0

    def add(self, closed: ClosedBatch) -> int:
        """Keep a batch; return its size as a record."""
        size = _size(closed)
        self.batches[closed.batch.epoch, closed.batch.number] = closed
        self.bytes += size
        return size

    def forget(self, key: Key) -> None:
        """Let a batch go, if it is there."""
        closed = self.batches.pop(key, None)
        if closed is not None:
            self.bytes -= _size(closed)

    def take(self, closed: ClosedBatch | None) -> EncodedBatch | None:
        """Note that the publisher has the batch."""
        if closed is None:
            return None
        closed.taken = True
        self.taken.add((closed.batch.epoch, closed.batch.number))
        return closed.batch

    def acknowledge(self, epoch: str, spans: Sequence[Range]) -> None:
        """Let the batches go that `spans` name."""
        for key in named(self.batches, epoch, spans):
            self.forget(key)

    def release(self, epoch: str, spans: Sequence[Range]) -> None:
        """Note that the publisher has done with the batches that `spans` name."""
        self.taken.difference_update(named(self.taken, epoch, spans))

    def knows(self, epoch: str) -> bool:
        """Whether a batch of `epoch` is in memory."""
        return any(key[0] == epoch for key in self.batches)

    def in_memory(self, priority: Priority) -> dict[Key, ClosedBatch]:
        """Return what is not on disk yet."""
        return {key: one for key, one in self.batches.items() if not one.on_disk and one.batch.priority is priority}

    def next_live(self, now: float, window_s: float, *, volatile_events: bool) -> ClosedBatch | None:
        """Return the oldest untaken batch younger than the window, the most valuable first.

        An event is sent when it is durable, or at once with `volatile_events`, when the disk fails.
        """
        young = (
            one
            for one in self.batches.values()
            if not one.taken
            and now - one.taken_at < window_s
            and (one.on_disk or volatile_events or not one.batch.event)
        )
        return min(young, key=lambda one: (one.batch.priority, one.taken_at), default=None)

    def next_old(self, now: float, window_s: float, priority: Priority) -> ClosedBatch | None:
        """Return the first untaken batch as old as the window or older."""
        return next(
            (
                one
                for one in self.batches.values()
                if one.batch.priority is priority and not one.taken and now - one.taken_at >= window_s
            ),
            None,
        )

    def skip(self) -> frozenset[Key]:
        """Return what must not be read from disk to be sent: it is taken, or about to go out from memory."""
        return frozenset(self.taken | {key for key, one in self.batches.items() if one.on_disk})

    def expire(self, now: float, window_s: float) -> bool:
        """Let go of durable events that were taken, or that nobody took in time; true if there were such."""
        durable = [(key, one) for key, one in self.batches.items() if one.on_disk]
        untaken = [key for key, one in durable if not one.taken and now - one.taken_at >= window_s]
        for key in [*untaken, *(key for key, one in durable if one.taken)]:
            self.forget(key)
        return bool(untaken)

    def drop_one(self) -> ClosedBatch | None:
        """Let go of the oldest of the least valuable batches that are nowhere else; none if there is none."""
        for priority in reversed(Priority):
            for key, one in self.in_memory(priority).items():
                if not one.taken:
                    self.forget(key)
                    return one
        return None

    def drop_older(self, limits_ns: Mapping[DataClass, int]) -> list[ClosedBatch]:
        """Let go of the batches that are older than their class's limit and nowhere else; return them."""
        old = {
            key: one
            for key, one in self.batches.items()
            if not one.on_disk
            and not one.taken
            and one.batch.oldest_at_ns < limits_ns.get(one.batch.data_class, one.batch.oldest_at_ns)
        }
        for key in old:
            self.forget(key)
        return list(old.values())


def named(keys: Iterable[Key], epoch: str, spans: Sequence[Range]) -> list[Key]:
    """Return those of `keys` that `spans` of `epoch` cover."""
    among = [number for its, number in keys if its == epoch]
    return [(epoch, number) for number in numbers_in(spans, among=among)]


def _size(closed: ClosedBatch) -> int:
    return HEADER_BYTES + len(closed.batch.payload)
