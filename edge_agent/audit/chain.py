"""The hash chain, pure: how an entry is written, and what a list of lines proves.

`hash` = SHA-256 of `prev` and the SHA-256 of the entry without `prev` and `hash`. Whoever holds a later hash of a chain
(its head) can tell whether anything before it was altered, left out or put elsewhere.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

GENESIS: Final = "0" * 64
"""`prev` of a gateway's first entry."""
LET_GO: Final = "let_go"
"""Event of an entry that says up to which number (`through`) old entries were deleted."""
_LINKS: Final = ("prev", "hash")


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """Where a chain ends, or ended once."""

    n: int
    hash: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One entry, as read."""

    n: int
    at_ns: int
    event: str
    detail: Mapping[str, Any]
    prev: str
    hash: str
    digest: str
    """SHA-256 of everything but the links."""


class Fault(StrEnum):
    """What is wrong with a chain."""

    UNREADABLE = "unreadable"
    """A line is no entry."""
    ALTERED = "altered"
    """An entry does not have the hash that it bears."""
    REORDERED = "reordered"
    """An entry stands before one with a smaller number."""
    MISSING = "missing"
    """Numbers are left out, or entries that the cloud holds the head of are not there."""
    REWRITTEN = "rewritten"
    """The chain is whole, but is not the one whose head the cloud holds."""
    BROKEN = "broken"
    """An entry does not continue the one before it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One fault and where it is."""

    fault: Fault
    n: int
    """Number of the entry; of an unreadable one, the number that it should have had."""
    what: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What is known of a chain. Entries of `unanchored` may have been altered by whoever owns the gateway."""

    first: int
    last: int
    findings: tuple[Finding, ...]
    anchored_to: int
    """Number of the newest entry that a head of the cloud vouches for; 0: none."""
    unanchored: tuple[Entry, ...]


def digest_of(body: Mapping[str, Any]) -> str:
    """Return the SHA-256 of an entry without its links, as hex."""
    plain = {name: value for name, value in body.items() if name not in _LINKS}
    return hashlib.sha256(_canonical(plain)).hexdigest()


def link(prev: str, digest: str) -> str:
    """Return the hash of the entry with `digest` that follows the entry with hash `prev`."""
    return hashlib.sha256(bytes.fromhex(prev) + bytes.fromhex(digest)).hexdigest()


def make(*, prev: Head, at_ns: int, event: str, detail: Mapping[str, Any]) -> tuple[bytes, Entry]:
    """Return the line and the entry that follow `prev`."""
    body = {"n": prev.n + 1, "at_ns": at_ns, "event": event, "detail": dict(detail)}
    digest = digest_of(body)
    entry = Entry(
        n=prev.n + 1, at_ns=at_ns, event=event, detail=detail, prev=prev.hash, hash=link(prev.hash, digest),
        digest=digest,
    )  # fmt: skip
    return _canonical(body | {"prev": entry.prev, "hash": entry.hash}) + b"\n", entry


def read(line: bytes) -> Entry | None:
    """Return the entry in `line`; none if it is none. Its hash is not checked."""
    try:
        body = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(body, dict) or not _sound(body):
        return None
    return Entry(
        n=body["n"], at_ns=body["at_ns"], event=body["event"], detail=body["detail"], prev=body["prev"],
        hash=body["hash"], digest=digest_of(body),
    )  # fmt: skip


def verify(lines: Iterable[bytes], heads: Sequence[Head] = ()) -> Verdict:
    """Return what `lines` prove, given the heads that the cloud holds, in any order."""
    findings: list[Finding] = []
    entries = _entries(lines, findings)
    _links(entries, findings)
    anchored_to = _anchor({entry.n: entry for entry in entries}, heads, findings)
    first_fault = min((finding.n for finding in findings), default=None)
    if first_fault is not None:
        anchored_to = min(anchored_to, first_fault - 1)
    return Verdict(
        first=entries[0].n if entries else 0,
        last=max((entry.n for entry in entries), default=0),
        findings=tuple(sorted(findings, key=lambda finding: finding.n)),
        anchored_to=max(anchored_to, 0),
        unanchored=tuple(entry for entry in entries if entry.n > anchored_to),
    )


def _entries(lines: Iterable[bytes], findings: list[Finding]) -> list[Entry]:
    entries: list[Entry] = []
    for line in lines:
        entry = read(line)
        expected = entries[-1].n + 1 if entries else 1
        if entry is None:
            findings.append(Finding(fault=Fault.UNREADABLE, n=expected, what="the line is no entry"))
            continue
        if entry.hash != link(entry.prev, entry.digest):
            findings.append(Finding(fault=Fault.ALTERED, n=entry.n, what="the entry does not have the hash it bears"))
        entries.append(entry)
    return entries


def _links(entries: Sequence[Entry], findings: list[Finding]) -> None:
    """Compare each entry with the one before it; the chain may begin late only where an entry says so."""
    if entries and entries[0].n == 1 and entries[0].prev != GENESIS:
        findings.append(Finding(fault=Fault.BROKEN, n=1, what="the first entry continues another chain"))
    if entries and entries[0].n > _let_go(entries) + 1:
        what = f"entries {_let_go(entries) + 1} to {entries[0].n - 1} are missing"
        findings.append(Finding(fault=Fault.MISSING, n=_let_go(entries) + 1, what=what))
    for before, entry in itertools.pairwise(entries):
        if entry.n <= before.n:
            what = f"entry {entry.n} stands after entry {before.n}"
            findings.append(Finding(fault=Fault.REORDERED, n=entry.n, what=what))
        elif entry.n > before.n + 1:
            what = f"entries {before.n + 1} to {entry.n - 1} are missing"
            findings.append(Finding(fault=Fault.MISSING, n=before.n + 1, what=what))
        elif entry.prev != before.hash:
            what = f"entry {entry.n} does not continue entry {before.n}"
            findings.append(Finding(fault=Fault.BROKEN, n=entry.n, what=what))


def _let_go(entries: Sequence[Entry]) -> int:
    through = [entry.detail.get("through") for entry in entries if entry.event == LET_GO]
    return max((number for number in through if type(number) is int), default=0)


def _anchor(entries: Mapping[int, Entry], heads: Sequence[Head], findings: list[Finding]) -> int:
    last = max(entries, default=0)
    anchored_to = 0
    for head in heads:
        entry = entries.get(head.n)
        if entry is not None and entry.hash != head.hash:
            what = f"the cloud holds another hash of entry {head.n}: something at or before it was rewritten"
            findings.append(Finding(fault=Fault.REWRITTEN, n=head.n, what=what))
        elif entry is not None:
            anchored_to = max(anchored_to, head.n)
        elif head.n > last:
            what = f"the cloud holds the head of entry {head.n}: entries {last + 1} to {head.n} are missing"
            findings.append(Finding(fault=Fault.MISSING, n=last + 1, what=what))
    return anchored_to


def _sound(body: Mapping[str, Any]) -> bool:
    numbers = all(type(body.get(name)) is int for name in ("n", "at_ns"))
    links = all(_is_hash(body.get(name)) for name in _LINKS)
    return numbers and links and isinstance(body.get("event"), str) and isinstance(body.get("detail"), dict)


def _is_hash(value: object) -> bool:
    return isinstance(value, str) and len(value) == len(GENESIS) and set(value) <= set("0123456789abcdef")


def _canonical(body: Mapping[str, Any]) -> bytes:
    return json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()
