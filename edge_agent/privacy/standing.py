"""How each document stands: in force, refused and why, or absent; in words for `check`, health and `privacy show`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from edge_agent.privacy.documents import Consents, DocumentKind
from telemetry.erasure import to_ns

if TYPE_CHECKING:
    from edge_agent.privacy.reading import ReadDocument
    from telemetry.sample import WithheldReason


class State(StrEnum):
    """A document's state at a time."""

    NONE = "none"
    REFUSED = "refused"
    NOT_YET_VALID = "not_yet_valid"
    EXPIRED = "expired"
    TOO_OLD = "too_old"
    IN_FORCE = "in_force"


_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_HOUR_NS: Final = 3600 * 1_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What became of one document. Accepted (`reason` is none), refused, or absent."""

    kind: DocumentKind
    read: ReadDocument | None = None
    """What is there, if it is signed by a trusted key and sound; also when it is refused for its age."""
    reason: WithheldReason | None = None
    """What the gate counts; none if the document is accepted."""
    why: str = ""
    absent: bool = False
    max_age_h: float | None = None
    """How old it may become; consents only."""

    @property
    def accepted(self) -> ReadDocument | None:
        """The document, if it is believed."""
        return self.read if self.reason is None else None

    @property
    def until(self) -> datetime | None:
        """When it stops being in force, if it was accepted."""
        if self.accepted is None:
            return None
        document = self.accepted.document
        if isinstance(document, Consents):
            return document.issued_at + timedelta(hours=self.max_age_h or 0)
        return document.valid_until

    def state(self, now_ns: int) -> State:
        """Return its state at UTC `now_ns`."""
        if self.accepted is None or self.until is None:
            return State.NONE if self.absent else State.REFUSED
        document = self.accepted.document
        if now_ns >= to_ns(self.until):
            return State.TOO_OLD if isinstance(document, Consents) else State.EXPIRED
        if not isinstance(document, Consents) and now_ns < to_ns(document.valid_from):
            return State.NOT_YET_VALID
        return State.IN_FORCE

    def words(self, now_ns: int) -> str:
        """Return the state in one English line."""
        state = self.state(now_ns)
        if self.accepted is None or self.until is None:
            return f"{state}: {self.why}"
        document = self.accepted.document
        issued = f"serial {document.serial}, issued {age(now_ns - to_ns(document.issued_at))} ago"
        until = minute(self.until)
        match state:
            case State.TOO_OLD:
                return f"too old: {issued}, believed until {until}"
            case State.EXPIRED:
                return f"expired: {issued}, valid until {until}"
            case State.NOT_YET_VALID if not isinstance(document, Consents):
                return f"not yet valid: {issued}, valid from {minute(document.valid_from)}"
            case _:
                return f"in force: {issued}, valid until {until}, signed by {self.accepted.key.key_id}"

    def document(self, now_ns: int) -> dict[str, Any]:
        """Return the state for programs; names no person."""
        there = self.read.document if self.read is not None else None
        until = self.until
        return {
            "state": str(self.state(now_ns)),
            "serial": there.serial if there is not None else None,
            "issued_at_ns": to_ns(there.issued_at) if there is not None else None,
            "valid_until_ns": to_ns(until) if until is not None else None,
            "text": self.words(now_ns),
        }


def age(span_ns: int) -> str:
    """Return a time span as people say it."""
    hours = span_ns / _HOUR_NS
    if hours < 2:  # noqa: PLR2004 - an hour and a half is told in minutes
        return f"{max(0, round(hours * 60))} min"
    return f"{round(hours)} h" if hours < 72 else f"{round(hours / 24)} days"  # noqa: PLR2004


def minute(moment: datetime) -> str:
    """Return a time to the minute, in the offset it was written in."""
    return moment.isoformat(" ", "minutes")


def at(now_ns: int) -> datetime:
    """Return UTC `now_ns` as a datetime."""
    return _EPOCH + timedelta(microseconds=now_ns // 1000)
