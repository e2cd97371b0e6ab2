"""The three documents that an officer signs: policy, consents, roster. What they hold; signing and time are elsewhere.

Each is TOML. No document names a person: subjects and bands are handles (keys.py).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import field
from datetime import date, datetime, time
from enum import StrEnum
from typing import Annotated, Final, Literal, Self

from pydantic import AfterValidator, AwareDatetime, Field, model_validator
from pydantic.dataclasses import dataclass

from telemetry.profile import FORBID, Name
from telemetry.sample import PERSON_CLASSES, DataClass
from telemetry.topics import NAME

DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")

Handle = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
Place = Annotated[str, Field(pattern=f"^{NAME.pattern}$")]
"""A room or a school class: safe as a topic level, a tag and a device's name."""
Serial = Annotated[int, Field(strict=True, ge=1, le=2**53)]
Flag = Annotated[bool, Field(strict=True)]
"""Not a word such as "no", which would be read as its opposite by whoever writes it."""
Day = Annotated[str, Field(pattern=f"^({'|'.join(DAYS)})$")]


class DocumentKind(StrEnum):
    """Which document; also the middle of its schema's name."""

    POLICY = "policy"
    CONSENTS = "consents"
    ROSTER = "roster"


class Distance(StrEnum):
    """How far something may travel; `room`: it does not leave the gateway."""

    ROOM = "room"
    SCHOOL = "school"
    DISTRICT = "district"


class Basis(StrEnum):
    """Why a purpose is lawful: the items of PIPL article 13."""

    CONSENT = "consent"
    CONTRACT = "contract"
    LEGAL_DUTY = "legal_duty"
    EMERGENCY = "emergency"
    PUBLIC_INTEREST = "public_interest"
    DISCLOSED = "disclosed"
    LAW = "law"


def days_of(text: str) -> frozenset[int]:
    """Return the weekdays (0 is Monday) of `Mon`, `Mon-Fri` or `Mon,Wed,Fri`. Raises ValueError."""
    found: set[int] = set()
    for part in text.split(","):
        first, dash, last = (word.strip() for word in part.partition("-"))
        if first not in DAYS or (dash and last not in DAYS):
            raise ValueError("these are no weekdays: write Mon, Mon-Fri or Mon,Wed,Fri")
        start, end = DAYS.index(first), DAYS.index(last or first)
        found |= {day % 7 for day in range(start, end + 1 if end >= start else end + 8)}
    return frozenset(found)


def minutes_of(text: str) -> int:
    """Return minutes since midnight of `07:30`; `24:00` is the day's end. Raises ValueError."""
    hours, _, minutes = text.partition(":")
    if not (len(hours) == len(minutes) == 2 and text.isascii() and hours.isdigit() and minutes.isdigit()):  # noqa: PLR2004
        raise ValueError("this is no time: write 07:30")
    total = int(hours) * 60 + int(minutes)
    if int(minutes) > 59 or total > 24 * 60:  # noqa: PLR2004
        raise ValueError("no day has this time")
    return total


def offset_minutes(text: str) -> int:
    """Return minutes east of UTC of `+08:00`. Raises ValueError."""
    sign = {"+": 1, "-": -1}.get(text[:1])
    if sign is None:
        raise ValueError("this is no offset from UTC: write +08:00")
    return sign * minutes_of(text[1:])


def _window(span: tuple[str, str, str]) -> tuple[str, str, str]:
    days_of(span[0])
    if minutes_of(span[1]) >= minutes_of(span[2]):
        raise ValueError(f"{span[1]} is not before {span[2]}")
    return span


def _offset(text: str) -> str:
    offset_minutes(text)
    return text


Window = Annotated[tuple[str, str, str], AfterValidator(_window)]
"""Weekdays, from, until (exclusive), in the policy's local time: `["Mon-Fri", "07:30", "17:30"]`."""
Offset = Annotated[str, AfterValidator(_offset)]


@dataclass(frozen=True, slots=True, kw_only=True, config=FORBID)
class Text:
    """What people read, in both languages."""

    zh: Annotated[str, Field(min_length=1, max_length=200)]
    en: Annotated[str, Field(min_length=1, max_length=200)]


@dataclass(frozen=True, slots=True, kw_only=True, config=FORBID)
class Purpose:
    """What data are for, why that is lawful, and what people are told."""

    name: Name
    basis: Basis
    zh: Annotated[str, Field(min_length=1, max_length=200)]
    en: Annotated[str, Field(min_length=1, max_length=200)]


@dataclass(frozen=True, slots=True, kw_only=True, config=FORBID)
class ClassChange:
    """What a site does otherwise than classes.py about one class; only what is given counts."""

    data_class: Annotated[DataClass, Field(alias="class")]
    grade: Annotated[str, Field(pattern=r"^L[1-5]$")] | None = None
    seen_by: Text | None = None
    distance: Distance | None = None
    retention_days: Annotated[int, Field(strict=True, ge=1, le=36500)] | None = None
    consent: Flag | None = None


@dataclass(frozen=True, slots=True, kw_only=True, config=FORBID)
class Rule:
    """What may leave: points of a class, for a purpose. What is left out comes from the class table."""

    data_class: Annotated[DataClass, Field(alias="class")]
    purpose: Name
    points: Annotated[frozenset[Name], Field(min_length=1)] | None = None
    """None: every point of this class and purpose."""
    distance: Distance | None = None
    consent: Flag | None = None
    binding: Literal["none", "roster"] = "none"
    """`roster`: the identifier is of a thing worn in a lesson; it stands for the pupil bound to it in the roster."""
    min_group: Annotated[int, Field(strict=True, ge=2, le=1000)] = 5
    retention_days: Annotated[int, Field(strict=True, ge=1, le=36500)] | None = None
    hours: Literal["always", "lessons"] | Annotated[list[Window], Field(min_length=1)] = "always"

    @model_validator(mode="after")
    def _sensible(self) -> Self:
        if self.data_class in {DataClass.OPEN, DataClass.OPS}:
            raise ValueError(f"class {self.data_class} concerns nobody: it always passes and takes no rule")
        if self.data_class not in PERSON_CLASSES and (self.consent or self.binding != "none"):
            raise ValueError("a group is nobody: it can neither consent nor be bound to a band")
        return self


@dataclass(frozen=True, slots=True, kw_only=True, config=FORBID)
class Makeup:
    """A day on which the school keeps the timetable of a weekday, such as a Saturday before a long holiday."""

    on: date
    like: Day


@dataclass(frozen=True, slots=True, kw_only=True, config=FORBID)
class Calendar:
    """Which days are school days. Without terms every day is one, but for holidays."""

    terms: list[tuple[date, date]] = field(default_factory=list)
    """First and last day of each."""
    holidays: frozenset[date] = frozenset()
    makeup: list[Makeup] = field(default_factory=list)

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if any(first > last for first, last in self.terms):
            raise ValueError("a term ends before it begins")
        if len({day.on for day in self.makeup}) < len(self.makeup):
            raise ValueError("a makeup day is named twice")
        return self

    def weekday(self, day: date) -> int | None:
        """Return which weekday's timetable is kept on `day` (0 is Monday); none if there is no school."""
        for makeup in self.makeup:
            if makeup.on == day:
                return DAYS.index(makeup.like)
        if day in self.holidays or (self.terms and not any(first <= day <= last for first, last in self.terms)):
            return None
        return day.weekday()


@dataclass(frozen=True, slots=True, kw_only=True, config=FORBID)
class _Document:
    site: Place
    serial: Serial
    """Only grows: a gateway refuses one that is lower than the last it accepted."""
    issued_at: AwareDatetime


def _in_order(first: datetime, last: datetime) -> None:
    if first >= last:
        raise ValueError("valid_from is not before valid_until")


@dataclass(frozen=True, slots=True, kw_only=True, config=FORBID)
class Policy(_Document):
    """What may leave, what for, how far and when. Of rules that contradict each other the strictest counts."""

    schema: Literal["campus.policy/2"]
    valid_from: AwareDatetime
    valid_until: AwareDatetime
    utc_offset: Offset = "+08:00"
    """Local time of `hours` and of the roster."""
    calendar: Calendar = field(default_factory=Calendar)
    purposes: Annotated[list[Purpose], Field(alias="purpose")] = field(default_factory=list)
    rules: Annotated[list[Rule], Field(alias="rule")] = field(default_factory=list)
    classes: Annotated[list[ClassChange], Field(alias="class")] = field(default_factory=list)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        _in_order(self.valid_from, self.valid_until)
        names = [purpose.name for purpose in self.purposes]
        for kind, given in (("purpose", names), ("class", [str(change.data_class) for change in self.classes])):
            repeated = sorted({name for name in given if given.count(name) > 1})
            if repeated:
                raise ValueError(f"{kind} named twice: {', '.join(repeated)}")
        missing = sorted({rule.purpose for rule in self.rules} - set(names))
        if missing:
            raise ValueError(f"rules for a purpose that no [[purpose]] explains: {', '.join(missing)}")
        return self


@dataclass(frozen=True, slots=True, kw_only=True, config=FORBID)
class Consent:
    """One person's consent to one purpose. For a child under 14 only a guardian can give it."""

    handle: Handle
    purpose: Name
    given_by: Literal["guardian", "self"]
    under_14: Flag
    valid_until: AwareDatetime

    @property
    def effective(self) -> bool:
        """Whether it was given by somebody who can."""
        return self.given_by == "guardian" or not self.under_14


@dataclass(frozen=True, slots=True, kw_only=True, config=FORBID)
class Consents(_Document):
    """Everybody who consents now, to everything. Who is not in it has withdrawn or never consented."""

    schema: Literal["campus.consents/1"]
    consents: Annotated[list[Consent], Field(alias="consent")] = field(default_factory=list)

    @model_validator(mode="after")
    def _once(self) -> Self:
        counted = Counter((consent.purpose, consent.handle) for consent in self.consents)
        twice = sum(count > 1 for count in counted.values())
        if twice:
            raise ValueError(f"{twice} subjects stand there twice for the same purpose")
        return self


@dataclass(frozen=True, slots=True, kw_only=True, config=FORBID)
class Lesson:
    """A class in a room, on one date or on weekdays; local time. `bindings`: band's handle → pupil's handle."""

    school_class: Annotated[Place, Field(alias="class")]
    room: Place
    on: date | str
    start: time
    end: time
    """The bell: what is measured then is no longer in the lesson."""
    purpose: Name | None = None
    """None: the lesson opens the hours of every purpose, and has no bindings."""
    bindings: dict[Handle, Handle] = field(default_factory=dict)

    @model_validator(mode="after")
    def _sensible(self) -> Self:
        if isinstance(self.on, str):
            days_of(self.on)
        if self.start.tzinfo or self.end.tzinfo or self.start >= self.end:
            raise ValueError("start must be before end, both local times such as 08:00:00")
        if self.bindings and (self.purpose is None or isinstance(self.on, str)):
            raise ValueError("bindings are for one lesson: give it a purpose, and `on` as a date")
        return self


@dataclass(frozen=True, slots=True, kw_only=True, config=FORBID)
class Roster(_Document):
    """The timetable, and who wears which band in which lesson."""

    schema: Literal["campus.roster/1"]
    valid_from: AwareDatetime
    valid_until: AwareDatetime
    lessons: Annotated[list[Lesson], Field(alias="lesson")] = field(default_factory=list)

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        _in_order(self.valid_from, self.valid_until)
        return self


Document = Policy | Consents | Roster
TYPES: Final[dict[DocumentKind, type[Document]]] = {
    DocumentKind.POLICY: Policy,
    DocumentKind.CONSENTS: Consents,
    DocumentKind.ROSTER: Roster,
}
