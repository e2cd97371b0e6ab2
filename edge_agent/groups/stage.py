"""The stage: overhears every judged Sample of a band before the gate, and makes one Sample a minute for each class."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from edge_agent.groups.cells import Sizes, draw, stepped
from edge_agent.groups.lesson import MINUTE_NS, ClassLesson
from telemetry.sample import Quality, Sample

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from telemetry.counters import Counters

DEVICE_PREFIX: Final = "lesson-"
"""The device that a class mean comes from is named so, with the class behind it."""
SETTLE_NS: Final = 2 * MINUTE_NS
"""So long after the bell the list of a class may still grow: bands are handed out. Then it is drawn into cells."""
GRACE_NS: Final = 500_000_000
"""A minute is closed so long after its end: what a driver still holds comes in."""
LOOK_S: Final = 0.5
MAX_LESSONS: Final = 16
MAX_PUPILS: Final = 2000
"""In all lessons that one gateway hears at the same time."""
_BEFORE_END_NS: Final = 1_000_000

Key = tuple[str, str, int]
"""Class, room, start of the lesson."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassList:
    """A lesson that is on, with everybody in the class who consented, there or not."""

    group: str
    room: str
    start_ns: int
    end_ns: int
    """The bell: what is measured then is no longer in the lesson."""
    members: frozenset[str]

    @property
    def key(self) -> Key:
        """What tells this lesson from all others."""
        return self.group, self.room, self.start_ns


@dataclass(frozen=True, slots=True, kw_only=True)
class Seat:
    """Whose a sample is: a pupil, in a lesson that is on."""

    lesson: Key
    member: str


class Register(Protocol):
    """Who belongs to which class in which lesson; only of those who consented is anything said."""

    def lessons(self, at_ns: int) -> Sequence[ClassList]:
        """Return the lessons that are on at `at_ns` in the rooms of this gateway's bands."""
        ...

    def seat(self, sample: Sample) -> Seat | None:
        """Return whose the sample is; none if nobody's, or of somebody who did not consent."""
        ...

    def min_group(self) -> int | None:
        """Return of how many people a mean must be at least; none if no rule lets one leave."""
        ...


@dataclass(slots=True, kw_only=True)
class _Running:
    listed: ClassList
    seen_from_start: bool
    next_minute: int
    state: ClassLesson | None = None


class Groups:
    """Keeps two minutes of each lesson's readings, and of nobody else's; told it is only what a whole cell says."""

    def __init__(
        self,
        points: Mapping[str, str],
        *,
        register: Register,
        key: bytes,
        now_ns: Callable[[], int],
        synced: Callable[[], bool],
        counters: Counters,
    ) -> None:
        self._points = points
        """Device → its point that is a pupil's heart rate."""
        self._register = register
        self._key = key
        self._now_ns = now_ns
        self._synced = synced
        self._counters = counters
        self._running: dict[Key, _Running] = {}

    def take(self, sample: Sample) -> None:
        """Take note of a judged sample, if it is a plausible heart rate of a pupil in a lesson."""
        point = self._points.get(sample.device)
        if point is None or sample.quality is not Quality.GOOD or not self._synced():
            return
        rate = sample.values.get(point)
        if not isinstance(rate, float):
            return
        seat = self._register.seat(sample)
        running = self._running.get(seat.lesson) if seat is not None else None
        if seat is None or running is None or running.state is None:
            return
        minute, now_minute = sample.acquired_at_ns // MINUTE_NS, self._now_ns() // MINUTE_NS
        if not running.state.note(seat.member, minute, rate, now_minute=now_minute):
            self._counters.add("groups.not_counted")

    def due(self) -> list[tuple[str, Sample]]:
        """Return (room, Sample) of each class and minute that is over and may be told; nothing on a wrong clock."""
        if not self._synced():
            return []
        now_ns = self._now_ns()
        told = [answer for running in self._running.values() for answer in self._close(running, now_ns)]
        listed = {one.key: one for one in self._register.lessons(now_ns)}
        self._running = {
            key: running
            for key, running in self._running.items()
            if key in listed or now_ns < running.listed.end_ns + GRACE_NS
        }
        for one in listed.values():
            self._begin(one, now_ns)
        return told

    async def run(self, emit: Callable[[str, Sample], Awaitable[None]]) -> None:
        """Emit what is due, twice a second, until cancelled."""
        while True:
            for room, sample in self.due():
                await emit(room, sample)
            await asyncio.sleep(LOOK_S)

    def _begin(self, listed: ClassList, now_ns: int) -> None:
        """Note a lesson that is on; its cells are drawn once, when its list has settled and is large enough."""
        running = self._running.get(listed.key)
        if running is None:
            if len(self._running) >= MAX_LESSONS:
                self._counters.add("groups.too_many_lessons")
                return
            running = self._running[listed.key] = _Running(
                listed=listed,
                seen_from_start=now_ns < listed.start_ns + SETTLE_NS,
                next_minute=now_ns // MINUTE_NS,
            )
        running.listed = listed  # its end may have been moved
        min_group = self._register.min_group()
        if running.state is not None or min_group is None or now_ns < listed.start_ns + SETTLE_NS:
            return
        sizes = Sizes.of(min_group)
        if len(listed.members) < sizes.told:
            return
        others = sum(len(one.state.members) for one in self._running.values() if one.state is not None)
        if len(listed.members) + others > MAX_PUPILS:
            self._counters.add("groups.too_many_pupils")
            return
        running.state = ClassLesson(
            cells=draw(listed.members, size=sizes.cell, key=self._key, group=listed.group),
            first_minute=listed.start_ns // MINUTE_NS,
            seen_from_start=running.seen_from_start,
            told_from=sizes.told,
        )

    def _close(self, running: _Running, now_ns: int) -> list[tuple[str, Sample]]:
        """Close the minutes that are over; what was measured before the clock jumped over some of them is let go."""
        end_ns, settled_ns = running.listed.end_ns, now_ns - GRACE_NS
        over = (end_ns - 1 if settled_ns >= end_ns else settled_ns - MINUTE_NS) // MINUTE_NS
        told = []
        for minute in range(max(running.next_minute, over - 1), over + 1):
            running.next_minute = minute + 1
            sample = self._mean(running, minute)
            if sample is not None:
                told.append((running.listed.room, sample))
        return told

    def _large_enough(self, state: ClassLesson) -> bool:
        """Tell whether the policy of now would let a lesson be told that was drawn as this one was."""
        min_group = self._register.min_group()
        return min_group is not None and Sizes.of(min_group).told <= state.told_from

    def _mean(self, running: _Running, minute: int) -> Sample | None:
        answer = running.state.close(minute) if running.state is not None else None
        if answer is None or running.state is None or not self._large_enough(running.state):
            self._counters.add("groups.minutes_untold")
            return None
        self._counters.add("groups.minutes_told")
        return Sample(
            device=f"{DEVICE_PREFIX}{running.listed.group}",
            acquired_at_ns=min((minute + 1) * MINUTE_NS, running.listed.end_ns) - _BEFORE_END_NS,
            values={"heart_rate_mean": answer.mean, "pupils": float(stepped(answer.pupils))},
        )
