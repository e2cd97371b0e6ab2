"""Publisher: keeps a connection to the broker and sends the outbox's batches until each is acknowledged."""

from __future__ import annotations

import asyncio
import logging
import random as random_module
import time
from collections import deque
from typing import TYPE_CHECKING, Any, Final

import aiomqtt
import msgspec

from edge_agent.clock import boottime_ns
from edge_agent.publisher.backoff import Backoff
from edge_agent.publisher.connection import (
    CONNACK_S,
    GREETING_S,
    V5,
    VERSIONS,
    Broker,
    Connection,
    is_refusal,
    read_credentials,
    refuses_version,
)
from edge_agent.publisher.evidence import TimeEvidence
from edge_agent.publisher.latency import Latency
from edge_agent.publisher.pace import BYTES_PER_S, Pace
from edge_agent.publisher.session import STATUS_SCHEMA, Session
from edge_agent.publisher.window import Window
from telemetry.ack import decode_ack
from telemetry.errors import AuthError, ProtocolError
from telemetry.topics import Channel, Flow, gateway_topic

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from edge_agent.publisher.outbox import Outbox
    from edge_agent.publisher.window import InFlight
    from telemetry.ack import Ack
    from telemetry.counters import Counters
    from telemetry.ranges import Range

_LOG: Final = logging.getLogger(__name__)
_AGREED_S: Final = 3600.0
"""How long a broker that took only an older version of MQTT is not asked for a newer one."""
_DATES: Final = ("certificate is not yet valid", "certificate has expired")
_MAX_REPLIES: Final = 16
_LATE_SHARE: Final = 0.3
"""Share of the window after which an acknowledgement is late and backfill makes way, long before live data are late."""
_ASKED_KEPT: Final = 8
_OF_USE_S: Final = 5.0
"""A connection that lived so long, or brought an acknowledgement, was of use: the next is tried quickly."""


class Publisher:
    """Sends batches live or as backfill, hears acknowledgements, says birth and death.

    `run()` until `stop()`; neither raises for anything that the network or the broker does.
    """

    def __init__(
        self,
        outbox: Outbox,
        *,
        broker: Broker,
        site: str,
        gateway: str,
        boot_id: str,
        simulated: bool,
        window_s: float,
        counters: Counters,
        backfill_bytes_per_s: float = BYTES_PER_S,
        now_ns: Callable[[], int] = time.time_ns,
        clock_known: Callable[[], bool] = lambda: True,
        system_clock_right: Callable[[], bool] = lambda: True,
        random: Callable[[], float] = random_module.random,
    ) -> None:
        self.connected = False
        self.evidence = TimeEvidence(counters)
        """What the ingest says of the time; to be believed over TLS only."""
        self.problem: str | None = None
        """Why there is no connection, for people; none while there is one."""
        self.on_command: Callable[[bytes], None] | None = None
        """Called with what comes on `command` and below; none: nobody listens there."""
        self._outbox = outbox
        self._broker = broker
        self._site = site
        self._gateway = gateway
        self._boot_id = boot_id
        self._simulated = simulated
        self._window_s = window_s
        self._counters = counters
        self._now_ns = now_ns
        pace = Pace(bytes_per_s=backfill_bytes_per_s, late_s=_LATE_SHARE * window_s)
        self._window = Window(random=random, pace=pace)
        self._clock_known = clock_known
        self._system_clock_right = system_clock_right
        self._dates_failed = False
        """A certificate was refused for its dates alone, by a clock that nobody calls right."""
        self._undated = False
        """The connection stands, but the dates of the broker's certificate were not looked at."""
        self._backoff = Backoff(random=random)
        self._latency = Latency()
        self._slow = False
        self._wake = asyncio.Event()
        self._stop = asyncio.Event()
        self._stopped = asyncio.Event()
        self._stopped.set()
        self._connection: Connection | None = None
        self._devices: bytes | None = None
        self._replies: deque[bytes] = deque()
        self._asked: dict[int, tuple[int, bool]] = {}
        """`at_ns` of the last births → CLOCK_BOOTTIME then, and whether it was said only to be answered."""
        self._ask = False
        self._agreed: aiomqtt.ProtocolVersion | None = None
        self._agreed_until = 0.0
        outbox.on_ready(self._wake.set)

    @property
    def ack_p95_s(self) -> float | None:
        """Time from sending to acknowledgement, 95th percentile of the last live batches; none while they are few."""
        return self._latency.p95_s

    @property
    def in_flight(self) -> int:
        """Batches that are sent and not acknowledged."""
        return len(self._window.in_flight)

    async def run(self) -> None:
        """Stay connected and send, until `stop`."""
        self._stopped.clear()
        try:
            while not self._stop.is_set():
                delay_s = await self._connect_and_send()
                if not self._stop.is_set():
                    await self._pause(delay_s)
        finally:
            self._stopped.set()

    async def stop(self) -> None:
        """Give live batches up to 2 s to be acknowledged, say goodbye and let `run` return."""
        self._stop.set()
        self._wake.set()
        await self._stopped.wait()

    async def publish_health(self, document: dict[str, Any]) -> None:
        """Send the health document if there is a connection; nobody waits for it."""
        if not self.connected or self._connection is None:
            self._counters.add("publisher.health_unsent")
            return
        topic = gateway_topic(self._site, self._gateway, Channel.HEALTH)
        payload = msgspec.json.encode(document)
        try:
            if self._connection.takes(payload):
                self._connection.send(topic, payload, qos=0)
            else:
                self._counters.add("publisher.health_unsent")
        except aiomqtt.MqttError:
            self._counters.add("publisher.health_unsent")

    def show_devices(self, document: dict[str, Any]) -> None:
        """Send the document on `devices`, now and after each reconnect, until there is a newer one."""
        self._devices = msgspec.json.encode(document)
        self._wake.set()

    def unsend(self, keys: Collection[tuple[str, int]]) -> None:
        """Send these batches (epoch, number) no more: the outbox has let go of them."""
        self._window.forget(frozenset(keys))
        self._wake.set()

    def ask_time(self) -> None:
        """Say the birth once more: the ingest answers it, and its answer tells the time."""
        self._ask = True
        self._wake.set()

    def reply(self, document: dict[str, Any]) -> None:
        """Send the document on `reply`, as soon as there is a connection; of too many the oldest are dropped."""
        if len(self._replies) >= _MAX_REPLIES:
            self._replies.popleft()
            self._counters.add("publisher.replies_dropped")
        self._replies.append(msgspec.json.encode(document))
        self._wake.set()

    async def _connect_and_send(self) -> float:
        """Make one connection and use it as long as it lasts; return seconds to wait before the next."""
        started = time.monotonic()
        acks = self._counters.get("publisher.acks")
        connection: Connection | None = None
        try:
            connection = await self._connect()
            if connection is None:
                return 0.0
            try:
                await self._session(connection).run()
                await connection.close()
            finally:
                self.connected, self._connection = False, None
                # Without a goodbye the broker publishes the will.
                await connection.abandon()
        except (AuthError, aiomqtt.MqttError, OSError) as error:
            self._dates_failed |= any(text in str(error) for text in _DATES)
            self._note(error)
            if time.monotonic() - started > _OF_USE_S or self._counters.get("publisher.acks") > acks:
                self._backoff.worked()
            if is_refusal(error):
                return self._backoff.after_refusal()
            return self._backoff.after_failure(
                unanswered=connection is None and time.monotonic() - started >= GREETING_S
            )
        return 0.0

    async def _connect(self) -> Connection | None:
        """Return an open connection in the newest version the broker speaks; none when stopped meanwhile."""
        # OpenSSL goes by the system's clock: while that is wrong no certificate is valid, and no ingest could help.
        dated = self._system_clock_right() or not self._dates_failed
        context, password = await asyncio.to_thread(read_credentials, self._broker, dated=dated)
        self._undated = context is not None and not dated
        agreed = self._agreed is not None and time.monotonic() < self._agreed_until
        versions = (self._agreed,) if self._agreed is not None and agreed else VERSIONS[self._broker.protocol]
        for version in versions:
            connection = Connection(
                self._broker,
                version,
                client_id=f"{self._site}-{self._gateway}",
                will=aiomqtt.Will(
                    gateway_topic(self._site, self._gateway, Channel.STATUS),
                    msgspec.json.encode(self._status("offline")),
                    qos=1,
                    retain=True,
                ),
                password=password,
                context=context,
                connack_s=CONNACK_S if version is versions[-1] else GREETING_S,
            )
            if self._stop.is_set():
                return None
            try:
                await connection.open(self._stop)
            except aiomqtt.MqttError as error:
                if version is versions[-1] or not refuses_version(error):
                    raise
                continue
            if version is not versions[0]:
                self._agreed, self._agreed_until = version, time.monotonic() + _AGREED_S
            return connection
        raise AssertionError(versions)

    def _session(self, connection: Connection) -> Session:
        self._connection, self.connected = connection, True
        connection.on_message = self._on_message
        if self.problem is not None or not self._counters.get("publisher.connections"):
            _LOG.info("connected to %s (MQTT %s)", self._broker, "5" if connection.protocol is V5 else "3.1.1")
        self.problem = None
        self._counters.add("publisher.connections")
        return Session(
            connection,
            site=self._site,
            gateway=self._gateway,
            birth=self._status("online"),
            again=self._birth_again,
            devices=lambda: self._devices,
            replies=self._replies,
            commands=self.on_command is not None,
            window=self._window,
            outbox=self._outbox,
            counters=self._counters,
            wake=self._wake,
            stopping=self._stop.is_set,
            on_turn=self._check_dates,
        )

    def _birth_again(self) -> bytes | None:
        """Return the birth if it is to be said once more."""
        asked, self._ask = self._ask, False
        return msgspec.json.encode(self._status("online", asking=True)) if asked else None

    def _check_dates(self) -> None:
        """Look at the dates of the broker's certificate as soon as the time is known. Raises MqttError."""
        if self._undated and self._connection is not None and self._clock_known():
            self._undated = False
            self._connection.check_dates(self._now_ns())

    def _status(self, state: str, *, asking: bool = False) -> dict[str, Any]:
        at_ns = self._now_ns()
        self._asked[at_ns] = (boottime_ns(), asking)
        while len(self._asked) > _ASKED_KEPT:
            del self._asked[next(iter(self._asked))]
        return {
            "schema": STATUS_SCHEMA,
            "state": state,
            "epoch": self._outbox.epoch,
            "boot_id": self._boot_id,
            "at_ns": at_ns,
            "simulated": self._simulated,
        }

    def _on_message(self, topic: str, payload: bytes) -> None:
        commands = gateway_topic(self._site, self._gateway, Channel.COMMAND)
        if self.on_command is not None and (topic == commands or topic.startswith(f"{commands}/")):
            self.on_command(payload)
            return
        try:
            ack = decode_ack(payload)
        except ProtocolError:
            self._counters.add("publisher.bad_acks")
            return
        self._acknowledge(ack)
        self._wake.set()

    def _acknowledge(self, ack: Ack) -> None:
        now = asyncio.get_running_loop().time()
        if ack.retry_after_s > 0:
            self._counters.add("publisher.pauses")
            self._window.pause(now, ack.retry_after_s)
        heard_ns = boottime_ns()
        asked_ns, asking = (
            self._asked.pop(ack.answers_ns, (None, False)) if ack.answers_ns is not None else (None, False)
        )
        if asked_ns is not None:
            self.evidence.add(ack.time_ns, sent_boot_ns=asked_ns, received_boot_ns=heard_ns)
        spans: list[Range] = [*ack.stored, *((refused.batch, refused.batch) for refused in ack.refused)]
        if not spans:
            if ack.epoch != self._outbox.epoch and all(one.batch.epoch != ack.epoch for one in self._window.in_flight):
                self._counters.add("publisher.acks_unknown_epoch")
            elif ack.retry_after_s <= 0 and not asking:
                self._window.ingest_here(now)
            return
        done = self._window.acknowledged(ack.epoch, spans, now)
        if done:
            self._done(done, ack, now=now, heard_ns=heard_ns)
        self._outbox.acknowledge(ack)
        p95_s = self._latency.p95_s
        slow = p95_s is not None and p95_s > self._window_s / 2
        if slow and not self._slow:
            self._counters.add("publisher.slow_ack")
            _LOG.warning("acknowledgements take %.2f s (95%%), above half the window of %.1f s", p95_s, self._window_s)
        self._slow = slow

    def _done(self, done: Sequence[InFlight], ack: Ack, *, now: float, heard_ns: int) -> None:
        """Take note of batches of ours that `ack` is the first to name."""
        if ack.retry_after_s <= 0:
            self._window.resume(now)
        # It was made after each of them had been sent, whenever that was heard.
        sent_ns = heard_ns - int((now - max(one.first_sent_at for one in done)) * 1e9)
        self.evidence.add(ack.time_ns, sent_boot_ns=sent_ns, received_boot_ns=heard_ns)
        for one in done:
            self._counters.add("publisher.acks")
            if one.flow is Flow.LIVE and one.sends == 1:
                self._latency.add(now - one.first_sent_at)

    def _note(self, error: Exception) -> None:
        """Count and, when the reason changes, tell the operator."""
        self._counters.add("publisher.login_refused" if is_refusal(error) else "publisher.connection_errors")
        problem = f"{self._broker}: {error or type(error).__name__}"
        if problem != self.problem and not self._stop.is_set():
            _LOG.warning("no connection to %s → data wait in the buffer", problem)
        self.problem = problem

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._stop.wait()
        except TimeoutError:
            pass
