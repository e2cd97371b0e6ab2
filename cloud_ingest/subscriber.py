"""The subscriber: hands telemetry to the intake, greets gateways."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from itertools import chain
from typing import TYPE_CHECKING, Final, Literal

import aiomqtt
import msgspec

from cloud_ingest.broker import BrokerClient, subscribe
from cloud_ingest.reconnect import Reconnector
from telemetry.errors import AuthError
from telemetry.topics import Channel, all_telemetry, gateway_topic, parse_topic

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from cloud_ingest.acks import Acknowledger
    from cloud_ingest.intake import Intake
    from cloud_ingest.settings import MqttSettings
    from telemetry.counters import Counters

_log = logging.getLogger(__name__)
_GOODBYE_S: Final = 1.0
_GREETINGS_PER_S: Final = 50
_MOST_GREETINGS: Final = 100_000


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """A gateway's retained birth or last will."""

    state: Literal["online", "offline"]
    epoch: str = ""
    at_ns: int | None = None


class BrokerDelivery:
    """A PUBLISH on one connection."""

    __slots__ = ("_client", "_message_id", "_qos", "payload", "topic")

    def __init__(self, client: BrokerClient, message: aiomqtt.Message) -> None:
        self._client = client
        self._message_id = message.mid
        self._qos = message.qos
        self.topic = message.topic.value
        self.payload = bytes(message.payload)

    def release(self) -> None:
        """Let go of the bytes."""
        self.payload = b""

    def acknowledge(self) -> None:
        """Send the PUBACK on this connection, if it still stands."""
        self._client.acknowledge(self._message_id, self._qos)


class Subscriber:
    """Subscribes on each connection; publishes on the one that stands."""

    def __init__(self, settings: MqttSettings, counters: Counters) -> None:
        self._settings = settings
        self._counters = counters
        self._client: BrokerClient | None = None
        self._greetings: dict[tuple[str, str], Status] = {}
        self._greeting_due = asyncio.Event()
        self._listeners: list[tuple[str, Callable[[str], bool], Callable[[str, bytes], None]]] = []
        self._status = msgspec.json.Decoder(Status)
        self._reconnector = Reconnector(settings, counters)
        self.connected = self._reconnector.connected

    @property
    def progress_at(self) -> float:
        """When it last read a message or tried to connect, by the monotonic clock."""
        return self._reconnector.progress_at

    def listen(self, topic: str, is_it: Callable[[str], bool], take: Callable[[str, bytes], None]) -> None:
        """Have `take` called with what comes on `topic`, known by `is_it`. To be said before `run`."""
        self._listeners.append((topic, is_it, take))

    async def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> bool:
        """Publish with QoS 1; false if there is no connection or the broker does not take it in time."""
        client = self._client
        if client is None:
            return False
        try:
            await client.publish(topic, payload, qos=1, retain=retain)
        except (aiomqtt.MqttError, ValueError) as error:
            _log.debug("publishing failed: %s", error)
            return False
        return True

    async def run(self, intake: Intake, *, stop: asyncio.Event, drain: Callable[[], Awaitable[None]]) -> None:
        """Read until `stop`, then `drain` while still connected, then disconnect."""
        await self._reconnector.run(lambda protocol: self._session(protocol, intake, stop, drain), stop)

    async def _session(
        self,
        protocol: aiomqtt.ProtocolVersion,
        intake: Intake,
        stop: asyncio.Event,
        drain: Callable[[], Awaitable[None]],
    ) -> None:
        client = await self._reconnector.open(protocol, stop)
        if client is None:
            return
        try:
            self._client = client
            # A task of its own, so that stopping waits neither for messages nor for a broker that fell silent.
            reading = asyncio.create_task(self._read(client, intake), name="mqtt-read")
            stopping = asyncio.create_task(stop.wait(), name="mqtt-stop")
            try:
                await asyncio.wait((reading, stopping), return_when=asyncio.FIRST_COMPLETED)
                if not reading.done():
                    reading.cancel()
                    await drain()
                else:
                    await reading
            finally:
                for task in (reading, stopping):
                    task.cancel()
                await asyncio.gather(reading, stopping, return_exceptions=True)
        finally:
            self._client = None
            client.timeout = _GOODBYE_S
            with contextlib.suppress(aiomqtt.MqttError):
                await client.__aexit__(None, None, None)

    async def _read(self, client: BrokerClient, intake: Intake) -> None:
        # Orders to erase before rows of theirs; telemetry before status: a gateway that is greeted sends at once.
        for topic, _, _ in self._listeners:
            await self._subscribe_if_allowed(client, topic)
        await subscribe(client, all_telemetry(self._settings.share_group or None), 1)
        await subscribe(client, gateway_topic("+", "+", Channel.STATUS), 0)
        self._reconnector.established(client)
        async for first in client.messages:
            self._reconnector.progress_at = time.monotonic()
            for message in chain((first,), client.waiting()):
                if client.overflowed:
                    raise aiomqtt.MqttError("more messages than fit arrived; connecting anew, gateways send them again")
                await self._take(client, message, intake)

    async def _take(self, client: BrokerClient, message: aiomqtt.Message, intake: Intake) -> None:
        topic = message.topic.value
        if topic.split("/", 5)[4:5] == [Channel.TELEMETRY]:
            # Whatever follows: only the intake acknowledges, and what nobody acknowledges stops all others.
            await intake.accept(BrokerDelivery(client, message))
        elif topic.endswith("/status"):
            self._note_status(topic, bytes(message.payload))
        elif take := next((take for _, is_it, take in self._listeners if is_it(topic)), None):
            take(topic, bytes(message.payload))
        else:
            await intake.accept(BrokerDelivery(client, message))

    async def _subscribe_if_allowed(self, client: BrokerClient, topic: str) -> None:
        """Subscribe; a broker whose access rules are older than we are must not keep us from our work."""
        try:
            await subscribe(client, topic, 0)
        except AuthError as error:
            if not self._counters.get("mqtt.refused_listening"):
                _log.warning("%s", error)
            self._counters.add("mqtt.refused_listening")

    def _note_status(self, topic: str, payload: bytes) -> None:
        """Remember to greet the gateway that is online."""
        where = parse_topic(topic)
        if where is None or where.channel is not Channel.STATUS:
            return
        try:
            status = self._status.decode(payload)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            self._counters.add("mqtt.bad_status")
            return
        key = (where.site, where.gateway)
        if status.state == "offline":
            self._greetings.pop(key, None)
        elif len(self._greetings) < _MOST_GREETINGS:
            self._greetings[key] = status
            self._greeting_due.set()

    async def greet(self, acks: Acknowledger) -> None:
        """Say "I am here" to gateways that are online, in random order and spread over time; runs until cancelled."""
        while True:
            await self._greeting_due.wait()
            self._greeting_due.clear()
            # A burst of retained births arrives at once: let it become complete, then mix it.
            await asyncio.sleep(random.uniform(0.05, 0.2))  # noqa: S311 - jitter
            due = list(self._greetings.items())
            random.shuffle(due)
            for key, _ in due:
                status = self._greetings.pop(key, None)
                if status is None:
                    continue
                acks.greet(*key, status.epoch, status.at_ns)
                await acks.flush()
                self._counters.add("mqtt.greetings")
                await asyncio.sleep(random.uniform(0, 2 / _GREETINGS_PER_S))  # noqa: S311 - jitter
