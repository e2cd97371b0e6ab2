"""Reading the SQLite store: pure functions over a read-only connection."""

from __future__ import annotations

from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final

import msgspec

if TYPE_CHECKING:
    import sqlite3

    from cloud_ingest.stores.base import Record, Selection

_FIRST: Final = -(1 << 63)
_LAST: Final = (1 << 63) - 1
_RAW: Final = "SELECT time_ns, field, value FROM value WHERE series = ? AND time_ns >= ? AND time_ns < ?"
# The bound stands inside: outside it, the planner would read all rows since then instead of one.
_NEWEST: Final = """
SELECT time_ns, field, value FROM value WHERE series = :series
AND time_ns = (SELECT max(time_ns) FROM value WHERE series = :series AND time_ns >= :since)
"""
# Floor also for times before 1970, as InfluxDB does.
_MEANS: Final = """
SELECT time_ns - ((time_ns % :every) + :every) % :every AS bucket, field, avg(value) FROM value
WHERE series = :series AND time_ns >= :since AND time_ns < :until GROUP BY bucket, field ORDER BY bucket
"""


def select(db: sqlite3.Connection, selection: Selection) -> list[Record]:
    """Return the selected rows, or bucket means, by time."""
    kinds: dict[int, tuple[str, str]] = {
        number: (name, kind)
        for number, name, kind in db.execute(
            "SELECT id, name, kind FROM field WHERE measurement = ?", (selection.measurement,)
        )
        if not selection.fields or name in selection.fields
    }
    if selection.every_ns is not None:
        kinds = {number: (name, kind) for number, (name, kind) in kinds.items() if kind == "float"}
    since = _FIRST if selection.since_ns is None else selection.since_ns
    until = _LAST if selection.until_ns is None else selection.until_ns
    records: list[Record] = []
    for series, tags in _series(db, selection):
        if selection.every_ns is None:
            cells = db.execute(_RAW, (series, since, until))
        else:
            cells = db.execute(_MEANS, {"series": series, "since": since, "until": until, "every": selection.every_ns})
        records.extend(_rows(cells, tags, kinds))
    records.sort(key=itemgetter("time_ns"))
    return records


def latest(db: sqlite3.Connection, measurement: str, since_ns: int | None = None) -> list[Record]:
    """Return the newest row of each series that has one since then: one step into the primary key for each."""
    since = _FIRST if since_ns is None else since_ns
    kinds = {
        number: (name, kind)
        for number, name, kind in db.execute("SELECT id, name, kind FROM field WHERE measurement = ?", (measurement,))
    }
    records: list[Record] = []
    for series, tags in db.execute("SELECT id, tags FROM series WHERE measurement = ?", (measurement,)).fetchall():
        cells = db.execute(_NEWEST, {"series": series, "since": since})
        records.extend(_rows(cells, msgspec.json.decode(tags), kinds))
    return records


def _series(db: sqlite3.Connection, selection: Selection) -> list[tuple[int, dict[str, str]]]:
    found = db.execute("SELECT id, tags FROM series WHERE measurement = ? ORDER BY key", (selection.measurement,))
    every = [(number, msgspec.json.decode(tags, type=dict[str, str])) for number, tags in found.fetchall()]
    return [(n, tags) for n, tags in every if all(tags.get(key, "") == value for key, value in selection.where)]


def _rows(cells: Any, tags: dict[str, str], kinds: dict[int, tuple[str, str]]) -> list[Record]:
    records: list[Record] = []
    current: Record | None = None
    for time_ns, number, value in cells:
        if number not in kinds:
            continue
        name, kind = kinds[number]
        if current is None or current["time_ns"] != time_ns:
            current = {"time_ns": time_ns, **tags}
            records.append(current)
        current[name] = bool(value) if kind == "bool" else value
    return records
