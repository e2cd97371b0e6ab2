"""One connection's work: birth, acknowledgements in, batches out, goodbye."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, Final

import aiomqtt
import msgspec

from edge_agent.publisher.connection import DEADLINE_S, FAILURE
from telemetry.errors import AuthError
from telemetry.topics import Channel, Flow, gateway_topic, telemetry_topic

if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Callable

    from paho.mqtt.reasoncodes import ReasonCode

    from edge_agent.publisher.connection import Connection
    from edge_agent.publisher.outbox import Outbox
    from edge_agent.publisher.window import InFlight, Window
    from telemetry.counters import Counters

_LOG: Final = logging.getLogger(__name__)
STATUS_SCHEMA: Final = "campus.status/1"
DRAIN_S: Final = 2.0
GOODBYE_S: Final = 1.0
_POLL_S: Final = 1.0
"""Backfill that became due without anybody saying so is noticed after this."""
_NO_SUBSCRIBER: Final = 0x10
_PAUSES_S: Final = {0x87: 60.0, 0x95: 60.0, 0x97: 10.0}
_DEFAULT_PAUSE_S: Final = 10.0
_MEND: Final = {
    0x87: "allow this gateway to write its telemetry topics in the broker's access rules",
    0x95: "raise the broker's packet size limit to 128 KiB or more",
    0x97: "raise the broker's quota, or wait",
}


class Session:
    """Lives as long as its connection; the window outlives it."""

    def __init__(
        self,
        connection: Connection,
        *,
        site: str,
        gateway: str,
        birth: dict[str, Any],
        again: Callable[[], bytes | None],
        devices: Callable[[], bytes | None],
        replies: deque[bytes],
        commands: bool,
        window: Window,
        outbox: Outbox,
        counters: Counters,
        wake: asyncio.Event,
        stopping: Callable[[], bool],
        on_turn: Callable[[], None],
    ) -> None:
        self._connection = connection
        self._site = site
        self._gateway = gateway
        self._birth = birth
        self._again = again
        self._devices = devices
        self._devices_said: bytes | None = None
        self._replies = replies
        self._commands = commands
        self._window = window
        self._outbox = outbox
        self._counters = counters
        self._wake = wake
        self._stopping = stopping
        self._on_turn = on_turn
        self._loop = asyncio.get_running_loop()
        self._unconfirmed: dict[int, float] = {}
        """Message id → when it was sent, of what has no PUBACK yet."""
        self._not_batches: dict[int, str] = {}
        """Those of them that are no batches, and what counts a refusal: it holds nothing back."""
        self._fetching: asyncio.Task[None] | None = None
        """Reads the next old batch, so that nothing live waits for the disk."""
        connection.on_puback = self._on_puback

    async def run(self) -> None:
        """Send until the connection is lost (MqttError, AuthError) or all is said after a stop."""
        connection = self._connection
        await connection.subscribe_to(gateway_topic(self._site, self._gateway, Channel.STORED))
        if self._commands:
            await self._hear_commands()
        await self._say(self._birth)
        connection.lost.add_done_callback(lambda _: self._wake.set())
        self._window.connected(self._loop.time())
        try:
            await self._pump()
        finally:
            self._window.disconnected()
            await self._stop_fetching()
        await self._say({**self._birth, "state": "offline"}, within_s=GOODBYE_S)

    async def _hear_commands(self) -> None:
        """Subscribe to `command` and what is below; a broker that does not allow it takes our data all the same."""
        topic = f"{gateway_topic(self._site, self._gateway, Channel.COMMAND)}/#"
        try:
            await self._connection.subscribe_to(topic)
        except AuthError as error:
            if not self._counters.get("publisher.commands_not_allowed"):
                _LOG.warning("no commands can reach this gateway: %s", error)
            self._counters.add("publisher.commands_not_allowed")

    async def _say(self, status: dict[str, Any], *, within_s: float = DEADLINE_S) -> None:
        topic = gateway_topic(self._site, self._gateway, Channel.STATUS)
        await self._connection.say(topic, msgspec.json.encode(status), within_s=within_s)

    async def _pump(self) -> None:
        drain_until: float | None = None
        while True:
            self._wake.clear()
            self._on_turn()
            now = self._loop.time()
            self._check(now)
            if self._stopping():
                drain_until = drain_until or now + DRAIN_S
                if now >= drain_until or self._drained(now):
                    return
            self._send_devices(now)
            self._send_birth_again(now)
            self._send_replies(now)
            self._send_due(now)
            self._fetch_backfill()
            next_at = self._window.next_at(now)
            until = min([now + _POLL_S, *(at for at in (next_at, drain_until) if at is not None)])
            await self._sleep(until - self._loop.time())

    def _check(self, now: float) -> None:
        if self._connection.lost.done():
            raise self._connection.lost.exception() or aiomqtt.MqttError("connection closed")
        if any(now - at > DEADLINE_S for at in self._unconfirmed.values()):
            self._counters.add("publisher.puback_timeouts")
            raise aiomqtt.MqttError(f"no PUBACK within {DEADLINE_S:.0f} s")
        expired = self._window.expire(now)
        if expired:
            self._counters.add("publisher.ack_timeouts", expired)

    def _drained(self, now: float) -> bool:
        """Whether waiting any longer brings nothing: all live ones are acknowledged, or nobody answers."""
        nobody = self._window.probing and not self._window.can_take(Flow.LIVE, now)
        return not self._unconfirmed and (nobody or not self._window.count(Flow.LIVE)) and not self._send_due(now)

    def _send_devices(self, now: float) -> None:
        """Send the devices' document if this connection has not had it; refused or too large, nothing waits for it."""
        document = self._devices()
        if document is None or document == self._devices_said or self._stopping() or not self._may_send():
            return
        self._devices_said = document
        if not self._connection.takes(document):
            self._counters.add("publisher.devices_unsent")
            return
        topic = gateway_topic(self._site, self._gateway, Channel.DEVICES)
        mid = self._connection.send(topic, document, qos=1, retain=True)
        self._unconfirmed[mid] = now
        self._not_batches[mid] = "publisher.devices_unsent"

    def _send_birth_again(self, now: float) -> None:
        """Say the birth once more if somebody wants to hear from the ingest."""
        birth = self._again() if not self._stopping() and self._may_send() else None
        if birth is not None:
            topic = gateway_topic(self._site, self._gateway, Channel.STATUS)
            mid = self._connection.send(topic, birth, qos=1, retain=True)
            self._unconfirmed[mid] = now
            self._not_batches[mid] = "publisher.births_refused"

    def _send_replies(self, now: float) -> None:
        topic = gateway_topic(self._site, self._gateway, Channel.REPLY)
        while self._replies and self._may_send():
            if not self._connection.takes(self._replies[0]):
                self._replies.popleft()
                self._counters.add("publisher.replies_refused")
                continue
            mid = self._connection.send(topic, self._replies[0], qos=1)
            self._replies.popleft()
            self._unconfirmed[mid] = now
            self._not_batches[mid] = "publisher.replies_refused"

    def _send_due(self, now: float) -> bool:
        """Send what waits in the window, mostly again, then what is live; true if there was anything."""
        any_sent = False
        while self._may_send() and (again := self._window.next_resend(now)) is not None:
            if again.sends:
                self._counters.add("publisher.resent_batches")
            self._send(again)
            any_sent = True
        while (
            self._may_send()
            and self._window.can_take(Flow.LIVE, now)
            and (batch := self._outbox.take_live()) is not None
        ):
            self._send(self._window.add(batch, Flow.LIVE))
            any_sent = True
        return any_sent

    def _fetch_backfill(self) -> None:
        """Have the next old batch read, if it may be sent; then it is in the window, and sent like what waits there."""
        if self._fetching is not None and self._fetching.done():
            self._fetching.result()
            self._fetching = None
        if self._fetching is not None or self._stopping() or not self._may_send():
            return
        if self._window.can_take(Flow.BACKFILL, self._loop.time()):
            self._fetching = self._loop.create_task(self._fetch(), name="backfill")

    async def _fetch(self) -> None:
        batch = await self._outbox.take_backfill()
        if batch is not None:
            self._window.add(batch, Flow.BACKFILL)
            self._wake.set()

    async def _stop_fetching(self) -> None:
        if self._fetching is not None:
            self._fetching.cancel()
            await asyncio.wait([self._fetching])
            if not self._fetching.cancelled():
                self._fetching.result()

    def _may_send(self) -> bool:
        return len(self._unconfirmed) < self._connection.receive_maximum

    def _send(self, one: InFlight) -> None:
        now = self._loop.time()
        self._window.sent(one, now)
        payload = one.batch.payload
        if not self._connection.takes(payload):
            self._refused(0x95)
            return
        topic = telemetry_topic(self._site, self._gateway, one.batch.data_class, one.flow)
        self._unconfirmed[self._connection.send(topic, payload, qos=1)] = now
        self._counters.add(f"publisher.sent_batches.{one.flow}")

    def _on_puback(self, mid: int, code: ReasonCode) -> None:
        self._unconfirmed.pop(mid, None)
        if mid in self._not_batches:
            refused = self._not_batches.pop(mid)
            if code.value >= FAILURE:
                self._counters.add(refused)
        elif code.value >= FAILURE:
            self._refused(code.value)
        elif code.value == _NO_SUBSCRIBER:
            # Nobody heard it; the ingest will say so when it is there.
            self._counters.add("publisher.no_subscriber")
        self._wake.set()

    def _refused(self, code: int) -> None:
        """Note what the broker does not take: a batch stays in flight and is tried again after its time-out."""
        name = f"publisher.refused_by_broker.0x{code:02x}"
        if not self._counters.get(name):
            mend = _MEND.get(code, "look into the broker's log")
            _LOG.error("the broker refuses a message with code 0x%02x; a batch is kept and sent again → %s", code, mend)
        self._counters.add(name)
        self._window.refused(self._loop.time(), _PAUSES_S.get(code, _DEFAULT_PAUSE_S))

    async def _sleep(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(max(0.0, seconds)):
                await self._wake.wait()
        except TimeoutError:
            pass
