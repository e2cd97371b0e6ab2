"""Auditing: what the agent writes into its audit log about documents, starts and stops."""

from __future__ import annotations

import logging
import time
from collections import deque
from typing import TYPE_CHECKING, Any, Final

from edge_agent.audit import AuditLog

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from edge_agent.commands import Answer, Command
    from edge_agent.privacy import DocumentKind, Documents
    from edge_agent.privacy.standing import Standing
    from telemetry.counters import Counters

_LOG: Final = logging.getLogger(__name__)
REFUSALS_AN_HOUR: Final = 60
"""So many are written down: whoever may publish on `command` can cause any number, and old entries go by size."""


class Auditor:
    """Appends to the audit log; without one (the folder cannot be used) it is silent, and health says so."""

    def __init__(self, log: AuditLog | None, *, counters: Counters) -> None:
        self._log = log
        self._counters = counters
        self._refused_s: deque[float] = deque(maxlen=REFUSALS_AN_HOUR)
        self._told: dict[DocumentKind, tuple[object, ...]] = {}

    def __call__(self, event: str, **detail: Any) -> None:
        """Add an entry. No handle, no identifier may stand in it."""
        if self._log is not None:
            self._log.append(event, detail)

    def refused(self, event: str, **detail: Any) -> None:
        """Add an entry about a message that was refused; of too many in an hour the rest is only counted."""
        now_s = time.monotonic()
        if len(self._refused_s) == self._refused_s.maxlen and now_s - self._refused_s[0] < 3600:  # noqa: PLR2004
            self._counters.add("audit.unwritten_refusals")
            return
        self._refused_s.append(now_s)
        self(event, **detail)

    def document(self) -> dict[str, Any] | None:
        """Return the head, for health; none without a log."""
        return self._log.document() if self._log is not None else None

    def note_documents(self, documents: Documents) -> None:
        """Add an entry for each document that was accepted or refused since the last look."""
        for kind, standing in documents.standings.items():
            said = _said(standing)
            if self._told.get(kind) == said:
                continue
            self._told[kind] = said
            read = standing.read
            detail: dict[str, Any] = {"kind": str(kind)}
            if read is not None:
                detail |= {"serial": read.document.serial, "sha256": read.digest, "key": read.key.key_id}
            if standing.accepted is not None:
                self("document_accepted", **detail)
            elif not standing.absent:
                self("document_refused", **detail, reason=str(standing.reason))

    def of_command(
        self, event: str, handle: Callable[[Command], Awaitable[Answer]]
    ) -> Callable[[Command], Awaitable[Answer]]:
        """Return `handle`, with an entry for each command that it answers with a refusal."""

        async def audited(command: Command) -> Answer:
            answer = await handle(command)
            if not answer["ok"]:
                self.refused(event, kind=answer.get("document"), serial=answer.get("serial"))
            return answer

        return audited


def open_audit(folder: Path, *, counters: Counters, now_ns: Callable[[], int]) -> Auditor:
    """Return the auditor of the log in `folder`. A folder that cannot be used stops nothing: it is told and counted."""
    try:
        return Auditor(AuditLog(folder, counters=counters, now_ns=now_ns), counters=counters)
    except OSError as error:
        counters.add("audit.unwritten")
        _LOG.error("%s cannot be used (%s): nothing is audited → mend its rights, or the disk", folder, error.strerror)
        return Auditor(None, counters=counters)


def _said(standing: Standing) -> tuple[object, ...]:
    read = standing.read
    return (read.digest if read is not None else None, standing.reason, standing.absent)
