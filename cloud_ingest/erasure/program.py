"""Erasing somebody, step by step; each step may be repeated, so that `erase status` goes on where `erase` stopped.

Tombstone → every worker drops his rows and confirms → gateways purge their buffers, offline ones when they return →
stores and dead letters → look again → signed receipt.
"""

from __future__ import annotations

import asyncio
import secrets
import sqlite3
import sys
import time
from contextlib import closing
from typing import TYPE_CHECKING, Final

import msgspec

from cloud_ingest.access import AccessLog, plain, who
from cloud_ingest.deadletter import FILE_NAME as LETTERS_NAME
from cloud_ingest.deadletter import DeadLetters
from cloud_ingest.erasure import receipt, topics
from cloud_ingest.erasure.cleaning import handles_in, without
from cloud_ingest.erasure.emptying import empty
from cloud_ingest.erasure.exchange import connected
from cloud_ingest.erasure.keys import private_key
from cloud_ingest.erasure.state import GatewayState, State, States, StoreState, WorkerState
from cloud_ingest.erasure.tombstones import FILE_NAME as TOMBSTONES_NAME
from cloud_ingest.erasure.tombstones import Tombstones
from cloud_ingest.seen import gateways_in
from cloud_ingest.stores.opening import open_store
from telemetry.counters import Counters
from telemetry.erasure import (
    CLOUD,
    MAX_ERASURES,
    SALT_BYTES,
    SCHEMA,
    Erased,
    Erasure,
    Order,
    encode_order,
    keyed_hash,
    to_moment,
    to_ns,
)
from telemetry.errors import ConfigError, Problem

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from cloud_ingest.erasure.exchange import Exchange, Heard
    from cloud_ingest.settings import Settings

_DAY_NS: Final = 86_400 * 10**9
_MOST_ACCESSES: Final = 1000


async def begin(
    settings: Settings,
    *,
    site: str,
    handles: Sequence[str],
    reason: str,
    wait_s: float,
    without_gateways: Sequence[str] = (),
) -> State:
    """Erase the people behind `handles`; return what is known when everybody who is there has answered.

    Raises ConfigError, AuthError, BrokerUnavailable or StoreBusy: then `go_on` with the request that was printed.
    """
    private_key(settings)  # before anything is done
    settings.data.mkdir(parents=True, exist_ok=True)
    salt = secrets.token_bytes(SALT_BYTES)
    now_ns = time.time_ns()
    erasure = Erasure(
        request=secrets.token_hex(8),
        salt=salt.hex(),
        hashes=tuple(sorted({keyed_hash(salt, handle) for handle in handles})),
        keep_until=to_moment(now_ns + settings.erasure.keep_days * _DAY_NS),
    )
    log = AccessLog(settings.data)
    try:
        accesses = [plain(entry) for handle in handles for entry in log.of(handle)]
    except ConfigError as error:
        # Whoever edited the log must not keep anybody from being erased.
        accesses = [{"action": "unknown", "reason": str(error)}]
    for handle in handles:
        log.write("erase", handle=handle, reason=reason, request=erasure.request)
    state = State(
        request=erasure.request,
        site=site,
        asked_at_ns=now_ns,
        asked_by=who(),
        reason=reason,
        erasure=erasure,
        handed_over=accesses[-_MOST_ACCESSES:],
        backups=list(settings.erasure.backups),
    )
    States(settings.data).save(state)
    sys.stderr.write(f"cloud-ingest: request {state.request}\n")
    return await go_on(settings, state, handles=handles, wait_s=wait_s, without_gateways=without_gateways)


async def go_on(
    settings: Settings,
    state: State,
    *,
    wait_s: float,
    handles: Sequence[str] = (),
    without_gateways: Sequence[str] = (),
    without_workers: Sequence[str] = (),
) -> State:
    """Do what is left to be done about a request; return what is known then. Raises as `begin`."""
    states, key, meant = States(settings.data), private_key(settings), Erased([state.erasure])
    await asyncio.to_thread(_remember, settings.data, state)
    for url in settings.store.urls:
        state.stores.setdefault(await _name_of(url), StoreState())
    async with connected(settings.mqtt, state.site) as exchange:
        await _order_workers(exchange, state, states, settings)
        heard = exchange.heard
        _note_workers(state, heard)
        for name in without_workers:
            state.workers.pop(name, None)
            await exchange.clear(topics.worker_topic(name))
        running = heard.running()
        await exchange.until(lambda: _note_workers(state, heard).isdisjoint(running), wait_s)
        gateways = {*heard.gateways, *gateways_in(settings.data, state.site), *_told_by_workers(heard, state)}
        for name in sorted(gateways - set(without_gateways)):
            state.gateways.setdefault(name, GatewayState())
        for name in without_gateways:
            state.gateways.pop(name, None)
        states.save(state)
        await _order_gateways(exchange, state, states, settings)
        online = {name for name, said in heard.gateways.items() if said == "online"}
        await exchange.until(lambda: _note_gateways(state, heard).isdisjoint(online), wait_s)
        states.save(state)
        if running.isdisjoint(state.pending_workers):
            # Every worker that runs drops their rows by now: nothing can come into the stores behind our back.
            state.letters += await asyncio.to_thread(_clean_letters, settings.data, state.erasure)
            for url in settings.store.urls:
                name = await _name_of(url)
                state.stores[name] = await empty(url, meant, handles, state.stores[name])
                states.save(state)
        await _release_gateways(exchange, state, states, settings)
        await _expire(exchange, states)
        found = await exchange.retained()
        state.retained = sum(any(meant(handle) for handle in handles_in(payload)) for payload in found.values())
    if not state.pending and state.complete_at_ns is None:
        state.complete_at_ns = time.time_ns()
    states.save(state)
    states.write_receipt(state.request, receipt.make(state, key))
    return state


async def lift(settings: Settings, state: State) -> None:
    """Let rows of the erased people in again: he came back, or it was somebody else's handle. Raises as `begin`."""
    states, now_ns = States(settings.data), time.time_ns()
    state.lifted_until_ns = max(state.lifted_until_ns, to_ns(state.erasure.keep_until))
    state.erasure = msgspec.structs.replace(state.erasure, keep_until=to_moment(now_ns - 10**9))
    states.save(state)
    await asyncio.to_thread(_remember, settings.data, state)
    text = _order(states, state.site, CLOUD, [state.erasure], settings, days=settings.erasure.keep_days)
    async with connected(settings.mqtt, state.site) as exchange:
        for name in state.pending_gateways:
            others = [erasure for erasure in _due(name, state, states) if erasure.request != state.request]
            order = _order(states, state.site, name, others, settings) if others else None
            await exchange.order_gateway(name, order)
        await exchange.order_workers(state.request, text)


def _remember(data: Path, state: State) -> None:
    tombstones = Tombstones(data / TOMBSTONES_NAME)
    try:
        tombstones.add(state.site, state.erasure)
    finally:
        tombstones.close()


async def _name_of(url: str) -> str:
    store = open_store(url)
    await store.close()
    return store.name


def _order(
    states: States, site: str, target: str, erasures: Sequence[Erasure], settings: Settings, *, days: int = 0
) -> str:
    now_ns = time.time_ns()
    until = [erasure.keep_until for erasure in erasures]
    order = Order(
        schema=SCHEMA,
        site=site,
        target=target,
        serial=states.next_serial(),
        issued_at=to_moment(now_ns),
        not_after=max([*until, to_moment(now_ns + days * _DAY_NS)]),
        erasure=tuple(erasures),
    )
    return encode_order(order, private_key(settings))


async def _order_workers(exchange: Exchange, state: State, states: States, settings: Settings) -> None:
    # It stays there: a worker that is set up next month must know it too.
    await exchange.order_workers(state.request, _order(states, state.site, CLOUD, [state.erasure], settings))


def _note_workers(state: State, heard: Heard) -> set[str]:
    """Take in what workers confirmed; return those who have not."""
    for name, presence in heard.workers.items():
        state.workers.setdefault(name, WorkerState()).seen_at_ns = presence.at_ns
    for one in heard.confirmations:
        if one.request == state.request and one.at_ns >= state.asked_at_ns - _DAY_NS:
            worker = state.workers.setdefault(one.worker, WorkerState())
            worker.letters = max(worker.letters, one.letters)
            worker.confirmed_at_ns = worker.confirmed_at_ns or one.at_ns
    return set(state.pending_workers)


def _told_by_workers(heard: Heard, state: State) -> set[str]:
    return {name for one in heard.confirmations if one.request == state.request for name in one.gateways}


async def _order_gateways(exchange: Exchange, state: State, states: States, settings: Settings) -> None:
    """Leave one order for each gateway that names all requests it still has to carry out, or as many as one may."""
    for name in state.pending_gateways:
        due = _due(name, state, states)
        await exchange.order_gateway(name, _order(states, state.site, name, due, settings))


def _due(gateway: str, state: State, states: States) -> list[Erasure]:
    others = [one for one in states.all() if one.request != state.request and one.site == state.site]
    due = [one.erasure for one in (state, *others) if gateway in one.pending_gateways]
    return due[:MAX_ERASURES]


def _note_gateways(state: State, heard: Heard) -> set[str]:
    """Take in what gateways answered; return those who have not erased yet."""
    for name, reply in heard.replies:
        gateway = state.gateways.get(name)
        mine = next((one for one in reply.erasures if one.request == state.request), None)
        if gateway is None:
            continue
        if mine is None or mine.at_ns is None:
            gateway.said = gateway.said if reply.ok else reply.text
            continue
        gateway.confirmed_at_ns, gateway.values = mine.at_ns, mine.values
        gateway.still_consented, gateway.said = mine.still_consented, ""
    return set(state.pending_gateways)


async def _release_gateways(exchange: Exchange, state: State, states: States, settings: Settings) -> None:
    """Take away, or shorten, the orders of gateways that have followed them."""
    for name, gateway in state.gateways.items():
        if gateway.confirmed_at_ns is None:
            continue
        due = _due(name, state, states)
        await exchange.order_gateway(name, _order(states, state.site, name, due, settings) if due else None)


async def _expire(exchange: Exchange, states: States) -> None:
    """Take away the orders to workers whose time is over."""
    now_ns = time.time_ns()
    for state in states.all():
        if max(state.lifted_until_ns, to_ns(state.erasure.keep_until)) < now_ns:
            await exchange.clear(topics.order_topic(state.site, state.request))


def _clean_letters(data: Path, erasure: Erasure) -> int:
    path, meant = data / LETTERS_NAME, Erased([erasure])
    if not path.is_file():
        return 0
    try:
        with closing(DeadLetters(path, max_bytes=sys.maxsize, counters=Counters())) as dead:
            return dead.rewrite(lambda payload: without(payload, meant))
    except (OSError, sqlite3.Error) as error:
        problem = Problem(where=str(path), what=f"cannot be cleaned: {error}", mend="try again: erase status")
        raise ConfigError([problem]) from error
