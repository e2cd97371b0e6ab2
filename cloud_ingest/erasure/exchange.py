"""The command line's conversation with workers and gateways over the broker: orders out, confirmations in."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeVar

import aiomqtt
import msgspec

from cloud_ingest.broker import VERSIONS, HungUp, VersionRefused, connect, subscribe
from cloud_ingest.erasure import topics
from cloud_ingest.erasure.worker import Confirmation, Presence
from telemetry.counters import Counters
from telemetry.erasure import COMMAND_KIND, COMMAND_SCHEMA
from telemetry.errors import AuthError, CampusError
from telemetry.topics import ROOT, Channel, erase_topic, gateway_topic, parse_topic

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from cloud_ingest.broker import BrokerClient
    from cloud_ingest.settings import MqttSettings
    from telemetry.topics import Topic

QUIET_S: Final = 0.7
"""When nothing retained has come for so long, all of it has."""
ONLINE_NS: Final = 30_000_000_000
"""A worker that said nothing for so long does not run."""
_MAX_BYTES: Final = 4_000_000
T = TypeVar("T")


class BrokerUnavailable(CampusError):
    """There is no connection to the broker: nothing was ordered."""


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """A gateway's answer to an order."""

    schema: str
    gateway: str = ""
    kind: str | None = None
    ok: bool = False
    text: str = ""
    erasures: list[ReplyErasure] = []


class ReplyErasure(msgspec.Struct, frozen=True, kw_only=True):
    """What one gateway found of one request."""

    request: str
    still_consented: int = 0
    at_ns: int | None = None
    values: int = 0


class _Status(msgspec.Struct, frozen=True, kw_only=True):
    state: str = ""


@dataclass(slots=True, kw_only=True)
class Heard:
    """What was heard on one connection."""

    workers: dict[str, Presence] = field(default_factory=dict)
    confirmations: list[Confirmation] = field(default_factory=list)
    gateways: dict[str, str] = field(default_factory=dict)
    """Gateway of the site → its retained state, `online` or `offline`."""
    replies: list[tuple[str, Reply]] = field(default_factory=list)
    devices: dict[str, Any] = field(default_factory=dict)
    """Gateway → its retained document of devices."""
    retained: dict[str, bytes] = field(default_factory=dict)
    """Everything retained below the site."""
    at: float = field(default_factory=time.monotonic)
    """When something came last."""

    def running(self) -> set[str]:
        """Return the workers that run now."""
        now_ns = time.time_ns()
        return {name for name, one in self.workers.items() if one.state == "online" and now_ns - one.at_ns < ONLINE_NS}


class Exchange:
    """One connection, listening to one site."""

    def __init__(self, client: BrokerClient, site: str) -> None:
        self.heard = Heard()
        self._client = client
        self._site = site
        self._news = asyncio.Event()

    async def order_workers(self, request: str, text: str) -> None:
        """Leave an order for all workers, those that start later too."""
        await self._publish(topics.order_topic(self._site, request), _envelope(text))

    async def order_gateway(self, gateway: str, text: str | None) -> None:
        """Leave an order for a gateway, until it is replaced; none takes it away."""
        await self._publish(erase_topic(self._site, gateway), b"" if text is None else _envelope(text))

    async def clear(self, topic: str) -> None:
        """Take a retained message away."""
        await self._publish(topic, b"")

    async def quiet(self) -> None:
        """Wait until nothing retained comes any more."""
        while (left_s := self.heard.at + QUIET_S - time.monotonic()) > 0:  # noqa: ASYNC110 - nothing says that it is over
            await asyncio.sleep(left_s)

    async def retained(self) -> dict[str, bytes]:
        """Return everything that the broker retains for the site."""
        everything = f"{ROOT}/{self._site}/#"
        await subscribe(self._client, everything, 0)
        self.heard.at = time.monotonic()
        await self.quiet()
        await self._client.unsubscribe(everything)
        return self.heard.retained

    async def until(self, condition: Callable[[], bool], within_s: float) -> bool:
        """Wait for `condition`, looked at after each message; false if it does not come true in time."""
        try:
            async with asyncio.timeout(within_s):
                while not condition():
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            return False
        return True

    async def listen(self) -> None:
        """Subscribe to what answers, and take it in until cancelled."""
        site = self._site
        for topic in (
            topics.WORKERS,
            topics.confirmation_topic(site, "+", "+"),
            *(gateway_topic(site, "+", channel) for channel in (Channel.STATUS, Channel.REPLY, Channel.DEVICES)),
        ):
            await subscribe(self._client, topic, 0)
        self.heard.at = time.monotonic()
        async for message in self._client.messages:
            topic, payload = message.topic.value, bytes(message.payload)
            if message.retain:
                self.heard.retained[topic] = payload
                self.heard.at = time.monotonic()
            self._take(topic, payload)
            self._news.set()

    def _take(self, topic: str, payload: bytes) -> None:
        heard = self.heard
        if not payload or len(payload) > _MAX_BYTES:
            return
        if topic.startswith(topics.worker_topic("")):
            presence = _decoded(payload, Presence)
            if presence is not None and topic == topics.worker_topic(presence.worker):
                heard.workers[presence.worker] = presence
            return
        if topics.MARK in topic:
            confirmation = _decoded(payload, Confirmation)
            if confirmation is not None and topic.endswith(f"/{confirmation.request}/{confirmation.worker}"):
                heard.confirmations.append(confirmation)
            return
        where = parse_topic(topic)
        if where is not None and where.site == self._site:
            self._take_from_gateway(where, payload)

    def _take_from_gateway(self, where: Topic, payload: bytes) -> None:
        if where.channel is Channel.STATUS:
            status = _decoded(payload, _Status)
            self.heard.gateways[where.gateway] = status.state if status is not None else ""
        elif where.channel is Channel.REPLY:
            reply = _decoded(payload, Reply)
            if reply is not None and reply.kind == COMMAND_KIND:
                self.heard.replies.append((where.gateway, reply))
        elif where.channel is Channel.DEVICES:
            self.heard.devices[where.gateway] = _decoded(payload, dict)

    async def _publish(self, topic: str, payload: bytes) -> None:
        try:
            await self._client.publish(topic, payload, qos=1, retain=True)
        except (aiomqtt.MqttError, ValueError) as error:
            raise BrokerUnavailable(f"the broker does not take an order on {topic}: {error}") from error


@asynccontextmanager
async def connected(settings: MqttSettings, site: str) -> AsyncIterator[Exchange]:
    """Connect under a name of our own and listen. Raises AuthError or BrokerUnavailable."""
    client = await _connect(settings)
    exchange = Exchange(client, site)
    listening = asyncio.create_task(exchange.listen(), name="erasure-listen")
    try:
        await asyncio.sleep(0)
        await exchange.quiet()
        if listening.done():
            await listening
        yield exchange
    finally:
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)
        with contextlib.suppress(aiomqtt.MqttError):
            await client.__aexit__(None, None, None)


async def _connect(settings: MqttSettings) -> BrokerClient:
    # The running ingest's own name must not be taken over: the broker would throw it out.
    name = f"{settings.client_id[:40]}-erase-{secrets.token_hex(4)}"
    mine = settings.model_copy(update={"client_id": name})
    problem: Exception | None = None
    for protocol in VERSIONS[settings.protocol]:
        try:
            return await connect(mine, protocol, Counters())
        except AuthError:
            raise
        except (VersionRefused, HungUp) as error:
            problem = error
        except (aiomqtt.MqttError, OSError, ValueError) as error:
            problem = error
            break
    raise BrokerUnavailable(f"no connection to the broker at {settings.url}: {problem}")


def _envelope(text: str) -> bytes:
    return msgspec.json.encode({"schema": COMMAND_SCHEMA, "kind": COMMAND_KIND, "text": text})


def _decoded(payload: bytes, kind: type[T]) -> T | None:
    try:
        return msgspec.json.decode(payload, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
