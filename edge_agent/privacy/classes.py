"""The class table: what a point's class means for who sees it, how far it goes, how long it is kept, and consent.

One table for everybody: the gate takes its defaults from here, `privacy show` prints it, the docs quote it. A site
changes it by `[[class]]` in its policy. Grades are those of JY/T 0661 (L1 to L5; L4: guard it like important data).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from edge_agent.privacy.documents import Distance, Policy, Text
from telemetry.sample import DataClass

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassTerms:
    """What holds for a class where the policy's rules say nothing else."""

    data_class: DataClass
    grade: str
    seen_by: Text
    distance: Distance
    retention_days: int
    consent: bool
    """Whether each person concerned must have consented."""

    @property
    def topic(self) -> str:
        """The topic's levels below `campus/v1/<site>/<gateway>`."""
        return f"telemetry/{self.data_class}"

    @property
    def bucket(self) -> str:
        """Name of the place in the store that has this class alone, where the store's routes part classes."""
        return f"campus_{self.data_class}"


_EVERYBODY: Final = Text(zh="全校师生", en="everybody at school")
_STAFF: Final = Text(zh="本校教师", en="the school's teachers")

CLASS_TABLE: Final[Mapping[DataClass, ClassTerms]] = {
    terms.data_class: terms
    for terms in (
        ClassTerms(
            data_class=DataClass.OPEN,
            grade="L1",
            seen_by=_EVERYBODY,
            distance=Distance.DISTRICT,
            retention_days=1825,
            consent=False,
        ),
        ClassTerms(
            data_class=DataClass.OPS,
            grade="L1",
            seen_by=Text(zh="运维人员", en="technicians"),
            distance=Distance.DISTRICT,
            retention_days=180,
            consent=False,
        ),
        ClassTerms(
            data_class=DataClass.GROUP,
            grade="L2",
            seen_by=_STAFF,
            distance=Distance.SCHOOL,
            retention_days=365,
            consent=False,
        ),
        ClassTerms(
            data_class=DataClass.PERSONAL,
            grade="L3",
            seen_by=Text(zh="班主任、本人及监护人", en="form teacher, pupil, guardian"),
            distance=Distance.SCHOOL,
            retention_days=180,
            consent=True,
        ),
        ClassTerms(
            data_class=DataClass.SENSITIVE,
            grade="L4",
            seen_by=Text(zh="任课教师(上课时)、本人及监护人", en="the lesson's teacher, pupil, guardian"),
            # Off by default twice over: no rule, and a rule that does not say how far lets nothing out of the room.
            distance=Distance.ROOM,
            retention_days=7,
            consent=True,
        ),
    )
}


def class_table(policy: Policy | None) -> dict[DataClass, ClassTerms]:
    """Return the table as this site has it."""
    table = dict(CLASS_TABLE)
    for change in policy.classes if policy is not None else ():
        keys = ("grade", "seen_by", "distance", "retention_days", "consent")
        given = {key: getattr(change, key) for key in keys if getattr(change, key) is not None}
        table[change.data_class] = replace(table[change.data_class], **given)
    return table
