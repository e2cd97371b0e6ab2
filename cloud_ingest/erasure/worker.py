"""What each worker of the ingest does about an order to erase: drops from now on, waits, cleans its files, confirms."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import time
from typing import TYPE_CHECKING, Final, Protocol

import msgspec

from cloud_ingest.erasure import topics
from cloud_ingest.erasure.cleaning import without
from cloud_ingest.erasure.keys import public_keys
from telemetry.erasure import CLOUD, COMMAND_KIND, COMMAND_SCHEMA, Erased, decode_order, to_ns
from telemetry.errors import ConfigError, ProtocolError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from cloud_ingest.erasure.tombstones import Tombstones
    from cloud_ingest.files import Files
    from telemetry.counters import Counters
    from telemetry.erasure import Erasure

_log = logging.getLogger(__name__)
CONFIRMATION_SCHEMA: Final = "campus.erased/1"
WORKER_SCHEMA: Final = "campus.worker/1"
BEAT_S: Final = 10.0
_RETRY_S: Final = 5.0
_MAX_BYTES: Final = 1_000_000
_MOST_WAITING: Final = 1000


class Envelope(msgspec.Struct, frozen=True, kw_only=True):
    """An order as it travels."""

    schema: str
    kind: str
    text: str


class Confirmation(msgspec.Struct, frozen=True, kw_only=True):
    """What one worker did about one request."""

    schema: str = CONFIRMATION_SCHEMA
    request: str
    worker: str
    at_ns: int
    letters: int
    """Dead letters that held rows of theirs, now rewritten or removed."""
    gateways: list[str] = []
    """Gateways of the site that ever sent to this worker."""


class Presence(msgspec.Struct, frozen=True, kw_only=True):
    """A worker says that it runs, or that it stopped in good order."""

    schema: str = WORKER_SCHEMA
    worker: str
    state: str
    at_ns: int


class Publisher(Protocol):
    """The broker's connection, as far as a worker needs it."""

    async def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> bool:
        """Publish with QoS 1; false if there is no connection or the broker does not take it in time."""
        ...


class ErasureWorker:
    """`take` is called with each message below `_cloud`; `run` and `beat` run until cancelled."""

    def __init__(
        self,
        *,
        name: str,
        tombstones: Tombstones,
        public_key: Path,
        files: Files,
        settled: Callable[[], Awaitable[None]],
        publisher: Publisher,
        counters: Counters,
    ) -> None:
        self._name = name
        self._tombstones = tombstones
        self._public_key = public_key
        self._files = files
        self._settled = settled
        """Returns when everything that was in hand when it was called is settled."""
        self._publisher = publisher
        self._counters = counters
        self._due: asyncio.Queue[tuple[str, Erasure]] = asyncio.Queue(_MOST_WAITING)

    def take(self, topic: str, payload: bytes) -> None:
        """Follow an order at once; what is not one that the cloud's key signed is counted, and nothing else."""
        site = topics.site_of_order(topic)
        if site is None or not payload:
            return
        try:
            trusted = public_keys(self._public_key)
            order = decode_order(_text_of(payload), trusted, site=site, target=CLOUD, now_ns=time.time_ns())
            for erasure in order.erasure:
                self._tombstones.add(site, erasure)
                if to_ns(erasure.keep_until) > time.time_ns():
                    self._due.put_nowait((site, erasure))
        except (ProtocolError, ConfigError) as error:
            self._counters.add("erasure.refused_orders")
            _log.error("an order to erase is not followed: %s", error)
        except (sqlite3.Error, asyncio.QueueFull) as error:
            # Not confirmed: it will be asked for again.
            self._counters.add("erasure.failed_orders")
            _log.error("an order to erase cannot be followed now: %s", error)

    async def run(self) -> None:
        """Carry out what was taken."""
        while True:
            site, erasure = await self._due.get()
            await self._settled()
            letters = await self._clean(site, erasure)
            confirmation = Confirmation(
                request=erasure.request,
                worker=self._name,
                at_ns=time.time_ns(),
                letters=letters,
                gateways=self._files.seen.gateways(site),
            )
            topic = topics.confirmation_topic(site, erasure.request, self._name)
            await self._publish(topic, msgspec.json.encode(confirmation))
            self._counters.add("erasure.confirmed")
            _log.info("erasure %s: rows of theirs are dropped from now on, %d dead letters", erasure.request, letters)

    async def beat(self) -> None:
        """Say every now and then that this worker runs."""
        while True:
            await self.tell("online")
            await asyncio.sleep(BEAT_S)

    async def tell(self, state: str) -> None:
        """Say in what state this worker is."""
        presence = Presence(worker=self._name, state=state, at_ns=time.time_ns())
        await self._publisher.publish(topics.worker_topic(self._name), msgspec.json.encode(presence), retain=True)

    async def _publish(self, topic: str, payload: bytes) -> None:
        while True:
            if await self._publisher.publish(topic, payload, retain=True):
                return
            await asyncio.sleep(_RETRY_S)

    async def _clean(self, site: str, erasure: Erasure) -> int:
        who = Erased([erasure])
        while True:
            try:
                await self._files.forget_people(site)
                return await self._files.with_letters(lambda dead: dead.rewrite(lambda payload: without(payload, who)))
            except (sqlite3.Error, OSError) as error:
                self._counters.add("files.failed_commits")
                _log.error("own files cannot be cleaned (%s): free disk space; trying again", error)
                await asyncio.sleep(_RETRY_S)


def _text_of(payload: bytes) -> str:
    """Return the signed text in an order's envelope. Raises ProtocolError."""
    if len(payload) > _MAX_BYTES:
        raise ProtocolError("it is too long")
    try:
        envelope = msgspec.json.decode(payload, type=Envelope)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ProtocolError("it cannot be decoded") from error
    if (envelope.schema, envelope.kind) != (COMMAND_SCHEMA, COMMAND_KIND):
        raise ProtocolError("it is no order to erase")
    return envelope.text
