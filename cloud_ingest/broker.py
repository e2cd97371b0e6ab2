"""The broker's client: everything that reaches below aiomqtt's public face stands in this file.

aiomqtt 2 has no public API for acknowledging by hand; paho, which it wraps, has (`manual_ack_set`, `ack`).
Each connection is a new `BrokerClient`, so that a message id of an old connection can never be
acknowledged on a new one.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from typing import TYPE_CHECKING, Any, Final

import aiomqtt
from paho.mqtt.client import MQTT_CLEAN_START_FIRST_ONLY
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from cloud_ingest.addresses import parse_broker, read_secret
from telemetry.errors import AuthError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from paho.mqtt.client import Client as PahoClient
    from paho.mqtt.client import DisconnectFlags

    from cloud_ingest.settings import MqttSettings
    from telemetry.counters import Counters

CONNECT_S: Final = 3.0
"""Deadline of TCP, TLS and CONNACK, each."""
DEADLINE_S: Final = 10.0
WAITING_BYTES: Final = 16 * 1024 * 1024
"""How much may wait to be decoded."""
V5: Final = aiomqtt.ProtocolVersion.V5
V311: Final = aiomqtt.ProtocolVersion.V311
VERSIONS: Final = {"5": (V5,), "3.1.1": (V311,), "auto": (V5, V311)}
"""Setting `mqtt.protocol` → what is tried, in this order."""
# 3.1.1: bad user or password, not authorised. 5: the same, banned, bad authentication method.
_AUTH_CODES: Final = {4, 5, 134, 135, 138, 140}
_VERSION_CODES: Final = {1, 132}


class HungUp(aiomqtt.MqttError):
    """The broker closed the connection instead of answering: an old one may do so when greeted in MQTT 5."""


class VersionRefused(Exception):
    """The broker does not speak this version of MQTT."""


class BrokerClient(aiomqtt.Client):
    """One connection; messages stay unacknowledged until `acknowledge`."""

    def __init__(self, settings: MqttSettings, protocol: aiomqtt.ProtocolVersion, counters: Counters) -> None:
        address = parse_broker(settings.url)
        properties = None
        if protocol is V5:
            properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
            properties.ReceiveMaximum = settings.receive_maximum
            properties.SessionExpiryInterval = 0
            properties.MaximumPacketSize = settings.max_packet_bytes
        self.overflowed = False
        """A message was dropped because the queue was full: the connection must be made anew."""
        self._abandoned = False
        self._held: Any = None
        """The socket that is not read for now."""
        client = self

        class Incoming(asyncio.Queue[aiomqtt.Message]):
            """aiomqtt drops what does not fit and only logs it; here it is counted and ends the connection.

            While more bytes wait than ought to be in memory, nothing is read from the socket.
            """

            waiting_bytes = 0

            def put_nowait(self, item: aiomqtt.Message) -> None:
                client.answer_at_once()
                try:
                    super().put_nowait(item)
                except asyncio.QueueFull:
                    counters.add("mqtt.dropped_messages")
                    client.overflowed = True
                else:
                    self.waiting_bytes += len(item.payload)
                    if self.waiting_bytes > WAITING_BYTES:
                        client.hold_reading()

            def get_nowait(self) -> aiomqtt.Message:
                item = super().get_nowait()
                self.waiting_bytes -= len(item.payload)
                if self.waiting_bytes <= WAITING_BYTES:
                    client.go_on_reading()
                return item

        super().__init__(
            address.host,
            address.port,
            identifier=settings.client_id,
            username=settings.username,
            password=read_secret(settings.password_file) if settings.password_file else None,
            protocol=protocol,
            clean_session=None if protocol is V5 else True,
            clean_start=True if protocol is V5 else MQTT_CLEAN_START_FIRST_ONLY,
            properties=properties,
            keepalive=settings.keepalive_s,
            # Acknowledgements are small and wait for nothing.
            socket_options=[(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)],
            timeout=CONNECT_S,
            tls_context=_tls(settings) if address.tls else None,
            queue_type=Incoming,
            # A broker that keeps to Receive Maximum never fills it; room for retained messages is beside it.
            max_queued_incoming_messages=max(2 * settings.receive_maximum, 2000),
        )
        self.protocol = protocol
        self.pending_calls_threshold = 1000
        self._client.manual_ack_set(True)
        self._client.connect_timeout = CONNECT_S

    def acknowledge(self, message_id: int, qos: int) -> None:
        """Send the PUBACK; does nothing on a connection that is gone."""
        if not self._disconnected.done() and self._client.socket() is not None:
            self._client.ack(message_id, qos)

    def hold_reading(self) -> None:
        """Leave to the kernel and the broker what does not fit into memory now."""
        found: Any = self._client.socket()
        if self._held is None and found is not None and found.fileno() >= 0:
            self._held = found
            self._loop.remove_reader(found.fileno())

    def go_on_reading(self) -> None:
        """Read again what `hold_reading` left, if the connection still stands."""
        held: Any = self._held
        self._held = None
        now: Any = self._client.socket()
        if held is not None and held is now and held.fileno() >= 0:
            self._loop.add_reader(held.fileno(), self._read)
            self._loop.call_soon(self._read)  # TLS may have more in its own memory

    def _read(self) -> None:
        """Read as aiomqtt does: an error is the end of the connection."""
        try:
            while self._held is None:
                self._client.loop_read()
                read: Any = self._client.socket()
                if not isinstance(read, ssl.SSLSocket) or not read.pending():
                    return
        except (OSError, ValueError) as error:
            if not self._disconnected.done():
                self._disconnected.set_exception(aiomqtt.MqttError(str(error)))

    def answer_at_once(self) -> None:
        """Have the kernel confirm what came without its usual delay of 40 ms, for which a default Mosquitto waits."""
        sock = self._client.socket()
        if isinstance(sock, socket.socket):
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)

    def waiting(self) -> Iterator[aiomqtt.Message]:
        """Yield what has come besides, without giving way to the loop.

        aiomqtt hands out a message in three turns of the loop, while each turn reads at least one: a flood of births,
        which Receive Maximum does not hold back, would fill the queue however fast each is dealt with.
        """
        while not self._queue.empty():
            yield self._queue.get_nowait()

    def abandon(self) -> None:
        """Close a connection that never came to life: aiomqtt leaves its socket and task behind."""
        self._abandoned = True
        self._client.disconnect()
        if self._misc_task is not None:
            self._misc_task.cancel()

    def _on_disconnect(
        self,
        client: PahoClient,
        userdata: Any,
        flags: DisconnectFlags,
        reason_code: ReasonCode,
        properties: Properties | None = None,
    ) -> None:
        # aiomqtt would wait for its time-out: a broker that does not speak this version often just hangs up.
        if self._abandoned:
            return
        if not self._connected.done():
            self._connected.set_exception(HungUp("broker closed the connection before it answered"))
            return
        super()._on_disconnect(client, userdata, flags, reason_code, properties)


async def connect(settings: MqttSettings, protocol: aiomqtt.ProtocolVersion, counters: Counters) -> BrokerClient:
    """Return a connected client. Raises AuthError, VersionRefused, or aiomqtt.MqttError for all else."""
    client = BrokerClient(settings, protocol, counters)
    try:
        await client.__aenter__()
    except aiomqtt.MqttCodeError as error:
        client.abandon()
        code = error.rc.value if isinstance(error.rc, ReasonCode) else int(error.rc or 0)
        if code in _AUTH_CODES:
            raise AuthError(f"broker refuses our login: {error}") from error
        if code in _VERSION_CODES:
            raise VersionRefused(str(error)) from error
        raise
    except BaseException:
        client.abandon()
        raise
    client.timeout = DEADLINE_S
    return client


async def subscribe(client: BrokerClient, topic: str, qos: int) -> None:
    """Subscribe. Raises AuthError if the broker's rules do not allow it."""
    granted = await client.subscribe(topic, qos=qos)
    code = granted[0].value if isinstance(granted[0], ReasonCode) else int(granted[0])
    if code >= 0x80:  # noqa: PLR2004 - the standard's mark of failure
        raise AuthError(f"broker does not let us subscribe to {topic} (code {code}): allow it in its access rules")


def _tls(settings: MqttSettings) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=settings.ca_file)
    if settings.cert_file is not None:
        context.load_cert_chain(settings.cert_file, settings.key_file)
    return context
