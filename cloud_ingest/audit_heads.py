"""Heads of the gateways' audit chains, as health told them: kept, followed, and flagged when a chain was rewritten.

`follow` is pure; `AuditHeads` keeps its answers in `audit.sqlite`.
"""

from __future__ import annotations

import hashlib
import logging
import sqlite3
import time
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Final

import msgspec

from cloud_ingest.private import create_private

if TYPE_CHECKING:
    from pathlib import Path

    from telemetry.counters import Counters

_log = logging.getLogger(__name__)
FILE_NAME: Final = "audit.sqlite"
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS head (
    site TEXT NOT NULL,
    gateway TEXT NOT NULL,
    n INTEGER NOT NULL,
    hash TEXT NOT NULL,
    at_ns INTEGER NOT NULL,
    step TEXT NOT NULL,
    PRIMARY KEY (site, gateway, n, hash)
) WITHOUT ROWID;
"""
_KEPT_HEADS: Final = 10_000
"""Of each gateway; what is audited is rare, so these are years."""
_KEPT_FLAGS: Final = 1000
"""Of each gateway, the first ones: more do not make it more suspect."""
_MOST_GATEWAYS: Final = 100_000

Hash = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """What a health document says of the audit chain."""

    n: Annotated[int, msgspec.Meta(ge=0)]
    hash: Hash
    digests: Annotated[list[Hash], msgspec.Meta(max_length=64)] = []
    """Digests of the last entries, the newest last."""


class Step(StrEnum):
    """How a head that was told follows the one that is held."""

    FIRST = "first"
    SAME = "same"
    CONTINUED = "continued"
    """The digests lead from the held head to the new one."""
    GAP = "gap"
    """Too many entries came in between to be followed; `edge-agent privacy audit verify` can tell."""
    REWRITTEN = "rewritten"
    """The chain does not lead from the held head to the new one."""
    SHORTENED = "shortened"
    """The chain ends before the held head."""


FLAGGED: Final = frozenset({Step.REWRITTEN, Step.SHORTENED})


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldHead:
    """A head of one gateway's chain, and when it was told first."""

    site: str
    gateway: str
    n: int
    hash: str
    at_ns: int
    step: Step


def follow(held: HeldHead | None, told: Told) -> Step:
    """Return how `told` follows `held`."""
    if held is None:
        return Step.FIRST
    if told.n < held.n:
        return Step.SHORTENED
    if told.n == held.n:
        return Step.SAME if told.hash == held.hash else Step.REWRITTEN
    new = told.n - held.n
    if new > len(told.digests):
        return Step.GAP
    reached = held.hash
    for digest in told.digests[-new:]:
        reached = hashlib.sha256(bytes.fromhex(reached) + bytes.fromhex(digest)).hexdigest()
    return Step.CONTINUED if reached == told.hash else Step.REWRITTEN


class AuditHeads:
    """All heads ever told. A flagged one is kept too, and the chain is followed from it on; the flag stays."""

    def __init__(self, path: Path, *, counters: Counters) -> None:
        create_private(path)
        self._counters = counters
        self._database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._database.execute("PRAGMA journal_mode=WAL")
        self._database.execute("PRAGMA synchronous=FULL")
        self._database.executescript(_SCHEMA)
        self._newest = {(head.site, head.gateway): head for head in self._all("ORDER BY at_ns")}

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def note(self, site: str, gateway: str, told: Told, *, at_ns: int | None = None) -> Step:
        """Take note of a head; each step but `same` is counted as `audit.<step>`, and kept."""
        key = (site, gateway)
        held = self._newest.get(key)
        step = follow(held, told)
        if step is Step.SAME:
            return step
        if held is None and len(self._newest) >= _MOST_GATEWAYS:
            self._counters.add("audit.too_many_gateways")
            return step
        self._counters.add(f"audit.{step}")
        if step in FLAGGED and held is not None:
            _log.error(
                "gateway %s/%s: its audit log was %s (entry %d was held, entry %d is told) → look at that gateway: "
                "edge-agent privacy audit verify", site, gateway, step, held.n, told.n,
            )  # fmt: skip
        head = HeldHead(site=site, gateway=gateway, n=told.n, hash=told.hash, at_ns=at_ns or time.time_ns(), step=step)
        self._newest[key] = head
        self._keep(head)
        return step

    def heads(self, site: str, gateway: str) -> list[HeldHead]:
        """Return a gateway's heads in the order of their telling."""
        return self._all("WHERE site = ? AND gateway = ? ORDER BY at_ns, n", site, gateway)

    def flags(self) -> list[HeldHead]:
        """Return the heads that do not follow the ones before them."""
        return self._all("WHERE step IN ('rewritten', 'shortened') ORDER BY at_ns")

    def newest(self) -> list[HeldHead]:
        """Return the last head of each gateway."""
        return list(self._newest.values())

    def _keep(self, head: HeldHead) -> None:
        try:
            self._database.execute(
                "INSERT OR IGNORE INTO head VALUES (?, ?, ?, ?, ?, ?)",
                (head.site, head.gateway, head.n, head.hash, head.at_ns, head.step),
            )
            self._database.execute(
                "DELETE FROM head WHERE site = ?1 AND gateway = ?2 AND step NOT IN ('rewritten', 'shortened')"
                " AND at_ns < (SELECT at_ns FROM head WHERE site = ?1 AND gateway = ?2"
                " ORDER BY at_ns DESC LIMIT 1 OFFSET ?3)",
                (head.site, head.gateway, _KEPT_HEADS),
            )
            if head.step in FLAGGED:
                self._database.execute(
                    "DELETE FROM head WHERE site = ?1 AND gateway = ?2 AND step IN ('rewritten', 'shortened')"
                    " AND at_ns > (SELECT at_ns FROM head WHERE site = ?1 AND gateway = ?2"
                    " AND step IN ('rewritten', 'shortened') ORDER BY at_ns LIMIT 1 OFFSET ?3)",
                    (head.site, head.gateway, _KEPT_FLAGS - 1),
                )
        except sqlite3.Error as error:
            self._counters.add("audit.unwritten")
            _log.error("the head of an audit log cannot be kept: %s", error)

    def _all(self, clause: str, *values: str) -> list[HeldHead]:
        query = f"SELECT site, gateway, n, hash, at_ns, step FROM head {clause}"  # noqa: S608 - clauses of ours
        return [
            HeldHead(site=site, gateway=gateway, n=n, hash=hash_, at_ns=at_ns, step=Step(step))
            for site, gateway, n, hash_, at_ns, step in self._database.execute(query, values)
        ]
