"""The embedded store: one SQLite file, WAL, every commit fsynced, one row a field."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Final, TypeVar

import msgspec

from cloud_ingest.private import create_private, identity
from cloud_ingest.stores.base import Capabilities, Outcome, Record, Selection, StoreAbsent
from cloud_ingest.stores.sqlite_read import latest, select
from telemetry.errors import ConfigError, Problem, StoreBusy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from cloud_ingest.series import Row, Series
    from telemetry.sample import Value

_T = TypeVar("_T")
_log = logging.getLogger(__name__)
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS series (
    id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, measurement TEXT NOT NULL, tags TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS series_by_measurement ON series (measurement);
CREATE TABLE IF NOT EXISTS field (
    id INTEGER PRIMARY KEY, measurement TEXT NOT NULL, name TEXT NOT NULL, kind TEXT NOT NULL,
    UNIQUE (measurement, name)
);
CREATE TABLE IF NOT EXISTS value (
    series INTEGER NOT NULL, time_ns INTEGER NOT NULL, field INTEGER NOT NULL, value NOT NULL,
    PRIMARY KEY (series, time_ns, field)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS setting (name TEXT PRIMARY KEY, value) WITHOUT ROWID;
"""
_SUBJECTS: Final = "SELECT DISTINCT json_extract(tags, '$.subject') FROM series"
_SERIES_CACHE: Final = 100_000
_SWEEP_EVERY_S: Final = 3600.0
_BUSY_S: Final = 1.0
"""How long a lock is waited for: shorter than what is left of a stop in time."""
_LOG_BYTES: Final = 64_000_000
"""The write-ahead log is cut back to this after a long reader or a large deletion."""
_WRITE_DEADLINE_S: Final = 30.0
_READ_DEADLINE_S: Final = 120.0


class SqliteStore:
    """Store in a file. Writes go through one thread; readers have their own connections and never wait for it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._db: sqlite3.Connection | None = None
        self._writing = ThreadPoolExecutor(max_workers=1, thread_name_prefix="sqlite-write")
        self._reading = ThreadPoolExecutor(max_workers=2, thread_name_prefix="sqlite-read")
        self._series: dict[str, int] = {}
        self._fields: dict[tuple[str, str], tuple[int, str]] = {}
        self._swept_at = 0.0
        self._file: tuple[int, int] | None = None
        """Device and inode of the open file."""
        self._closing = False

    @property
    def name(self) -> str:
        """The URL."""
        return f"sqlite://{self._path}"

    @property
    def capabilities(self) -> Capabilities:
        """All that is asked for."""
        return Capabilities(durable=True, idempotent=True, strings=True, precision="ns", can_erase=True)

    async def prepare(self) -> None:
        """Create the file and its tables. Raises ConfigError if the folder cannot be written."""
        await self._in_writer(self._open)

    async def write(self, rows: Sequence[Row]) -> Outcome:
        """Write rows in one fsynced transaction; a field of another type than before refuses its row."""
        return await self._in_writer(lambda: self._write(rows))

    async def query(self, selection: Selection) -> list[Record]:
        """Return the selected rows by time."""
        return await self._in_reader(lambda db: select(db, selection))

    async def latest(self, measurement: str, *, since_ns: int | None = None) -> list[Record]:
        """Return the newest row of each series that has one since then."""
        return await self._in_reader(lambda db: latest(db, measurement, since_ns))

    async def delete_subject(self, subject: str) -> int:
        """Delete a subject's rows, overwriting them in the file; returns how many series there were."""
        return await self._in_writer(lambda: self._delete_subject(subject))

    async def subjects(self) -> list[str]:
        """Return the handle of everybody in the store."""
        return await self._in_reader(
            lambda db: [subject for (subject,) in db.execute(_SUBJECTS).fetchall() if subject is not None]
        )

    async def set_retention(self, seconds: int | None) -> None:
        """Keep rows for so long; swept at once and then hourly while rows are written."""
        await self._in_writer(lambda: self._set_retention(seconds))

    async def health(self) -> str:
        """Return SQLite's version after reading from the file."""
        await self._in_reader(lambda db: db.execute("SELECT count(*) FROM series").fetchone())
        return f"SQLite {sqlite3.sqlite_version}"

    async def close(self) -> None:
        """Wait for the write in hand, drop those behind it, and close the file."""
        self._closing = True
        await asyncio.get_running_loop().run_in_executor(self._writing, self._close)
        self._writing.shutdown(wait=True)
        self._reading.shutdown(wait=True)

    async def _in_writer(self, work: Callable[[], _T]) -> _T:
        def write() -> _T:
            if self._closing:
                raise StoreBusy(f"{self.name} is closed", retry_after_s=1.0)
            return work()

        return await self._run(self._writing, write, _WRITE_DEADLINE_S)

    async def _in_reader(self, work: Callable[[sqlite3.Connection], _T]) -> _T:
        def read() -> _T:
            # The parameter `mode=ro` is what keeps a reader from creating a file by a mistyped path.
            if not self._path.is_file():
                mend = "correct the path, or start `cloud-ingest run` with it"
                raise StoreAbsent(f"{self.name} does not exist → {mend}", retry_after_s=5.0)
            address = f"{self._path.absolute().as_uri()}?mode=ro"
            with closing(sqlite3.connect(address, uri=True, timeout=_BUSY_S)) as db:
                return work(db)

        return await self._run(self._reading, read, _READ_DEADLINE_S)

    async def _run(self, executor: ThreadPoolExecutor, work: Callable[[], _T], deadline_s: float) -> _T:
        try:
            async with asyncio.timeout(deadline_s):
                return await asyncio.get_running_loop().run_in_executor(executor, work)
        except TimeoutError as error:
            raise StoreBusy(f"{self.name} took longer than {deadline_s:g} s", retry_after_s=5.0) from error
        except sqlite3.OperationalError as error:
            # Locked, disk full, I/O error: rows are kept and tried again, nothing is refused for it.
            raise StoreBusy(f"{self.name}: {error}", retry_after_s=2.0) from error
        except sqlite3.DatabaseError as error:
            raise ConfigError(
                [Problem(where=self.name, what=f"not usable: {error}", mend="move the file away or restore it")]
            ) from error

    def _open(self) -> None:
        if self._db is not None:
            if self._file == identity(self._path):
                return
            # What is written to a deleted file is gone with this process, though each commit succeeds.
            _log.error(
                "%s was deleted or replaced while it was open: going on in the file that is there now", self.name
            )
            self._close()
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            create_private(self._path)
            db = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False, timeout=_BUSY_S)
        except (OSError, sqlite3.OperationalError) as error:
            raise ConfigError(
                [
                    Problem(
                        where=self.name, what=f"cannot be opened: {error}", mend="create the folder, or allow writing"
                    )
                ]
            ) from error
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=FULL")
        db.execute("PRAGMA secure_delete=ON")
        db.execute(f"PRAGMA journal_size_limit={_LOG_BYTES}")
        db.execute("PRAGMA cache_size=-65536")
        _create(db)
        self._db = db
        self._file = identity(self._path)

    def _close(self) -> None:
        db, self._db = self._db, None
        self._series.clear()
        self._fields.clear()
        if db is not None:
            db.close()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        self._open()
        if self._db is None:
            raise StoreBusy(f"{self.name} is closed", retry_after_s=1.0)
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield self._db
            self._db.execute("COMMIT")
        except BaseException:
            # Ids made in the lost transaction must not be remembered.
            self._series.clear()
            self._fields.clear()
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise

    def _write(self, rows: Sequence[Row]) -> Outcome:
        refused: dict[int, str] = {}
        cells: list[tuple[int, int, int, Value]] = []
        with self._transaction() as db:
            for index, row in enumerate(rows):
                reason = self._cells(db, row, cells)
                if reason is not None:
                    refused[index] = reason
            db.executemany("INSERT OR REPLACE INTO value (series, time_ns, field, value) VALUES (?,?,?,?)", cells)
        if time.monotonic() - self._swept_at > _SWEEP_EVERY_S:
            self._sweep()
        return Outcome(refused=refused)

    def _cells(self, db: sqlite3.Connection, row: Row, cells: list[tuple[int, int, int, Value]]) -> str | None:
        """Append the row's cells; or return why the row is refused, and append none."""
        start = len(cells)
        series = self._series.get(row.series.key)
        if series is None:
            series = self._series_id(db, row.series)
        measurement = row.series.measurement
        for name, value in row.fields.items():
            number, kind = self._fields.get((measurement, name)) or self._field(db, measurement, name, value)
            if kind != value.__class__.__name__:
                del cells[start:]
                return f"field {name!r} is {kind} in {measurement!r}, not {value.__class__.__name__}"
            cells.append((series, row.time_ns, number, value))
        return None

    def _series_id(self, db: sqlite3.Connection, series: Series) -> int:
        tags = msgspec.json.encode(dict(series.tags)).decode()
        db.execute(
            "INSERT OR IGNORE INTO series (key, measurement, tags) VALUES (?,?,?)",
            (series.key, series.measurement, tags),
        )
        number = int(db.execute("SELECT id FROM series WHERE key = ?", (series.key,)).fetchone()[0])
        if len(self._series) >= _SERIES_CACHE:
            self._series.clear()
        self._series[series.key] = number
        return number

    def _field(self, db: sqlite3.Connection, measurement: str, name: str, value: Value) -> tuple[int, str]:
        db.execute(
            "INSERT OR IGNORE INTO field (measurement, name, kind) VALUES (?,?,?)",
            (measurement, name, value.__class__.__name__),
        )
        found = db.execute(
            "SELECT id, kind FROM field WHERE measurement = ? AND name = ?", (measurement, name)
        ).fetchone()
        self._fields[measurement, name] = (int(found[0]), str(found[1]))
        return self._fields[measurement, name]

    def _delete_subject(self, subject: str) -> int:
        with self._transaction() as db:
            found = db.execute("SELECT id FROM series WHERE json_extract(tags, '$.subject') = ?", (subject,)).fetchall()
            db.executemany("DELETE FROM value WHERE series = ?", found)
            db.executemany("DELETE FROM series WHERE id = ?", found)
            # A page that was split keeps a stale copy of what it gave away. A fresh table has none, and the old
            # one's pages are overwritten as they are freed; the values beside it hold no handle.
            db.execute("CREATE TABLE fresh AS SELECT * FROM series")
            db.execute("DROP TABLE series")
            _create(db)
            db.execute("INSERT INTO series SELECT * FROM fresh")
            db.execute("DROP TABLE fresh")
            self._series.clear()
        # The rows must leave the write-ahead log as well.
        if self._db is not None and self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]:
            raise StoreBusy(f"{self.name} is being read: its write-ahead log cannot be emptied", retry_after_s=1.0)
        return len(found)

    def _set_retention(self, seconds: int | None) -> None:
        with self._transaction() as db:
            db.execute("INSERT OR REPLACE INTO setting VALUES ('retention_s', ?)", (seconds,))
        self._sweep()

    def _sweep(self) -> None:
        self._swept_at = time.monotonic()
        with self._transaction() as db:
            row = db.execute("SELECT value FROM setting WHERE name = 'retention_s'").fetchone()
            if row is None or row[0] is None:
                return
            oldest = time.time_ns() - int(row[0]) * 1_000_000_000
            for (series,) in db.execute("SELECT id FROM series").fetchall():
                db.execute("DELETE FROM value WHERE series = ? AND time_ns < ?", (series, oldest))


def _create(db: sqlite3.Connection) -> None:
    """Make what is missing; statement by statement, since a script would commit a transaction."""
    for statement in _SCHEMA.split(";"):
        db.execute(statement)
