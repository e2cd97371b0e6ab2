"""Dead letters: what could not be stored, on disk before anybody is told, bounded in bytes, each drop counted."""

from __future__ import annotations

import logging
import sqlite3
import time
from contextlib import closing
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING, Final

from cloud_ingest.private import create_private, identity

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from telemetry.counters import Counters

_log = logging.getLogger(__name__)
FILE_NAME: Final = "deadletter.sqlite"
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS letter (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    digest BLOB NOT NULL UNIQUE,
    first_ns INTEGER NOT NULL,
    last_ns INTEGER NOT NULL,
    times INTEGER NOT NULL,
    topic TEXT NOT NULL,
    reason TEXT NOT NULL,
    size INTEGER NOT NULL,
    payload BLOB NOT NULL
);
"""
_LIST: Final = "SELECT id, first_ns, last_ns, times, topic, reason, size FROM letter"
_OVERHEAD: Final = 256
"""Bytes a letter takes beside its payload, topic and reason: keeps floods of tiny ones bounded too."""
_COST: Final = f"(size + length(topic) + length(reason) + {_OVERHEAD})"
_OLDEST: Final = f"SELECT id, {_COST} FROM letter ORDER BY id LIMIT 1"  # noqa: S608 - constants of ours
_TOTAL: Final = f"SELECT coalesce(sum({_COST}), 0) FROM letter"  # noqa: S608 - constants of ours


@dataclass(frozen=True, slots=True, kw_only=True)
class Letter:
    """A message, or the refused samples of one as a batch of their own, and why it was refused."""

    topic: str
    payload: bytes
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Filed:
    """A letter on disk."""

    id: int
    first_ns: int
    last_ns: int
    times: int
    """How often the same letter came."""
    topic: str
    reason: str
    size: int
    """Bytes of the payload."""


class DeadLetters:
    """The file of dead letters. Blocking: call from a thread. Every method may raise sqlite3.Error."""

    def __init__(
        self, path: Path, *, max_bytes: int, counters: Counters, clean: Callable[[bytes], bytes | None] | None = None
    ) -> None:
        self._clean = clean
        """Takes rows of erased people out of a payload, see `rewrite`."""
        self._path = path
        self._max_bytes = max_bytes
        self._counters = counters
        self._open()

    def _open(self) -> None:
        create_private(self._path)
        self._db = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False, timeout=10)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=FULL")
        self._db.execute("PRAGMA secure_delete=ON")
        self._db.executescript(_SCHEMA)
        self._file = identity(self._path)

    def add(self, letters: Sequence[Letter]) -> None:
        """Put `letters` on disk, durably, in one transaction; the oldest make room and are counted."""
        if not letters:
            return
        if self._file != identity(self._path):
            # `refused` may only be said of letters that are still there when this process is not.
            _log.error(
                "%s was deleted or replaced while it was open: going on in the file that is there now", self._path
            )
            self._db.close()
            self._open()
        now_ns = time.time_ns()
        self._db.execute("BEGIN IMMEDIATE")
        try:
            for letter in letters:
                self._add_one(letter, now_ns)
            dropped = self._make_room()
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:  # a full disk makes SQLite roll back by itself: keep its error, not ours
                self._db.execute("ROLLBACK")
            raise
        self._counters.add("deadletter.filed", len(letters))
        if dropped:
            self._counters.add("deadletter.dropped_letters", dropped)

    def rewrite(self, change: Callable[[bytes], bytes | None]) -> int:
        """Put `change(payload)` in place of each payload, none: remove the letter; return how many it changed.

        What was there before is in no byte of the file or its log afterwards.
        """
        changed = 0
        self._db.execute("BEGIN IMMEDIATE")
        try:
            for (number,) in self._db.execute("SELECT id FROM letter").fetchall():
                topic, reason, payload = self._db.execute(
                    "SELECT topic, reason, payload FROM letter WHERE id = ?", (number,)
                ).fetchone()
                fresh = change(payload)
                if fresh == payload:
                    continue
                changed += 1
                self._db.execute("DELETE FROM letter WHERE id = ?", (number,)) if fresh is None else self._db.execute(
                    "UPDATE OR REPLACE letter SET payload = ?, size = ?, digest = ? WHERE id = ?",
                    (fresh, len(fresh), _digest(Letter(topic=topic, payload=fresh, reason=reason)), number),
                )
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise
        self._db.execute("VACUUM")
        if self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]:
            raise sqlite3.OperationalError("the write-ahead log is in use and cannot be emptied now")
        return changed

    def _add_one(self, letter: Letter, now_ns: int) -> None:
        payload = letter.payload if self._clean is None else self._clean(letter.payload)
        if payload is None:
            # Nothing of it may be kept; that there was something stays on record.
            payload = b""
        letter = Letter(topic=letter.topic, payload=payload, reason=letter.reason)
        digest = _digest(letter)
        self._db.execute(
            "INSERT INTO letter (digest, first_ns, last_ns, times, topic, reason, size, payload)"
            " VALUES (?, ?, ?, 1, ?, ?, ?, ?)"
            " ON CONFLICT (digest) DO UPDATE SET times = times + 1, last_ns = excluded.last_ns",
            (digest, now_ns, now_ns, letter.topic, letter.reason, len(letter.payload), letter.payload),
        )

    def _make_room(self) -> int:
        over = self.total_bytes() - self._max_bytes
        dropped = 0
        while over > 0:
            row = self._db.execute(_OLDEST).fetchone()
            if row is None:
                break
            self._db.execute("DELETE FROM letter WHERE id = ?", (row[0],))
            over -= row[1]
            dropped += 1
        return dropped

    def total_bytes(self) -> int:
        """Return the bytes that count against the cap."""
        return int(self._db.execute(_TOTAL).fetchone()[0])

    def entries(self) -> list[Filed]:
        """Return all letters without their payloads, oldest first."""
        return [_filed(row) for row in self._db.execute(f"{_LIST} ORDER BY id")]

    def get(self, number: int) -> tuple[Filed, bytes] | None:
        """Return one letter and its payload."""
        row = self._db.execute(f"{_LIST} WHERE id = ?", (number,)).fetchone()
        if row is None:
            return None
        payload = self._db.execute("SELECT payload FROM letter WHERE id = ?", (number,)).fetchone()[0]
        return _filed(row), bytes(payload)

    def remove(self, numbers: Sequence[int]) -> int:
        """Delete letters; returns how many there were."""
        self._db.execute("BEGIN IMMEDIATE")
        cursor = self._db.executemany("DELETE FROM letter WHERE id = ?", [(number,) for number in numbers])
        self._db.execute("COMMIT")
        return cursor.rowcount

    def close(self) -> None:
        """Close the file."""
        with closing(self._db):
            pass


def _digest(letter: Letter) -> bytes:
    content = "\0".join((letter.topic.rpartition("/")[0], letter.reason)).encode() + b"\0" + letter.payload
    return blake2b(content, digest_size=16).digest()


def _filed(row: tuple[int, int, int, int, str, str, int]) -> Filed:
    number, first_ns, last_ns, times, topic, reason, size = row
    return Filed(id=number, first_ns=first_ns, last_ns=last_ns, times=times, topic=topic, reason=reason, size=size)
