"""Lessons: tells the groups stage who belongs to which class now, and passes its class means on like any device's."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final

from edge_agent.catalogue import device_info
from edge_agent.groups import ClassList, Groups, Seat
from edge_agent.privacy.documents import offset_minutes
from edge_agent.privacy.times import DAY_NS, minutes_ns, since_midnight
from telemetry.sample import WithheldReason
from telemetry.topics import NAME

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, MutableMapping
    from datetime import time

    from edge_agent.clock import Clock
    from edge_agent.pipeline import Pipeline
    from edge_agent.privacy import GatewayKeys
    from edge_agent.privacy.documents import Lesson, Roster
    from edge_agent.privacy.in_force import InForce
    from telemetry.batch import DeviceInfo
    from telemetry.counters import Counters
    from telemetry.profile import DeviceProfile
    from telemetry.sample import Sample

LESSON_PROFILE: Final = "campus/lesson"
PURPOSE: Final = "pe_lesson"
QUANTITY: Final = "heart_rate"
_HANDLES_KEPT: Final = 4096


def heart_rate_points(profiles: Mapping[str, DeviceProfile]) -> dict[str, str]:
    """Return the devices that hear pupils' heart rates, each with the point that is one."""
    return {
        device: point.name
        for device, profile in profiles.items()
        for point in profile.points
        if point.quantity == QUANTITY and point.purpose == PURPOSE and profile.measurement == "vitals"
    }


class RosterRegister:
    """Who belongs to which class, by roster, consents and keys of the moment. Without consent nobody counts.

    A class mean is made of pupils' heart rates; to make it is to process them, with the same need of consent.
    """

    def __init__(
        self,
        rooms: Mapping[str, str],
        *,
        keys: GatewayKeys | None,
        in_force: Callable[[], InForce],
        now_ns: Callable[[], int],
    ) -> None:
        self._rooms = rooms
        """Device that hears bands → its room."""
        self._in_force = in_force
        self._now_ns = now_ns
        self._handle = lru_cache(maxsize=_HANDLES_KEPT)(keys.handle) if keys is not None else None
        self._lists: dict[str, frozenset[str]] = {}
        self._lists_of: Roster | None = None

    def lessons(self, at_ns: int) -> list[ClassList]:
        """Return the lessons that are on at `at_ns` in the bands' rooms, with everybody who consented."""
        in_force, now_ns = self._in_force(), self._now_ns()
        found: dict[tuple[str, str, int], ClassList] = {}
        for room in sorted(set(self._rooms.values())):
            for lesson in self._on(in_force, room, at_ns, now_ns):
                start_ns = _utc_ns(in_force, lesson.start, at_ns)
                found[lesson.school_class, room, start_ns] = ClassList(
                    group=lesson.school_class,
                    room=room,
                    start_ns=start_ns,
                    end_ns=_utc_ns(in_force, lesson.end, at_ns),
                    members=frozenset(
                        pupil
                        for pupil in self._class_list(in_force.roster, lesson.school_class)
                        if in_force.consent(PURPOSE, pupil, now_ns=now_ns) is None
                    ),
                )
        return list(found.values())

    def seat(self, sample: Sample) -> Seat | None:
        """Return whose the sample is: of whom the roster binds the band to, if he consented; none if nobody's."""
        room = self._rooms.get(sample.device)
        if room is None or sample.subject is None or self._handle is None:
            return None
        band = self._handle(PURPOSE, sample.subject)
        if band is None:
            return None
        in_force, now_ns, at_ns = self._in_force(), self._now_ns(), sample.acquired_at_ns
        lessons = [lesson for lesson in self._on(in_force, room, at_ns, now_ns) if band in lesson.bindings]
        if len(lessons) != 1:
            return None
        pupil = in_force.pupil(PURPOSE, band, room, now_ns=now_ns, at_ns=at_ns)
        if isinstance(pupil, WithheldReason) or in_force.consent(PURPOSE, pupil, now_ns=now_ns) is not None:
            return None
        start_ns = _utc_ns(in_force, lessons[0].start, at_ns)
        return Seat(lesson=(lessons[0].school_class, room, start_ns), member=pupil)

    def min_group(self) -> int | None:
        """Return the policy's smallest group; none if no rule lets a class mean leave."""
        return self._in_force().min_group(PURPOSE)

    def _class_list(self, roster: Roster | None, school_class: str) -> frozenset[str]:
        """Return everybody whom the roster binds in any lesson of the class: who has no band today is in it too."""
        if self._lists_of is not roster:
            self._lists_of, self._lists = roster, {}
        listed = self._lists.get(school_class)
        if listed is None:
            listed = self._lists[school_class] = frozenset(
                pupil
                for lesson in (roster.lessons if roster is not None else ())
                if (lesson.school_class, lesson.purpose) == (school_class, PURPOSE)
                for pupil in lesson.bindings.values()
            )
        return listed

    def _on(self, in_force: InForce, room: str, at_ns: int, now_ns: int) -> Iterator[Lesson]:
        if in_force.no_roster(now_ns) is None:
            for lesson in in_force.lessons(room, at_ns):
                if lesson.purpose == PURPOSE and lesson.bindings:
                    yield lesson


def _utc_ns(in_force: InForce, moment: time, at_ns: int) -> int:
    """Return the UTC nanoseconds of local time `moment` on the local day of `at_ns`."""
    offset_ns = minutes_ns(offset_minutes(in_force.policy.utc_offset)) if in_force.policy is not None else 0
    return (at_ns + offset_ns) // DAY_NS * DAY_NS - offset_ns + since_midnight(moment)


class LessonDevices:
    """Makes a class known as a device when the first mean of it comes: which classes there are only the roster says."""

    def __init__(
        self,
        profile: DeviceProfile,
        *,
        profiles: MutableMapping[str, DeviceProfile],
        rooms: MutableMapping[str, str],
        infos: MutableMapping[str, DeviceInfo],
        pipeline: Pipeline,
        counters: Counters,
    ) -> None:
        self._profile = profile
        self._profiles = profiles
        self._rooms = rooms
        self._infos = infos
        self._pipeline = pipeline
        self._counters = counters
        self._configured = frozenset(profiles)

    async def emit(self, room: str, sample: Sample) -> None:
        """Pass on a class mean taken in `room`; one under a name that cannot be used is counted and let go."""
        device = sample.device
        if device in self._configured or not NAME.fullmatch(device):
            self._counters.add("groups.unusable_name")
            return
        if self._rooms.get(device) != room:
            self._rooms[device] = room
            self._infos[device] = device_info(device, room, self._profile)
            if device not in self._profiles:
                self._profiles[device] = self._profile
                self._pipeline.adopt(device, self._profile)
        await self._pipeline.emit_utc(sample)


def make_groups(
    profiles: Mapping[str, DeviceProfile],
    rooms: Mapping[str, str],
    *,
    keys: GatewayKeys | None,
    in_force: Callable[[], InForce],
    clock: Clock,
    counters: Counters,
) -> Groups | None:
    """Return the stage for this gateway's bands; none where nothing hears any."""
    points = heart_rate_points(profiles)
    if not points:
        return None
    register = RosterRegister(
        {device: rooms[device] for device in points}, keys=keys, in_force=in_force, now_ns=clock.now_ns
    )
    # Without a key for the purpose no band is anybody's, and there is nothing to draw.
    key = bytes.fromhex(keys.keys.get(PURPOSE, "")) if keys is not None else b""
    return Groups(points, register=register, key=key, now_ns=clock.now_ns, synced=clock.synced, counters=counters)
