"""Errors that name the caller's next move; they carry fields, not only text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from telemetry.sample import Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing wrong with an input: where it stands, what is wrong, how to mend it."""

    where: str
    what: str
    mend: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what} → {self.mend}"


class CampusError(Exception):
    """Base of every error this project raises on purpose."""


class ConfigError(CampusError):
    """A file or setting is wrong: stop, show every problem at once, exit 78."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = problems


class DeviceUnavailable(CampusError):
    """The device or its link does not answer: back off and try again.

    `reason` says why the reading's points are bad, where the driver knows better than "timeout".
    """

    def __init__(self, message: str, *, timed_out: bool = False, reason: Reason | None = None) -> None:
        super().__init__(message)
        self.timed_out = timed_out
        self.reason = reason


class AuthError(CampusError):
    """Credentials were refused: wait the longest back-off, since only a person can mend it."""


class ProtocolError(CampusError):
    """The other end said something that its protocol does not allow: the reading is bad, the link goes on."""


class StoreBusy(CampusError):
    """The store cannot take rows now: keep them and ask again after `retry_after_s` seconds."""

    def __init__(self, message: str, *, retry_after_s: float) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class StoreRejected(CampusError):
    """The store will never take some of these rows: bisect, dead-letter what is left, go on.

    `rows` is how many, where the store says so, and `suspects` are the indices of those it may mean.
    """

    def __init__(self, message: str, *, rows: int | None = None, suspects: Sequence[int] = ()) -> None:
        super().__init__(message)
        self.rows = rows
        self.suspects = suspects
