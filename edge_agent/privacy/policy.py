"""The policy: which classes and purposes may leave, until when, and who consented. Default: nothing about people."""

from __future__ import annotations

import logging
import time
import tomllib
from dataclasses import field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Final, Literal, Self

from pydantic import AwareDatetime, Field, model_validator
from pydantic.dataclasses import dataclass

from telemetry.errors import ConfigError, Problem
from telemetry.profile import FORBID
from telemetry.sample import DataClass, WithheldReason
from telemetry.validation import validated

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_LOG: Final = logging.getLogger(__name__)
_SEE: Final = "edge_agent/privacy/README.md"
_LOOK_EVERY_S: Final = 1.0
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

Handle = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]


@dataclass(frozen=True, slots=True, kw_only=True, config=FORBID)
class Allow:
    """One rule: this class may leave for this purpose; with `consent`, only of those who gave it."""

    data_class: Annotated[DataClass, Field(alias="class")]
    purpose: str
    consent: bool = True


@dataclass(frozen=True, slots=True, kw_only=True, config=FORBID)
class Policy:
    """A site's policy, as its officer wrote it."""

    schema: Literal["campus.policy/1"]
    site: str
    version: Annotated[int, Field(ge=1)]
    valid_from: AwareDatetime
    valid_until: AwareDatetime
    allow: list[Allow] = field(default_factory=list)
    consents: dict[str, frozenset[Handle]] = field(default_factory=dict)
    """Purpose → handles of those who consented."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.valid_from >= self.valid_until:
            raise ValueError("valid_from is not before valid_until")
        return self

    def refusal(self, data_class: DataClass, purpose: str, handle: str | None, now_ns: int) -> WithheldReason | None:
        """Return why something of this class, purpose and subject must stay; none if it may leave."""
        if now_ns < _ns(self.valid_from):
            return WithheldReason.POLICY_NOT_YET_VALID
        if now_ns >= _ns(self.valid_until):
            return WithheldReason.POLICY_EXPIRED
        rules = [rule for rule in self.allow if rule.data_class is data_class]
        if not rules:
            return WithheldReason.CLASS_NOT_ALLOWED
        rules = [rule for rule in rules if rule.purpose == purpose]
        if not rules:
            return WithheldReason.PURPOSE_NOT_ALLOWED
        # Of rules that contradict each other the strictest counts.
        if any(rule.consent for rule in rules) and handle not in self.consents.get(purpose, ()):
            return WithheldReason.NO_CONSENT
        return None


def _ns(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(microseconds=1) * 1000


def load_policy(path: Path, *, site: str) -> Policy:
    """Return the policy in `path`. Raises ConfigError with every problem, also when it is another site's."""
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError([Problem(where=str(path), what=str(error), mend=f"see {_SEE}")]) from error
    problems: list[Problem] = []
    policy = validated(Policy, table, f"{path}:", problems, see=_SEE)
    if policy is None:
        raise ConfigError([_discreet(problem, f"{path}: consents") for problem in problems])
    if policy.site != site:
        what = f"is for site {policy.site!r}, this gateway is of {site!r}"
        raise ConfigError([Problem(where=f"{path}: site", what=what, mend="install the policy of this site")])
    return policy


def _discreet(problem: Problem, consents: str) -> Problem:
    """Return the problem without what stands in the list: it may be a card number, and errors are logged and sent."""
    if not problem.where.startswith(consents):
        return problem
    what = "something there is not a handle (32 lower-case hex digits)"
    return Problem(where=consents, what=what, mend=f"list handles by purpose; see {_SEE}")


class PolicyFile:
    """The policy on disk, read again when the file changes; a broken or missing one closes the gate for people."""

    def __init__(self, path: Path | None, *, site: str, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._site = site
        self._monotonic = monotonic
        self._looked_at = float("-inf")
        self._stamp: tuple[int, int, int] | None = None
        self._policy: Policy | None = None
        self.problem: str | None = None
        """Why there is no policy in force, for health and `check`."""

    def current(self) -> Policy | None:
        """Return the policy in force; looks at the file once a second."""
        now = self._monotonic()
        if now - self._looked_at >= _LOOK_EVERY_S:
            self._looked_at = now
            self._look()
        return self._policy

    def _look(self) -> None:
        if self._path is None:
            self.problem = "no policy_file is set"
            return
        try:
            status = self._path.stat()
            stamp = (status.st_mtime_ns, status.st_size, status.st_ino)
            if stamp == self._stamp:
                return
            self._policy, self._stamp, self.problem = load_policy(self._path, site=self._site), stamp, None
            _LOG.info("policy version %d is in force", self._policy.version)
        except (OSError, ConfigError) as error:
            if self.problem is None or self._policy is not None:
                _LOG.error("the gate is closed for data about people: %s", error)
            self._policy, self._stamp, self.problem = None, None, str(error)
