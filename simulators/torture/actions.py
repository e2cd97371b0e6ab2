"""Doing what the plan says: one trouble, held for its time and mended again, whatever happens."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import time
from typing import TYPE_CHECKING, Final

from simulators.control import Request
from simulators.demo.proxy import Direction
from simulators.demo.stage import AGENT
from simulators.torture.disk import full
from simulators.torture.plan import AGENT_NETWORK, EPOCH, Kind

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from simulators.demo.proxy import Proxy
    from simulators.demo.stage import Stage
    from simulators.torture.plan import Action

_LOCK_S: Final = 5.0
_LOOK_S: Final = 0.02


class Skipped(Exception):
    """It cannot be done on this machine; the text says why."""


async def perform(stage: Stage, action: Action, *, lacking: Mapping[Kind, str]) -> None:
    """Do `action` and mend it. `lacking`: what cannot be done here, and why. Raises Skipped, ProcessFailed, OSError."""
    if action.kind in lacking:
        raise Skipped(lacking[action.kind])
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
            with full(stage.options.data / "agent" / "buffer"):
                await asyncio.sleep(action.hold_s)
        case Kind.LOCK:
            await _lock_store(stage.options.data / "store.sqlite", action.hold_s)
        case Kind.CLOCK:
            await _wrong_clock(stage, action)


async def _wrong_clock(stage: Stage, action: Action) -> None:
    """Boot the agent with it and let it learn the truth; or move the ingest's clock under it, there and back."""
    clocks = stage.clocks
    if clocks is None:
        raise LookupError("no process here has a clock of its own")
    boots, from_ns = action.target == AGENT, time.time_ns()
    try:
        if boots:
            await stage.kill(AGENT)
            clocks.unsynchronise()
        if action.detail == EPOCH:
            clocks.at_the_epoch(action.target)
        else:
            clocks.wrong_by(action.target, action.amount or 0.0)
        if boots:
            await stage.start_process(AGENT)
        await asyncio.sleep(action.hold_s)
    finally:
        clocks.right(action.target)
        clocks.synchronise()
        if boots:
            stage.wrong_clock.append((from_ns, time.time_ns() + int(action.recovery_s * 1e9)))


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
