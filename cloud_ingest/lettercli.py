"""The work of `cloud-ingest deadletter`: list, show, replay, purge."""

from __future__ import annotations

import sqlite3
import sys
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec

from cloud_ingest.access import AccessLog
from cloud_ingest.deadletter import FILE_NAME, DeadLetters, Filed
from cloud_ingest.decode import Accepted, Rejected, decode
from cloud_ingest.erasure.cleaning import handles_in
from cloud_ingest.erasure.tombstones import FILE_NAME as TOMBSTONES_NAME
from cloud_ingest.erasure.tombstones import Tombstones
from cloud_ingest.letters import CONFLICT
from cloud_ingest.revoked import REASON as REVOKED
from cloud_ingest.rows import RowMaker
from cloud_ingest.stores.opening import open_store
from telemetry.batch import unpack
from telemetry.counters import Counters
from telemetry.errors import ConfigError, Problem, ProtocolError, StoreRejected

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from cloud_ingest.stores.base import Store
    from telemetry.sample import DataClass


@contextmanager
def _opened(data: Path) -> Iterator[DeadLetters]:
    path = data / FILE_NAME
    if not path.is_file():
        problem = Problem(where=str(path), what="does not exist", mend="give the --data of `cloud-ingest run`")
        raise ConfigError([problem])
    try:
        # No letter is added here, so the cap is of no matter.
        with closing(DeadLetters(path, max_bytes=sys.maxsize, counters=Counters())) as dead:
            yield dead
    except (OSError, sqlite3.Error) as error:
        problem = Problem(where=str(path), what=f"cannot be used: {error}", mend="allow it, or restore the file")
        raise ConfigError([problem]) from error


def _print(document: Any) -> None:
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(document), indent=2).decode() + "\n")


def _describe(filed: Filed) -> dict[str, Any]:
    return {name: getattr(filed, name) for name in ("id", "first_ns", "last_ns", "times", "topic", "reason", "size")}


async def list_all(data: Path, *, as_json: bool) -> None:
    """Print all letters without their content."""
    with _opened(data) as dead:
        entries = dead.entries()
    if as_json:
        _print([_describe(filed) for filed in entries])
        return
    for filed in entries:
        when = datetime.fromtimestamp(filed.last_ns / 1e9, tz=UTC).isoformat(timespec="seconds")
        sys.stdout.write(f"{filed.id:>6}  {when}  {filed.times} times  {filed.size} B  {filed.topic}  {filed.reason}\n")
    sys.stdout.write(f"{len(entries)} dead letters\n")


async def show_one(data: Path, number: int, *, as_json: bool) -> int:
    """Print one letter; returns the exit code."""
    with _opened(data) as dead:
        found = dead.get(number)
    if found is None:
        sys.stderr.write(f"cloud-ingest: there is no dead letter {number}; `deadletter list` names them\n")
        return 1
    filed, payload = found
    try:
        plain = unpack(payload)
    except ProtocolError:
        plain = payload
    if any(handles_in(plain)):
        AccessLog(data).write("deadletter show", handle=None, reason="unspecified", letter=number)
    text = plain.decode(errors="backslashreplace")
    if as_json:
        _print({**_describe(filed), "content": text})
    else:
        sys.stdout.write("".join(f"{name}: {value}\n" for name, value in _describe(filed).items()) + f"\n{text}\n")
    return 0


async def replay(
    data: Path, url: str, routes: Mapping[DataClass, str], numbers: Sequence[int], *, as_json: bool
) -> int:
    """Store letters again, removing those that are stored; returns 1 if some are left."""
    results: list[dict[str, Any]] = []
    stores: dict[str, Store] = {}
    tombstones = Tombstones(data / TOMBSTONES_NAME) if (data / TOMBSTONES_NAME).is_file() else None
    maker = RowMaker(erased=tombstones)
    try:
        with _opened(data) as dead:
            for number in numbers or [filed.id for filed in dead.entries()]:
                reason = "there is no such letter"
                found = dead.get(number)
                if found is not None and not numbers and (why_not := _why_by_number(found[0].reason)):
                    reason = why_not
                elif found is not None:
                    reason = await _place(decode(found[0].topic, found[1], maker), url, routes, stores)
                    if not reason:
                        dead.remove([number])
                results.append({"id": number, "stored": not reason, "reason": reason or None})
    finally:
        if tombstones is not None:
            tombstones.close()
        for store in stores.values():
            await store.close()
    if as_json:
        _print(results)
    else:
        for result in results:
            sys.stdout.write(f"{result['id']:>6}  {'stored' if result['stored'] else result['reason']}\n")
    return 0 if all(result["stored"] for result in results) else 1


def _why_by_number(reason: str) -> str:
    """Return why a letter with this reason is replayed only when it is named; an empty text if it is with all."""
    if reason.startswith(CONFLICT):
        return f"{CONFLICT}: what came first is stored; name the letter's number to write over it"
    if reason == REVOKED:
        return f"{REVOKED}: nobody can tell what is true of it; name the letter's number to store it all the same"
    return ""


async def _place(
    decoded: Accepted | Rejected, url: str, routes: Mapping[DataClass, str], stores: dict[str, Store]
) -> str:
    """Return an empty text when all of the letter's rows are stored, else why not."""
    if isinstance(decoded, Rejected):
        return decoded.reason
    url = routes.get(decoded.batch.data_class, url)
    if url not in stores:
        stores[url] = open_store(url)
        await stores[url].prepare()
    refusal = stores[url].capabilities.why_not(decoded.batch.data_class)
    if refusal is not None:
        return f"the store cannot keep class {decoded.batch.data_class}: {refusal}"
    refused = dict(decoded.refused)
    if not refused:
        try:
            refused.update((await stores[url].write(decoded.rows)).refused)
        except StoreRejected as error:
            return str(error)
    return next(iter(refused.values()), "")


async def purge(data: Path, numbers: Sequence[int], *, everything: bool, as_json: bool) -> None:
    """Remove letters for good."""
    with _opened(data) as dead:
        removed = dead.remove([filed.id for filed in dead.entries()] if everything else numbers)
    if as_json:
        _print({"removed": removed})
    else:
        sys.stdout.write(f"{removed} dead letters removed\n")
