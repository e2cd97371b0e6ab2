"""The process: one TaskGroup, ready when subscribed, alive while it makes progress, gone within 5 s of SIGTERM."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sqlite3
import time
from contextlib import closing
from typing import TYPE_CHECKING, Final

import msgspec

from cloud_ingest.acks import Acknowledger
from cloud_ingest.audit_heads import FILE_NAME as HEADS_NAME
from cloud_ingest.audit_heads import AuditHeads
from cloud_ingest.cardinality import FILE_NAME as SERIES_NAME
from cloud_ingest.cardinality import Guard
from cloud_ingest.console.child import keep_console
from cloud_ingest.deadletter import FILE_NAME, DeadLetters
from cloud_ingest.erasure import topics
from cloud_ingest.erasure.cleaning import without
from cloud_ingest.erasure.keys import public_path
from cloud_ingest.erasure.tombstones import FILE_NAME as TOMBSTONES_NAME
from cloud_ingest.erasure.tombstones import Tombstones
from cloud_ingest.erasure.worker import ErasureWorker
from cloud_ingest.files import Files
from cloud_ingest.health import HealthListener, is_health
from cloud_ingest.intake import Intake
from cloud_ingest.lock import hold
from cloud_ingest.mirror import Mirrors
from cloud_ingest.notify import notify, watchdog_period_s
from cloud_ingest.revoked import Revoked
from cloud_ingest.rows import NS, RowMaker, TimeWindow
from cloud_ingest.seen import FILE_NAME as SEEN_NAME
from cloud_ingest.seen import Seen
from cloud_ingest.settings import Settings, describe
from cloud_ingest.stores.base import refusal
from cloud_ingest.stores.opening import open_store
from cloud_ingest.subscriber import Subscriber
from cloud_ingest.writer import Writer
from telemetry.counters import Counters
from telemetry.errors import AuthError, ConfigError, Problem, StoreBusy, StoreRejected
from telemetry.sample import DataClass
from telemetry.topics import Channel, gateway_topic

if TYPE_CHECKING:
    from pathlib import Path

    from cloud_ingest.stores.base import Store

_log = logging.getLogger(__name__)
COUNTERS_NAME: Final = "counters.json"
_COUNTERS_EVERY_S: Final = 10.0
_LOG_EVERY: Final = 6
_PREPARE_S: Final = 5.0
_DRAIN_S: Final = 2.5
_MIRROR_DRAIN_S: Final = 1.0
_STALLED_S: Final = 150.0
"""Longer than any deadline or back-off of ours: then something hangs, and the watchdog may bite."""


class _Stop(Exception):
    """Ends the TaskGroup after a graceful stop."""


class Service:
    """Builds the parts from settings and runs them."""

    def __init__(self, settings: Settings, *, with_console: bool = False) -> None:
        self.settings = settings
        self._with_console = with_console
        self.counters = Counters()
        self.stop = asyncio.Event()
        self._stores: dict[str, Store] = {}
        self._mirrors = Mirrors(settings.store, self.counters)
        self._refusals: dict[DataClass, str] = {}

    async def run(self) -> None:
        """Run until `stop` is set or SIGTERM or SIGINT comes. Raises ConfigError."""
        data = self.settings.data
        try:
            data.mkdir(parents=True, exist_ok=True)
            lock = await hold(data)
        except OSError as error:
            raise _unusable(data, error) from error
        with closing(lock):
            await self._run_alone(data)

    async def _run_alone(self, data: Path) -> None:
        try:
            tombstones = Tombstones(data / TOMBSTONES_NAME)
            dead = DeadLetters(
                data / FILE_NAME,
                max_bytes=self.settings.deadletter.max_bytes,
                counters=self.counters,
                clean=lambda payload: without(payload, tombstones),
            )
            heads = AuditHeads(data / HEADS_NAME, counters=self.counters)
            seen = Seen(data / SEEN_NAME, per_gateway=self.settings.accept.remembered_batches)
            guard = Guard(data / SERIES_NAME, self.settings.series, self.counters)
        except (OSError, sqlite3.Error) as error:
            raise _unusable(data, error) from error
        try:
            await self._run(dead, seen, guard, tombstones, heads)
        finally:
            await self._mirrors.close()
            for store in self._stores.values():
                await store.close()
            await asyncio.to_thread(seen.close)
            await asyncio.to_thread(guard.close)
            dead.close()
            tombstones.close()
            heads.close()
            write_counters(data, self.counters)
            _log.info("stopped; counters: %s", self.counters.snapshot())

    async def _run(
        self, dead: DeadLetters, seen: Seen, guard: Guard, tombstones: Tombstones, heads: AuditHeads
    ) -> None:
        settings = self.settings
        subscriber = Subscriber(settings.mqtt, self.counters)
        acks = Acknowledger(subscriber, self.counters)
        window = TimeWindow(
            future_ns=int(settings.accept.future_s * NS), past_ns=settings.accept.past_days * 86_400 * NS
        )
        maker = RowMaker(window=window, counters=self.counters, erased=tombstones, guard=guard)
        intake = Intake(maker=maker, seen=seen, acks=acks, counters=self.counters, revoked=Revoked(settings.data))
        files = Files(seen=seen, dead=dead, counters=self.counters, guard=guard)

        by_class = await self._open_stores()

        def writer(store: Store | None) -> Writer:
            return Writer(
                store=store,
                classes=[c for c, name in by_class.items() if store and name == store.name],
                files=files,
                acks=acks,
                counters=self.counters,
                settings=settings.writer,
                on_settled=intake.settled,
                on_return=intake.call_back,
                on_stored=self._mirrors.offer if self._mirrors.each else None,
            )

        writers = {name: writer(store) for name, store in self._stores.items()}
        filer = writer(None)
        everyone = [*writers.values(), filer]
        eraser = ErasureWorker(
            name=settings.mqtt.client_id,
            tombstones=tombstones,
            public_key=public_path(settings),
            files=files,
            settled=lambda: _settled(everyone),
            publisher=subscriber,
            counters=self.counters,
        )
        subscriber.listen(topics.ORDERS, lambda topic: topics.MARK in topic, eraser.take)
        health = HealthListener(heads, self.counters)
        subscriber.listen(gateway_topic("+", "+", Channel.HEALTH), is_health, health.take)
        intake.route(filer=filer, routes={c: writers[name] for c, name in by_class.items()})

        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop.set)
        _log.info("starting %s", describe(settings))
        try:
            async with asyncio.TaskGroup() as group:
                for name, one in (*writers.items(), ("letters", filer)):
                    group.create_task(one.run(), name=f"writer {name}")
                for mirror in self._mirrors.each:
                    group.create_task(mirror.run(), name=f"mirror {mirror.store.name}")
                if self._with_console:
                    group.create_task(keep_console(settings, self.counters), name="console")
                group.create_task(acks.run(), name="acks")
                group.create_task(subscriber.greet(acks), name="greetings")
                group.create_task(self._report(), name="counters")
                group.create_task(eraser.run(), name="eraser")
                group.create_task(self._present(eraser, subscriber), name="presence")
                group.create_task(self._watch(everyone, subscriber, files), name="watchdog")
                group.create_task(self._announce(subscriber), name="ready")
                await subscriber.run(intake, stop=self.stop, drain=lambda: self._drain(everyone, acks, eraser))
                raise _Stop  # noqa: TRY301 - the way to end a TaskGroup with endless tasks
        except* _Stop:
            pass
        except* ConfigError as errors:
            raise ConfigError(_problems(errors)) from None
        finally:
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(number)

    async def _drain(self, writers: list[Writer], acks: Acknowledger, eraser: ErasureWorker) -> None:
        """Write and acknowledge what is in hand, as far as store and broker answer in time."""
        notify("STOPPING=1")
        try:
            async with asyncio.timeout(_DRAIN_S):
                for one in writers:
                    one.hurry()
                for one in writers:
                    await one.drained()
                await acks.drained()
                await eraser.tell("stopped")
        except TimeoutError:
            self.counters.add("service.unfinished_stops")
            _log.warning("store does not answer: batches in hand stay unacknowledged, gateways keep them")
        # What the mirrors still lack comes last: every gateway has its answer by now.
        await self._mirrors.drain(_MIRROR_DRAIN_S)

    async def _open_stores(self) -> dict[DataClass, str]:
        """Open each distinct store; return class → store name. A class whose promises its store breaks has none."""
        urls = {c: self.settings.store.url_of(c) for c in DataClass}
        opened: dict[str, Store] = {}
        for url in urls.values():
            if url not in opened:
                opened[url] = open_store(url)
                self._stores.setdefault(opened[url].name, opened[url])
        for store in self._stores.values():
            try:
                async with asyncio.timeout(_PREPARE_S):
                    await store.prepare()
            except (StoreBusy, StoreRejected, AuthError, TimeoutError) as error:
                _log.warning("store %s does not answer yet (%s); batches wait for it", store.name, error)
        by_class: dict[DataClass, str] = {}
        for data_class, url in urls.items():
            store = self._stores[opened[url].name]
            reason = store.capabilities.why_not(data_class)
            if reason is None:
                by_class[data_class] = store.name
            elif data_class in self.settings.store.routes or data_class is DataClass.OPEN:
                raise ConfigError([refusal(store, data_class, reason)])
            else:
                _log.warning("%s", refusal(store, data_class, reason))
        return by_class

    async def _announce(self, subscriber: Subscriber) -> None:
        await subscriber.connected.wait()
        notify("READY=1")
        _log.info("ready")

    async def _present(self, eraser: ErasureWorker, subscriber: Subscriber) -> None:
        await subscriber.connected.wait()
        await eraser.beat()

    async def _report(self) -> None:
        tick = 0
        while True:
            await asyncio.to_thread(write_counters, self.settings.data, self.counters)
            if tick % _LOG_EVERY == 0 and tick:
                _log.info("counters: %s", self.counters.snapshot())
            tick += 1
            await asyncio.sleep(_COUNTERS_EVERY_S)

    async def _watch(self, writers: list[Writer], subscriber: Subscriber, files: Files) -> None:
        period_s = watchdog_period_s()
        while period_s is not None:
            # A quiet broker is no stall: the reading counts only while the connection is being made.
            oldest = max(min(one.progress_at for one in writers), files.tried_again_at)
            if not subscriber.connected.is_set():
                oldest = min(oldest, subscriber.progress_at)
            if time.monotonic() - oldest < _STALLED_S:
                notify("WATCHDOG=1")
            else:
                _log.error("no progress for %.0f s: leaving it to the service manager", time.monotonic() - oldest)
            await asyncio.sleep(period_s)


async def _settled(writers: list[Writer]) -> None:
    """Wait until everything that any writer has in hand now is settled."""
    await asyncio.gather(*(one.settled_so_far() for one in writers))


def _problems(error: BaseException) -> list[Problem]:
    """Return every problem of the ConfigErrors in `error`, once; TaskGroups inside TaskGroups wrap them in groups."""
    if isinstance(error, BaseExceptionGroup):
        return list(dict.fromkeys(problem for inner in error.exceptions for problem in _problems(inner)))
    return error.problems if isinstance(error, ConfigError) else []


def _unusable(data: Path, error: Exception) -> ConfigError:
    return ConfigError([Problem(where=f"data folder {data}", what=f"cannot be used: {error}", mend="allow writing")])


def write_counters(data: Path, counters: Counters) -> None:
    """Write `counters.json` atomically; a full disk is logged, not fatal."""
    document = {"schema": "campus.ingest-counters/1", "at_ns": time.time_ns(), "counters": counters.snapshot()}
    temporary = data / f".{COUNTERS_NAME}.{os.getpid()}"
    try:
        temporary.write_bytes(msgspec.json.format(msgspec.json.encode(document), indent=2))
        temporary.replace(data / COUNTERS_NAME)
    except OSError as error:
        _log.warning("counters cannot be written: %s", error)
