"""Documents: the officer's files as they lie here, watched; what is believed of them; and what comes over MQTT."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from edge_agent.privacy import accepted as memory
from edge_agent.privacy.documents import Consents, DocumentKind, Policy, Roster
from edge_agent.privacy.in_force import CONSENTS_MAX_AGE_H, InForce
from edge_agent.privacy.reading import DocumentRefused, read_document, read_file
from edge_agent.privacy.standing import Standing, State, age, at, minute
from telemetry.erasure import to_ns
from telemetry.sample import WithheldReason

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from edge_agent.privacy.accepted import Accepted
    from edge_agent.privacy.reading import ReadDocument
    from telemetry.counters import Counters
    from telemetry.signed import PublicKey

_LOG: Final = logging.getLogger(__name__)
LOOK_EVERY_S: Final = 1.0
AHEAD_NS: Final = 5 * 60 * 1_000_000_000
"""How far an officer's clock may be ahead of ours."""

Stamp = tuple[int, int, int, int]


@dataclass(slots=True)
class _File:
    path: Path | None
    stamp: Stamp | None = None
    looked: bool = False
    read: ReadDocument | None = None
    refused: DocumentRefused | None = None
    absent: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What became of a document that came over MQTT."""

    ok: bool
    text: str
    kind: DocumentKind | None = None
    serial: int | None = None


@dataclass(slots=True, kw_only=True)
class Documents:
    """Policy, consents and roster. `look` blocks, and needs no event loop; `watch` goes on looking.

    A missing, forged, older or future-dated document is not believed, and what needs it is withheld. Not so air.
    """

    site: str
    trusted: Mapping[str, PublicKey]
    paths: Mapping[DocumentKind, Path | None]
    state_file: Path | None
    """What was accepted before; none: nothing is remembered or written (for `check` and `privacy show`, see `peek`)."""
    now_ns: Callable[[], int]
    counters: Counters
    clock_synced: Callable[[], bool] = lambda: True
    consents_max_age_h: float = CONSENTS_MAX_AGE_H
    peek: bool = False
    """Only look: compare with the state file, and never write it."""
    on_change: list[Callable[[], None]] = field(default_factory=list)
    """Called in the event loop after something else came into force, or somebody has withdrawn."""
    in_force: InForce = field(init=False)
    standings: dict[DocumentKind, Standing] = field(init=False, default_factory=dict)
    _files: dict[DocumentKind, _File] = field(init=False)
    _state: Accepted | None = field(init=False, default=None)
    _damaged: str = field(init=False, default="")
    _unsaved: bool = field(init=False, default=False)
    _lock: asyncio.Lock = field(init=False, default_factory=asyncio.Lock)

    def __post_init__(self) -> None:
        self.in_force = InForce(consents_max_age_h=self.consents_max_age_h)
        self._files = {kind: _File(self.paths.get(kind)) for kind in DocumentKind}

    @property
    def withdrawn(self) -> Mapping[str, frozenset[str]]:
        """Purpose → handles that were on an accepted list of consents, are not now, and are not yet `purged`."""
        return self._state.withdrawn if self._state is not None else {}

    def report(self) -> dict[str, dict[str, Any]]:
        """Return how each document stands, for health; names no person."""
        now_ns = self.now_ns()
        return {str(kind): standing.document(now_ns) for kind, standing in self.standings.items()}

    def closed(self, *, keys: bool) -> str | None:
        """Return why nothing about persons leaves this gateway; none while a key and a policy let it."""
        now_ns, policy = self.now_ns(), self.standings[DocumentKind.POLICY]
        if policy.state(now_ns) is not State.IN_FORCE:
            return f"policy {policy.words(now_ns)}"
        return None if keys else "no key_file is set: no person has a handle"

    async def purged(self, handles: Mapping[str, frozenset[str]]) -> None:
        """Note that nothing of these withdrawn handles is left in the buffer."""
        async with self._lock:
            if self._state is not None:
                self._state = memory.without_withdrawn(self._state, handles)
                await asyncio.to_thread(self._save)

    async def watch(self) -> None:
        """Look once a second, until cancelled; files are read in a thread."""
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            async with self._lock:
                before = (self.in_force, self.withdrawn)
                if self._stale():
                    await asyncio.to_thread(self.look)
            self._tell_since(before)

    async def receive(self, text: bytes) -> Receipt:
        """Take a document that came over MQTT: verified first, then put in the place of the configured file."""
        async with self._lock:
            before = (self.in_force, self.withdrawn)
            receipt = await asyncio.to_thread(self._receive, text)
        self._tell_since(before)
        return receipt

    def look(self) -> None:
        """Read the files that changed and bring into force what is believed. Never raises for what stands in them."""
        if self._state is None and not self._damaged:
            self._load()
        for kind, file in self._files.items():
            if not file.looked or _stamp(file.path) != file.stamp:
                self._read(kind, file)
        standings = {kind: self._judged(kind) for kind in DocumentKind}
        for kind, standing in standings.items():
            self._accept(kind, standing)
            self._log(standing, self.standings.get(kind))
        if standings != self.standings:
            self.standings = standings
            documents = {kind: found.accepted.document for kind, found in standings.items() if found.accepted}
            policy, consents = documents.get(DocumentKind.POLICY), documents.get(DocumentKind.CONSENTS)
            roster = documents.get(DocumentKind.ROSTER)
            self.in_force = InForce(
                policy if isinstance(policy, Policy) else None,
                consents if isinstance(consents, Consents) else None,
                roster if isinstance(roster, Roster) else None,
                lacking={kind: found.reason for kind, found in standings.items() if found.reason and not found.absent},
                consents_max_age_h=self.consents_max_age_h,
            )
        if self._unsaved:
            self._save()

    def _tell_since(self, before: tuple[InForce, Mapping[str, frozenset[str]]]) -> None:
        if (self.in_force, self.withdrawn) != before:
            for notify in self.on_change:
                notify()

    def _stale(self) -> bool:
        return (
            self._unsaved
            or any(_stamp(file.path) != file.stamp for file in self._files.values())
            or any(self._judged(kind) != self.standings.get(kind) for kind in DocumentKind)
        )

    def _load(self) -> None:
        if self.state_file is None:
            self._state = memory.Accepted(schema=memory.SCHEMA, site=self.site)
            return
        try:
            self._state = memory.load(self.state_file, site=self.site)
        except memory.StateDamaged as error:
            self._damaged = str(error)

    def _read(self, kind: DocumentKind, file: _File) -> None:
        file.looked, file.read, file.refused, file.absent = True, None, None, ""
        file.stamp = _stamp(file.path)
        if file.path is None:
            file.absent = f"no {kind}_file is set"
            return
        try:
            text = read_file(file.path)
            file.read = read_document(text, site=self.site, trusted=self.trusted, kind=kind)
        except OSError as error:
            file.absent = f"{file.path}: {error.strerror or 'cannot be read'}"
        except DocumentRefused as error:
            file.refused = DocumentRefused(error.reason, f"{file.path}: {error}")

    def _judged(self, kind: DocumentKind) -> Standing:
        file = self._files[kind]
        if file.absent:
            missing = {
                DocumentKind.POLICY: WithheldReason.NO_POLICY,
                DocumentKind.CONSENTS: WithheldReason.NO_CONSENT,
                DocumentKind.ROSTER: WithheldReason.NO_ROSTER,
            }
            return Standing(kind=kind, reason=missing[kind], why=file.absent, absent=True)
        if file.read is None:
            refused = file.refused or DocumentRefused(WithheldReason.DOCUMENT_REFUSED, "was not read yet")
            return Standing(kind=kind, reason=refused.reason, why=str(refused))
        why = self._objection(file.read)
        if why is not None:
            why = f"{file.path}: {why}"
            return Standing(kind=kind, read=file.read, reason=WithheldReason.DOCUMENT_REFUSED, why=why)
        max_age_h = self.consents_max_age_h if kind is DocumentKind.CONSENTS else None
        return Standing(kind=kind, read=file.read, max_age_h=max_age_h)

    def _objection(self, read: ReadDocument, *, future: bool = True) -> str | None:
        """Return why a well-signed document is not believed now."""
        document, now_ns = read.document, self.now_ns()
        ahead_ns = to_ns(document.issued_at) - now_ns
        if future and ahead_ns > AHEAD_NS:
            return (
                f"is dated {minute(document.issued_at)}, {age(ahead_ns)} ahead of this gateway's clock"
                f" ({minute(at(now_ns))}) → mend whichever clock is wrong"
            )
        if self._damaged or self._state is None:
            return self._damaged or "what was accepted before is not read yet"
        last = self._state.documents.get(read.kind)
        if last is not None and document.serial < last.serial:
            return (
                f"has serial {document.serial}, but serial {last.serial} was accepted before → install the newest one"
            )
        if last is not None and document.serial == last.serial and read.digest != last.digest:
            return (
                f"has serial {document.serial}, under which another text was accepted → issue it with a higher serial"
            )
        return None

    def _accept(self, kind: DocumentKind, standing: Standing) -> None:
        read = standing.accepted
        if read is None or self._state is None:
            return
        acceptance = memory.Acceptance(serial=read.document.serial, digest=read.digest)
        if self._state.documents.get(kind) == acceptance:
            return
        consented = None
        if isinstance(read.document, Consents):
            # By the officer's clock, not ours: a wrong one here must not make everybody's consent look withdrawn.
            consented = InForce(consents=read.document).consented(to_ns(read.document.issued_at))
        self._state = memory.with_document(self._state, kind, acceptance, consented)
        self._unsaved = True

    def _save(self) -> None:
        if self.state_file is None or self.peek or self._state is None:
            self._unsaved = False
            return
        try:
            memory.save(self.state_file, self._state)
            self._unsaved = False
        except OSError as error:
            if not self.counters.get("privacy.state_unwritable"):
                _LOG.error("%s cannot be written: %s → mend its rights, or the disk", self.state_file, error.strerror)
            self.counters.add("privacy.state_unwritable")
            self._unsaved = True

    def _log(self, standing: Standing, before: Standing | None) -> None:
        if standing == before or self.peek:
            return
        if standing.accepted is not None:
            _LOG.info("%s %s", standing.kind, standing.words(self.now_ns()))
        elif not standing.absent or before is not None:
            self.counters.add(f"privacy.document_refused.{standing.kind}")
            _LOG.error("what needs the %s is withheld: %s", standing.kind, standing.why)

    def _receive(self, text: bytes) -> Receipt:
        try:
            read = read_document(text, site=self.site, trusted=self.trusted)
        except DocumentRefused as error:
            self.counters.add("privacy.commands_refused")
            return Receipt(ok=False, text=f"refused: {error}")
        kind, serial = read.kind, read.document.serial
        path, known = self._files[kind].path, self.standings[kind].accepted
        if known is not None and known.digest == read.digest:
            # A retained message comes with each connection: nothing is new, and nothing is written.
            return Receipt(ok=True, text=self.standings[kind].words(self.now_ns()), kind=kind, serial=serial)
        # With a clock that nobody has set yet it is put in place, and comes into force when the clock is right.
        why = self._objection(read, future=self.clock_synced())
        if path is None:
            why = f"no {kind}_file is set here → add it to [privacy]"
        if why is None and path is not None:
            try:
                memory.replace_file(path, text)
            except OSError as error:
                why = f"{path} cannot be written: {error.strerror} → keep it in a folder that the agent may write"
        if why is not None:
            self.counters.add("privacy.commands_refused")
            return Receipt(ok=False, text=f"refused: {why}", kind=kind, serial=serial)
        self.look()
        standing = self.standings[kind]
        self.counters.add("privacy.documents_received")
        kept = "" if standing.accepted is not None else "kept, to come into force when the clock is right; now "
        return Receipt(ok=True, text=kept + standing.words(self.now_ns()), kind=kind, serial=serial)


def _stamp(path: Path | None) -> Stamp | None:
    """Return what changes when the file does; none if it cannot be looked at."""
    if path is None:
        return None
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino
