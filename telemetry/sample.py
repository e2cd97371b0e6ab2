"""What a device said (Sample) and what the privacy gate made of it (Admitted or Withheld)."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import msgspec

Value = float | bool | str
"""A point's value. Numbers are always float; a quantity fixes the type for ever."""


class Reason(StrEnum):
    """Why a value is absent; stored as `<point>_bad`, never as a number."""

    TIMEOUT = "timeout"
    OUT_OF_RANGE = "out_of_range"
    DECODE = "decode"
    STALE = "stale"
    CLOCK_UNSYNCED = "clock_unsynced"
    SENSOR_FAULT = "sensor_fault"
    WARMING_UP = "warming_up"
    DARK = "dark"
    """A camera saw too little light to tell what is there."""
    COVERED = "covered"
    """Something lies before a camera's lens."""
    OUTSIDE_HOURS = "outside_hours"
    """Nobody looked: the device's timetable says not to."""


class Quality(StrEnum):
    """How far a sample can be trusted as a whole; a field in the store, never a tag."""

    GOOD = "good"
    SUSPECT = "suspect"
    """A value lies outside its plausible range, or moved faster than its maximal step."""
    CLOCK_UNCERTAIN = "clock_uncertain"
    """The gateway's clock was never synchronised in the boot that took this sample."""


class DataClass(StrEnum):
    """Whom a point concerns; drives topic, bucket, retention and consent."""

    OPEN = "open"
    """Room air, light, energy."""
    GROUP = "group"
    """Aggregates about people."""
    PERSONAL = "personal"
    """Attendance."""
    SENSITIVE = "sensitive"
    """Vitals."""
    OPS = "ops"
    """Health of the gateway itself."""


PERSON_CLASSES = frozenset({DataClass.PERSONAL, DataClass.SENSITIVE})


class Durability(StrEnum):
    """When a sample must be safe from a sudden power cut."""

    EVENT = "event"
    """Fsynced before the device or person is answered; within 50 ms where nobody is answered."""
    SAMPLE = "sample"
    """Acknowledged as stored, or fsynced, within the window W."""


class Subject(msgspec.Struct, frozen=True, kw_only=True):
    """A raw personal identifier, such as a card number. It never passes the gate and never prints itself."""

    kind: str
    """What the identifier is, such as `card`; part of the handle's input."""
    identifier: str
    """Canonical text of the identifier, such as ten upper-case hex digits."""

    def __repr__(self) -> str:
        return f"Subject(kind={self.kind!r}, identifier=<hidden>)"

    __str__ = __repr__

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [("kind", self.kind), ("identifier", "<hidden>")]


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """One poll of one device, or one event it sent: many points, one time."""

    device: str
    acquired_at_ns: int
    """Nanoseconds of acquisition by `DeviceContext.now_ns`; in UTC from the pipeline on, never restamped."""
    values: dict[str, Value] = {}
    bad: dict[str, Reason] = {}
    """Points whose value is absent, each with its reason; disjoint from `values`."""
    quality: Quality = Quality.GOOD
    subject: Subject | None = None
    resumed: bool = False
    """The event may have begun before the link was opened (a card already lying on the reader)."""


class Admitted(msgspec.Struct, frozen=True, kw_only=True):
    """A sample, or the part of one in a single class, that the gate lets pass. Only the gate makes it."""

    device: str
    acquired_at_ns: int
    data_class: DataClass
    purpose: str
    durability: Durability
    values: dict[str, Value]
    bad: dict[str, Reason]
    quality: Quality
    handle: str | None
    """Pseudonym of the subject, 32 hex digits; none where the data concern nobody."""
    resumed: bool = False
    band: str | None = None
    """Handle of the band by whose binding `handle` was found, to look again; never sent or stored."""


class WithheldReason(StrEnum):
    """Why the gate kept something in the room. The first that applies, in this order."""

    UNKNOWN_POINT = "unknown_point"
    NO_POLICY = "no_policy"
    DOCUMENT_FORGED = "document_forged"
    """The document that it needs is not what a trusted key signed."""
    DOCUMENT_REFUSED = "document_refused"
    """It is signed, but older than one accepted before, dated in the future, of another site, or wrong in itself."""
    POLICY_NOT_YET_VALID = "policy_not_yet_valid"
    POLICY_EXPIRED = "policy_expired"
    CLASS_NOT_ALLOWED = "class_not_allowed"
    PURPOSE_NOT_ALLOWED = "purpose_not_allowed"
    POINT_NOT_ALLOWED = "point_not_allowed"
    DISTANCE_ROOM = "distance_room"
    """The policy lets it be measured, but not leave the room."""
    NO_ROSTER = "no_roster"
    OUTSIDE_HOURS = "outside_hours"
    NO_SUBJECT = "no_subject"
    NO_KEY = "no_key"
    UNBOUND = "unbound"
    """A band that in this room and at this time is nobody's, or two people's."""
    CONSENTS_TOO_OLD = "consents_too_old"
    NO_CONSENT = "no_consent"
    CONSENT_EXPIRED = "consent_expired"
    CLOCK_UNSYNCED = "clock_unsynced"


class Withheld(msgspec.Struct, frozen=True, kw_only=True):
    """The part of a sample that stays in the room: counted by reason, never stored, never named."""

    device: str
    data_class: DataClass
    reason: WithheldReason
