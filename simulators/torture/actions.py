"""Doing what the plan says: one trouble, held for its time and mended again, whatever happens."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from typing import TYPE_CHECKING, Final

from simulators.control import Request
from simulators.demo.proxy import Direction
from simulators.torture.disk import full
from simulators.torture.plan import AGENT_NETWORK, Kind

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from simulators.demo.proxy import Proxy
    from simulators.demo.stage import Stage
    from simulators.torture.plan import Action

_LOCK_S: Final = 5.0
_LOOK_S: Final = 0.02


class Skipped(Exception):
    """It cannot be done on this machine; the text says why."""


async def perform(stage: Stage, action: Action, *, no_disk: str | None) -> None:
    """Do `action` and mend it. Raises Skipped (`no_disk`: why no disk can be filled), ProcessFailed, OSError."""
    match action.kind:
        case Kind.KILL:
            await stage.kill(action.target)
            await asyncio.sleep(action.hold_s)
            await stage.start_process(action.target)
        case Kind.RESTART:
            await stage.stop(action.target)
            await asyncio.sleep(action.hold_s)
            await stage.start_process(action.target)
        case Kind.FREEZE:
            stage.freeze(action.target)
            try:
                await asyncio.sleep(action.hold_s)
            finally:
                stage.thaw(action.target)
        case Kind.CUT | Kind.STALL | Kind.HALF_OPEN | Kind.SLOW:
            with _bad_network(_proxy(stage, action.target), action):
                await asyncio.sleep(action.hold_s)
        case Kind.FAULT:
            link = action.target.partition(":")[2]
            request = Request(op="fault", fault=action.detail, rate=action.amount, seconds=action.hold_s)
            await stage.ask(link, request)
            await asyncio.sleep(action.hold_s)
        case Kind.FILL:
            if no_disk is not None:
                raise Skipped(no_disk)
            with full(stage.options.data / "agent" / "buffer"):
                await asyncio.sleep(action.hold_s)
        case Kind.LOCK:
            await _lock_store(stage.options.data / "store.sqlite", action.hold_s)


def _proxy(stage: Stage, network: str) -> Proxy:
    proxy = stage.proxy if network == AGENT_NETWORK else stage.ingest_proxy
    if proxy is None:
        raise LookupError(f"nothing stands between the ends of {network}")
    return proxy


@contextlib.contextmanager
def _bad_network(proxy: Proxy, action: Action) -> Iterator[None]:
    try:
        match action.kind:
            case Kind.CUT:
                proxy.cut(refuse=True)
            case Kind.STALL:
                proxy.pause()
            case Kind.HALF_OPEN:
                proxy.pause(Direction(action.detail))
            case _:
                proxy.slow(action.amount or 1.0)
        yield
    finally:
        proxy.resume()


async def _lock_store(path: Path, hold_s: float) -> None:
    """Hold the write lock of the SQLite store, as another program may."""
    with contextlib.closing(sqlite3.connect(path, timeout=0, isolation_level=None)) as store:
        async with asyncio.timeout(_LOCK_S):
            while not _locked(store):  # noqa: ASYNC110 - SQLite has no event for it
                await asyncio.sleep(_LOOK_S)
        await asyncio.sleep(hold_s)


def _locked(store: sqlite3.Connection) -> bool:
    try:
        store.execute("BEGIN IMMEDIATE")
    except sqlite3.OperationalError:
        return False
    return True
