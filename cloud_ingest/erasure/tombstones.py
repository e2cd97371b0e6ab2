"""Tombstones: who was erased, as keyed hashes; kept longer than any buffer holds rows, so that none comes back."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from typing import TYPE_CHECKING, Final

import msgspec

from cloud_ingest.private import create_private
from telemetry.erasure import Erased, Erasure, to_ns

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

FILE_NAME: Final = "tombstones.sqlite"
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS tombstone (
    request TEXT PRIMARY KEY, site TEXT NOT NULL, erasure BLOB NOT NULL, added_ns INTEGER NOT NULL,
    until_ns INTEGER NOT NULL
) WITHOUT ROWID;
"""


class Tombstones:
    """Tells whether a handle was erased. One process writes while others read. Methods may raise sqlite3.Error."""

    def __init__(self, path: Path, *, now_ns: Callable[[], int] = time.time_ns) -> None:
        self._now_ns = now_ns
        create_private(path)
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=10)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=FULL")
        self._db.executescript(_SCHEMA)
        self._erased = Erased(())
        self._until_ns = 0
        self.reload()

    def __call__(self, handle: str) -> bool:
        """Tell whether rows of the handle are to be dropped."""
        if not self._erased:
            return False
        if self._now_ns() > self._until_ns:
            self.reload()
        return self._erased(handle)

    def add(self, site: str, erasure: Erasure) -> None:
        """Remember an erasure: effective at once, durable when this returns. One whose time is over is forgotten."""
        self._until_ns = max(self._until_ns, to_ns(erasure.keep_until))
        self._erased = Erased([*self.erasures(), erasure])
        self._db.execute(
            "INSERT OR REPLACE INTO tombstone VALUES (?, ?, ?, ?, ?)",
            (erasure.request, site, msgspec.json.encode(erasure), self._now_ns(), to_ns(erasure.keep_until)),
        )
        self.reload()

    def reload(self) -> None:
        """Read what is in the file; let go of what is over."""
        self._db.execute("DELETE FROM tombstone WHERE until_ns < ?", (self._now_ns(),))
        found = self._db.execute("SELECT min(until_ns) FROM tombstone").fetchone()
        self._until_ns = found[0] or 0
        self._erased = Erased(self.erasures())

    def erasures(self) -> list[Erasure]:
        """Return all that is remembered."""
        rows = self._db.execute("SELECT erasure FROM tombstone ORDER BY added_ns").fetchall()
        return [msgspec.json.decode(row[0], type=Erasure) for row in rows]

    def close(self) -> None:
        """Close the file."""
        with closing(self._db):
            pass
