"""Erasing from the stores: finds by keyed hash, deletes, and looks again."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol, TypeVar, runtime_checkable

from cloud_ingest.erasure.cleaning import handles_in
from cloud_ingest.erasure.state import StoreState
from cloud_ingest.rows import MEASUREMENTS
from cloud_ingest.stores.base import Selection
from cloud_ingest.stores.opening import open_store
from telemetry.errors import StoreBusy
from telemetry.sample import DataClass

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from cloud_ingest.stores.base import Store

T = TypeVar("T")
PATIENCE_S: Final = 60.0
_LONGEST_PAUSE_S: Final = 5.0
_SQLITE: Final = "sqlite://"
_CHUNK: Final = 1 << 20
_OVERLAP: Final = 64
_INFLUX1_REMAINS: Final = (
    "InfluxDB 1 drops the rows from its files at its next full compaction (after"
    " compact-full-write-cold-duration, 4 h), and the name of the series only when its list is made anew:"
    " stop influxd, remove data/<database>/_series (with index-version tsi1 each shard's index folder too),"
    " start it; see docs/guides/erasure.md"
)
_INFLUX2_REMAINS: Final = "InfluxDB 2 drops the rows from its files at its next full compaction"


async def empty(url: str, who: Callable[[str], bool], handles: Iterable[str], before: StoreState | None) -> StoreState:
    """Erase everybody `who` means from one store, and `handles`, and verify it; a busy store is waited for.

    Raises StoreBusy if it stays busy, AuthError or ConfigError.
    """
    store = open_store(url)
    found = before or StoreState()
    try:
        path = _file_of(store)
        if path is not None and not path.is_file():
            found.verified, found.verified_at_ns = "there is no such file", time.time_ns()
            return found
        await _patiently(store.prepare)
        reason = store.capabilities.why_not(DataClass.PERSONAL)
        if reason is not None:
            found.verified, found.verified_at_ns = f"never gets rows about people: {reason}", time.time_ns()
            return found
        theirs = {*handles, *(subject for subject in await _patiently(lambda: subjects(store)) if who(subject))}
        for handle in sorted(theirs):
            for measurement, rows in (await _patiently(lambda: rows_of(store, handle))).items():  # noqa: B023
                found.found_rows[measurement] = found.found_rows.get(measurement, 0) + rows
            found.series += await _patiently(lambda: store.delete_subject(handle))  # noqa: B023
        found.erased_at_ns = time.time_ns()
        theirs |= {subject for subject in await _patiently(lambda: subjects(store)) if who(subject)}
        # A server may still name somebody who has no row any more.
        left = {handle for handle in theirs if await _patiently(lambda: rows_of(store, handle))}  # noqa: B023
        traces = await asyncio.to_thread(_traces, store, who)
        found.verified = "asked for their rows and series: none" + (
            "" if traces is None else f"; read all bytes of the file and its log: {traces} traces"
        )
        found.verified_at_ns = None if left or traces else time.time_ns()
        found.remains = _remains(url)
        return found
    finally:
        await store.close()


@runtime_checkable
class Lists(Protocol):
    """A store that can name everybody in it without reading their rows."""

    async def subjects(self) -> list[str]:
        """Return the handle of everybody in the store."""
        ...


async def subjects(store: Store) -> set[str]:
    """Return the handle of everybody in the store."""
    if isinstance(store, Lists):
        return set(await store.subjects())
    found: set[str] = set()
    for measurement in sorted(MEASUREMENTS):
        found |= {record["subject"] for record in await store.latest(measurement) if "subject" in record}
    return found


async def rows_of(store: Store, handle: str) -> dict[str, int]:
    """Return how many rows a person has, by measurement; none stands for none."""
    counts = {
        measurement: len(await store.query(Selection(measurement=measurement, where=(("subject", handle),))))
        for measurement in sorted(MEASUREMENTS)
    }
    return {measurement: count for measurement, count in counts.items() if count}


def scan(path: Path, who: Callable[[str], bool]) -> list[str]:
    """Return the files below `path` (or itself) whose bytes hold a handle of `who` as text."""
    files = sorted(one for one in path.rglob("*") if one.is_file()) if path.is_dir() else [path]
    return [str(file) for file in files if file.exists() and _holds(file, who)]


def _holds(file: Path, who: Callable[[str], bool]) -> bool:
    tail = b""
    with file.open("rb") as opened:
        while chunk := opened.read(_CHUNK):
            if any(who(handle) for handle in handles_in(tail + chunk)):
                return True
            tail = chunk[-_OVERLAP:]
    return False


def _traces(store: Store, who: Callable[[str], bool]) -> int | None:
    """Return how many of a local store's files hold a handle of theirs; none for a server."""
    path = _file_of(store)
    if path is None:
        return None
    return sum(len(scan(path.with_name(path.name + end), who)) for end in ("", "-wal"))


def _file_of(store: Store) -> Path | None:
    return Path(store.name.removeprefix(_SQLITE)) if store.name.startswith(_SQLITE) else None


def _remains(url: str) -> str:
    scheme = url.partition("://")[0]
    return {"influx1": _INFLUX1_REMAINS, "influx1s": _INFLUX1_REMAINS}.get(
        scheme, _INFLUX2_REMAINS if scheme.startswith("influx2") else ""
    )


async def _patiently(work: Callable[[], Awaitable[T]]) -> T:
    """Return what `work` returns, asking again while the store is busy, for a minute."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            return await work()
        except StoreBusy as busy:
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(min(busy.retry_after_s, _LONGEST_PAUSE_S))
