"""InForce: the documents that are believed now, made ready to be asked for each sample. Pure; knows no file."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from edge_agent.privacy.classes import class_table
from edge_agent.privacy.documents import Distance, DocumentKind, days_of, minutes_of, offset_minutes
from edge_agent.privacy.times import Timeline, minutes_ns, since_midnight
from telemetry.erasure import to_ns
from telemetry.sample import PERSON_CLASSES, DataClass, WithheldReason

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import date

    from edge_agent.privacy.documents import Calendar, Consents, Lesson, Policy, Roster, Rule
    from edge_agent.privacy.times import Span
    from telemetry.profile import Point

FREE: Final = frozenset({DataClass.OPEN, DataClass.OPS})
"""Classes that concern nobody: they pass without any document."""
_DISTANCES: Final = tuple(Distance)
_MISSING: Final = {
    DocumentKind.POLICY: WithheldReason.NO_POLICY,
    DocumentKind.CONSENTS: WithheldReason.NO_CONSENT,
    DocumentKind.ROSTER: WithheldReason.NO_ROSTER,
}
HOUR_NS: Final = 3600 * 1_000_000_000
CONSENTS_MAX_AGE_H: Final = 24.0
_NOBODY: Final[dict[str, int]] = {}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Lane:
    """Points of one device that share a class, a purpose and every rule: they leave together, or not at all."""

    data_class: DataClass
    purpose: str
    points: frozenset[str]
    refusal: WithheldReason | None = None
    """Why they never leave under this policy."""
    hours: tuple[Timeline[None], ...] = ()
    """All of them must be on."""
    in_lessons: bool = False
    consent: bool = False
    bound: bool = False
    distance: Distance = Distance.SCHOOL
    min_group: int = 5
    retention_days: int = 0
    free: bool = field(init=False)
    person: bool = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "free", self.data_class in FREE)
        object.__setattr__(self, "person", self.data_class in PERSON_CLASSES)


class InForce:
    """Policy, consents and roster of one moment; each may be missing, with the reason in `lacking`."""

    def __init__(
        self,
        policy: Policy | None = None,
        consents: Consents | None = None,
        roster: Roster | None = None,
        *,
        lacking: Mapping[DocumentKind, WithheldReason] | None = None,
        consents_max_age_h: float = CONSENTS_MAX_AGE_H,
    ) -> None:
        self.policy, self.consents, self.roster = policy, consents, roster
        self.lacking = {**_MISSING, **(lacking or {})}
        self.policy_from_ns, self.policy_until_ns = _validity(policy)
        self._roster_from_ns, self._roster_until_ns = _validity(roster)
        self.consents_until_ns = 0
        """When the list of consents becomes too old to be believed."""
        self._consented: dict[str, dict[str, int]] = {}
        if consents is not None:
            self.consents_until_ns = to_ns(consents.issued_at) + int(consents_max_age_h * HOUR_NS)
            for consent in consents.consents:
                if consent.effective:
                    self._consented.setdefault(consent.purpose, {})[consent.handle] = to_ns(consent.valid_until)
        self._offset_minutes = offset_minutes(policy.utc_offset) if policy is not None else 0
        self._lessons: dict[str, Timeline[Lesson]] = {}
        self._by_room: dict[str, list[Lesson]] = {}
        for lesson in roster.lessons if roster is not None else ():
            self._by_room.setdefault(lesson.room, []).append(lesson)

    def lanes(self, points: tuple[Point, ...]) -> list[Lane]:
        """Return the lanes of a device; every point is in exactly one."""
        table = class_table(self.policy)
        shared: dict[tuple[DataClass, str, tuple[int, ...]], list[Point]] = defaultdict(list)
        for point in points:
            numbers = tuple(
                number
                for number, rule in enumerate(self.policy.rules if self.policy is not None else ())
                if (rule.data_class, rule.purpose) == (point.data_class, point.purpose)
                and (rule.points is None or point.name in rule.points)
            )
            shared[point.data_class, point.purpose, numbers].append(point)
        lanes = []
        for (data_class, purpose, numbers), members in shared.items():
            names = frozenset(point.name for point in members)
            rules = [self.policy.rules[number] for number in numbers] if self.policy is not None else []
            terms = table[data_class]
            if data_class in FREE:
                lanes.append(
                    Lane(data_class=data_class, purpose=purpose, points=names, distance=terms.distance,
                         retention_days=terms.retention_days)
                )  # fmt: skip
                continue
            distance = min((rule.distance or terms.distance for rule in rules), key=_DISTANCES.index, default=None)
            lanes.append(
                Lane(
                    data_class=data_class,
                    purpose=purpose,
                    points=names,
                    refusal=self._never(data_class, purpose, rules, distance),
                    hours=tuple(self._hours(rule) for rule in rules if isinstance(rule.hours, list)),
                    in_lessons=any(rule.hours == "lessons" for rule in rules),
                    consent=any(terms.consent if rule.consent is None else rule.consent for rule in rules)
                    and data_class in PERSON_CLASSES,
                    bound=any(rule.binding == "roster" for rule in rules),
                    distance=distance or Distance.ROOM,
                    min_group=max((rule.min_group for rule in rules), default=5),
                    retention_days=min((rule.retention_days or terms.retention_days for rule in rules), default=0),
                )
            )
        return lanes

    def _never(
        self, data_class: DataClass, purpose: str, rules: list[Rule], distance: Distance | None
    ) -> WithheldReason | None:
        if self.policy is None:
            return self.lacking[DocumentKind.POLICY]
        if not rules:
            same = [rule for rule in self.policy.rules if rule.data_class is data_class]
            if not same:
                return WithheldReason.CLASS_NOT_ALLOWED
            if not any(rule.purpose == purpose for rule in same):
                return WithheldReason.PURPOSE_NOT_ALLOWED
            return WithheldReason.POINT_NOT_ALLOWED
        return WithheldReason.DISTANCE_ROOM if distance is Distance.ROOM else None

    def closed(self, lane: Lane, room: str, *, now_ns: int, at_ns: int) -> WithheldReason | None:
        """Return why nobody's values of this lane, measured in `room` at `at_ns`, may leave at `now_ns`."""
        never = self.never(lane, now_ns=now_ns)
        if never is not None:
            return never
        if lane.in_lessons and all(lesson.purpose not in {None, lane.purpose} for lesson in self.lessons(room, at_ns)):
            return WithheldReason.OUTSIDE_HOURS
        for hours in lane.hours:
            if not hours.at(at_ns):
                return WithheldReason.OUTSIDE_HOURS
        return None

    def never(self, lane: Lane, *, now_ns: int) -> WithheldReason | None:
        """Return why no value of this lane, wherever and whenever it is measured, may leave at `now_ns`."""
        if self.policy is not None:
            if now_ns < self.policy_from_ns:
                return WithheldReason.POLICY_NOT_YET_VALID
            if now_ns >= self.policy_until_ns:
                return WithheldReason.POLICY_EXPIRED
        if lane.refusal is not None:
            return lane.refusal
        return self.no_roster(now_ns) if lane.in_lessons else None

    def pupil(self, purpose: str, band: str, room: str, *, now_ns: int, at_ns: int) -> str | WithheldReason:
        """Return the handle of whom the roster binds to `band` in a lesson of this purpose on in `room` at `at_ns`."""
        lacking = self.no_roster(now_ns)
        if lacking is not None:
            return lacking
        found = {
            lesson.bindings[band]
            for lesson in self.lessons(room, at_ns)
            if lesson.purpose == purpose and band in lesson.bindings
        }
        return found.pop() if len(found) == 1 else WithheldReason.UNBOUND

    def consent(self, purpose: str, handle: str, *, now_ns: int) -> WithheldReason | None:
        """Return why `handle` must not be told for this purpose; none if he consented."""
        if self.consents is None:
            return self.lacking[DocumentKind.CONSENTS]
        if now_ns >= self.consents_until_ns:
            return WithheldReason.CONSENTS_TOO_OLD
        until_ns = self._consented.get(purpose, _NOBODY).get(handle)
        if until_ns is None:
            return WithheldReason.NO_CONSENT
        return WithheldReason.CONSENT_EXPIRED if now_ns >= until_ns else None

    def nobody(self, purpose: str, *, now_ns: int) -> WithheldReason | None:
        """Return why nobody at all may be told for this purpose for want of a consent; none if somebody may."""
        if self.consents is None:
            return self.lacking[DocumentKind.CONSENTS]
        if now_ns >= self.consents_until_ns:
            return WithheldReason.CONSENTS_TOO_OLD
        return None if self.consented(now_ns).get(purpose) else WithheldReason.NO_CONSENT

    def consented(self, now_ns: int) -> dict[str, frozenset[str]]:
        """Return the handles whose consent is valid now, by purpose; the list's age is not looked at."""
        return {
            purpose: frozenset(handle for handle, until_ns in handles.items() if now_ns < until_ns)
            for purpose, handles in self._consented.items()
        }

    def lessons(self, room: str, at_ns: int) -> tuple[Lesson, ...]:
        """Return the lessons that are on in `room` at `at_ns`; ask `no_roster` whether the roster is believed."""
        timeline = self._lessons.get(room)
        if timeline is None:
            if room not in self._by_room:
                return ()
            # Kept for rooms of the roster only: a bounded number.
            timeline = Timeline(lambda day: self._spans(room, day), offset_minutes=self._offset_minutes)
            self._lessons[room] = timeline
        return timeline.at(at_ns)

    def no_roster(self, now_ns: int) -> WithheldReason | None:
        """Return why there is no roster to be believed; none if there is one."""
        if self.roster is None:
            return self.lacking[DocumentKind.ROSTER]
        return None if self._roster_from_ns <= now_ns < self._roster_until_ns else WithheldReason.NO_ROSTER

    def rules_for(self, data_class: DataClass, purpose: str) -> list[Rule]:
        """Return the policy's rules about a class and purpose."""
        rules = self.policy.rules if self.policy is not None else []
        return [rule for rule in rules if (rule.data_class, rule.purpose) == (data_class, purpose)]

    def min_group(self, purpose: str) -> int | None:
        """Return of how many people an aggregate for this purpose must be at least; none if no rule lets it leave."""
        return max((rule.min_group for rule in self.rules_for(DataClass.GROUP, purpose)), default=None)

    def _spans(self, room: str, day: date) -> Iterator[Span[Lesson]]:
        calendar = self.policy.calendar if self.policy is not None else None
        weekday = calendar.weekday(day) if calendar is not None else day.weekday()
        for lesson in self._by_room[room]:
            # A dated lesson takes place whatever the calendar says: somebody wrote that day down.
            if lesson.on == day if not isinstance(lesson.on, str) else weekday in days_of(lesson.on):
                yield since_midnight(lesson.start), since_midnight(lesson.end), lesson

    def _hours(self, rule: Rule) -> Timeline[None]:
        calendar = self.policy.calendar if self.policy is not None else None
        windows = [
            (days_of(days), minutes_ns(minutes_of(start)), minutes_ns(minutes_of(end)))
            for days, start, end in (rule.hours if isinstance(rule.hours, list) else ())
        ]
        return Timeline(lambda day: _windows(windows, calendar, day), offset_minutes=self._offset_minutes)


def _windows(
    windows: list[tuple[frozenset[int], int, int]], calendar: Calendar | None, day: date
) -> Iterator[Span[None]]:
    weekday = calendar.weekday(day) if calendar is not None else day.weekday()
    for days, start, end in windows:
        if weekday in days:
            yield start, end, None


def _validity(document: Policy | Roster | None) -> tuple[int, int]:
    return (to_ns(document.valid_from), to_ns(document.valid_until)) if document is not None else (0, 0)


NOTHING: Final = InForce()
"""Where no document is set: closed for people."""
