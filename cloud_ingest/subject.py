"""A person's copy: everything that is stored under his handle, from all stores and the dead letters."""

from __future__ import annotations

import sqlite3
import sys
import time
from contextlib import closing
from typing import TYPE_CHECKING, Any, Final

import msgspec

from cloud_ingest.deadletter import FILE_NAME as LETTERS_NAME
from cloud_ingest.deadletter import DeadLetters
from cloud_ingest.rows import MEASUREMENTS
from cloud_ingest.stores.base import Selection
from cloud_ingest.stores.opening import open_store
from telemetry.batch import decode_batch, unpack
from telemetry.counters import Counters
from telemetry.errors import ConfigError, Problem, ProtocolError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from cloud_ingest.settings import Settings

SCHEMA: Final = "campus.subject-export/1"


async def collect(settings: Settings, handle: str) -> dict[str, Any]:
    """Return the copy. Raises StoreBusy, AuthError or ConfigError if a store cannot be asked: then it is none."""
    stores: dict[str, dict[str, Any]] = {}
    for url in settings.store.urls:
        store = open_store(url)
        try:
            rows = {
                measurement: await store.query(Selection(measurement=measurement, where=(("subject", handle),)))
                for measurement in sorted(MEASUREMENTS)
            }
            stores[store.name] = {measurement: found for measurement, found in rows.items() if found}
        finally:
            await store.close()
    return {
        "schema": SCHEMA,
        "subject": handle,
        "made_at_ns": time.time_ns(),
        "stores": stores,
        "dead_letters": list(_letters(settings.data, handle)),
    }


def count(copy: dict[str, Any]) -> int:
    """Return how many rows a copy holds."""
    stored = sum(len(rows) for found in copy["stores"].values() for rows in found.values())
    return stored + len(copy["dead_letters"])


def _letters(data: Path, handle: str) -> Iterator[dict[str, Any]]:
    path = data / LETTERS_NAME
    if not path.is_file():
        return
    try:
        with closing(DeadLetters(path, max_bytes=sys.maxsize, counters=Counters())) as dead:
            for filed in dead.entries():
                found = dead.get(filed.id)
                for sample in _samples(found[1] if found is not None else b"", handle):
                    yield {"letter": filed.id, "reason": filed.reason, **sample}
    except (OSError, sqlite3.Error) as error:
        problem = Problem(where=str(path), what=f"cannot be read: {error}", mend="allow it, or restore the file")
        raise ConfigError([problem]) from error


def _samples(payload: bytes, handle: str) -> Iterator[dict[str, Any]]:
    try:
        batch = decode_batch(unpack(payload))
    except ProtocolError:
        return
    for block in batch.devices:
        for sample in block.samples:
            if sample.subject == handle:
                yield {
                    "measurement": block.measurement,
                    "room": block.room,
                    "device": block.device,
                    "time_ns": sample.acquired_at_ns,
                    "values": sample.values,
                    "bad": {} if sample.bad is None else msgspec.to_builtins(sample.bad),
                }
