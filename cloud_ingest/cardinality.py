"""Cardinality guard: how many series and field names a gateway may add, and a site may have; remembered on disk.

Each new one costs a database memory for as long as it keeps rows. A gateway that was taken over could invent
devices until the database falls; here it comes as far as its own limit, while all that is known goes on.

A person's series stands here as a keyed hash only, and an erasure makes the guard forget all people of the site.
"""

from __future__ import annotations

import secrets
import sqlite3
import time
from contextlib import closing
from dataclasses import dataclass, field
from enum import IntEnum
from hashlib import blake2b
from typing import TYPE_CHECKING, Final

from cloud_ingest.private import create_private

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from cloud_ingest.settings import SeriesSettings
    from telemetry.counters import Counters

FILE_NAME: Final = "series.sqlite"
_HOUR_NS: Final = 3600 * 10**9
_DAY_HOURS: Final = 24
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS secret (key BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS known (
    id INTEGER PRIMARY KEY, kind INTEGER NOT NULL, site TEXT NOT NULL, seen_day INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS added (
    gateway TEXT NOT NULL, kind INTEGER NOT NULL, hour INTEGER NOT NULL, count INTEGER NOT NULL,
    PRIMARY KEY (gateway, kind, hour)
) WITHOUT ROWID;
"""


class Kind(IntEnum):
    """What is counted apart, since a school has more people than devices."""

    DEVICE = 0
    PERSON = 1
    FIELD = 2


_WHAT: Final = {Kind.DEVICE: "devices", Kind.PERSON: "people", Kind.FIELD: "fields"}
_EVERYWHERE: Final = ""
"""The site of field names: a measurement has its fields once for all sites."""


@dataclass(slots=True, kw_only=True)
class Changes:
    """What has to be written."""

    known: dict[int, tuple[Kind, str, int]] = field(default_factory=dict)
    added: dict[tuple[str, Kind, int], int] = field(default_factory=dict)


class Guard:
    """`admit` and `take_changes` are for the event loop, `commit` and `forget_people` for a thread at a time."""

    def __init__(
        self, path: Path, limits: SeriesSettings, counters: Counters, *, now_ns: Callable[[], int] = time.time_ns
    ) -> None:
        self._limits = {
            Kind.DEVICE: (limits.devices_per_hour, limits.devices_per_day, limits.devices_per_site),
            Kind.PERSON: (limits.people_per_hour, limits.people_per_day, limits.people_per_site),
            Kind.FIELD: (limits.fields_per_day, limits.fields_per_day, limits.fields),
        }
        self._forget_days = limits.forget_days
        self._counters = counters
        self._now_ns = now_ns
        try:
            self._open(path)
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError):
                raise
            # A memory of hashes is not worth a refused start: all series are learned anew.
            counters.add("series.lost_memories")
            path.replace(path.with_name(f"{path.name}.damaged"))
            self._open(path)

    def _open(self, path: Path) -> None:
        create_private(path)
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=10)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=NORMAL")
        self._db.execute("PRAGMA secure_delete=ON")
        self._db.executescript(_SCHEMA)
        found = self._db.execute("SELECT key FROM secret").fetchone()
        self._key: bytes = found[0] if found else secrets.token_bytes(16)
        if found is None:
            self._db.execute("INSERT INTO secret VALUES (?)", (self._key,))
        self._reader = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._changes = Changes()
        self._writing = Changes()
        self._added: dict[tuple[str, Kind], dict[int, int]] = {}
        for gateway, kind, hour, count in self._db.execute("SELECT gateway, kind, hour, count FROM added"):
            self._added.setdefault((gateway, Kind(kind)), {})[hour] = count
        self._today = self._now_ns() // _HOUR_NS // _DAY_HOURS
        self._forget_old()

    def admit(self, *, site: str, gateway: str, series: str, person: bool) -> str | None:
        """Return why a series must not be written; none if it may. Never quotes it."""
        kind = Kind.PERSON if person else Kind.DEVICE
        return self._admit(kind, site=site, gateway=f"{site}/{gateway}", name=series)

    def admit_fields(self, *, site: str, gateway: str, measurement: str, points: Iterable[str]) -> str | None:
        """Return why a measurement must not get one of these fields; none if it may."""
        for point in points:
            name = f"{measurement}\0{point}"
            reason = self._admit(Kind.FIELD, site=_EVERYWHERE, gateway=f"{site}/{gateway}", name=name)
            if reason is not None:
                return reason
        return None

    def _admit(self, kind: Kind, *, site: str, gateway: str, name: str) -> str | None:
        hour = self._now_ns() // _HOUR_NS
        today = hour // _DAY_HOURS
        number = int.from_bytes(blake2b(name.encode(), digest_size=8, key=self._key).digest(), signed=True)
        seen = self._seen_day(number)
        if seen is None:
            reason = self._why_not(kind, site, gateway, hour)
            if reason is not None:
                self._counters.add(f"series.refused_{_WHAT[kind]}")
                return reason
            self._totals[kind, site] = self._totals.get((kind, site), 0) + 1
            hours = self._added.setdefault((gateway, kind), {})
            hours[hour] = self._changes.added[gateway, kind, hour] = hours.get(hour, 0) + 1
            self._counters.add(f"series.new_{_WHAT[kind]}")
        if seen != today:
            self._changes.known[number] = (kind, site, today)
        return None

    def _seen_day(self, number: int) -> int | None:
        for changes in (self._changes, self._writing):
            if number in changes.known:
                return changes.known[number][2]
        row = self._reader.execute("SELECT seen_day FROM known WHERE id = ?", (number,)).fetchone()
        return int(row[0]) if row else None

    def _why_not(self, kind: Kind, site: str, gateway: str, hour: int) -> str | None:
        what = _WHAT[kind]
        per_hour, per_day, total = self._limits[kind]
        hours = self._added.get((gateway, kind), {})
        for old in [one for one in hours if one <= hour - _DAY_HOURS]:
            del hours[old]
        name, of = ("series", "site") if site else ("field names", "database")
        raise_it = "if they are right, raise {} and replay this letter; if not, look after the gateway"
        if self._totals.get((kind, site), 0) >= total:
            setting = f"series.{what}_per_site" if site else "series.fields"
            return f"the {of} has its {total} {name} of {what}: those known go on; {raise_it.format(setting)}"
        if sum(hours.values()) >= per_day:
            mend = raise_it.format(f"series.{what}_per_day")
            return f"the gateway added {per_day} {name} of {what} within a day: those known go on; {mend}"
        if hours.get(hour, 0) >= per_hour:
            mend = raise_it.format(f"series.{what}_per_hour")
            return f"the gateway added {per_hour} {name} of {what} within an hour: those known go on; {mend}"
        return None

    def take_changes(self) -> Changes:
        """Return what `commit` has to write; call on the event loop."""
        self._writing, self._changes = self._changes, Changes()
        return self._writing

    def commit(self, changes: Changes) -> None:
        """Write `changes` in one transaction. Raises sqlite3.Error; what is not written stays known until it is."""
        if changes.known or changes.added:
            self._write(changes)
        today = self._now_ns() // _HOUR_NS // _DAY_HOURS
        if today != self._today:
            self._today = today
            self._forget_old()

    def _write(self, changes: Changes) -> None:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            self._db.executemany(
                "INSERT OR REPLACE INTO known (id, kind, site, seen_day) VALUES (?,?,?,?)",
                [(number, *entry) for number, entry in changes.known.items()],
            )
            self._db.executemany(
                "INSERT OR REPLACE INTO added (gateway, kind, hour, count) VALUES (?,?,?,?)",
                [(*key, count) for key, count in changes.added.items()],
            )
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise

    def forget_people(self, site: str) -> None:
        """Forget everybody of a site, in every byte of the file: nobody can tell whose hash is whose."""
        self._db.execute("DELETE FROM known WHERE kind = ? AND site = ?", (Kind.PERSON, site))
        self._totals.pop((Kind.PERSON, site), None)
        if self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]:
            raise sqlite3.OperationalError("the write-ahead log of the series is in use and cannot be emptied now")

    def _forget_old(self) -> None:
        self._db.execute("DELETE FROM known WHERE seen_day < ?", (self._today - self._forget_days,))
        self._db.execute("DELETE FROM added WHERE hour <= ?", (self._now_ns() // _HOUR_NS - _DAY_HOURS,))
        self._totals: dict[tuple[Kind, str], int] = {
            (Kind(kind), site): count
            for kind, site, count in self._db.execute("SELECT kind, site, count(*) FROM known GROUP BY kind, site")
        }

    def close(self) -> None:
        """Write what is left and close the file."""
        with closing(self._reader), closing(self._db):
            self.commit(self.take_changes())
