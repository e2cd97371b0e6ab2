"""One MQTT connection. Everything that reaches below aiomqtt's public face stands in this file.

aiomqtt 2 hides what we need: the reason code of a PUBACK, a broker that hangs up before its CONNACK, and what is left
of an attempt that failed. Each connection is a new client, so that nothing of an old one lives on.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import socket
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

import aiomqtt
from paho.mqtt.client import MQTT_CLEAN_START_FIRST_ONLY, MQTT_ERR_SUCCESS
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from telemetry.errors import AuthError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from paho.mqtt.client import Client as PahoClient
    from paho.mqtt.client import ConnectFlags, DisconnectFlags, MQTTMessage

V5: Final = aiomqtt.ProtocolVersion.V5
V311: Final = aiomqtt.ProtocolVersion.V311
VERSIONS: Final = {"auto": (V5, V311), "5": (V5,), "3.1.1": (V311,)}
CONNECT_S: Final = 3.0
"""Deadline of TCP and TLS; also the longest that a stop has to wait for an attempt under way."""
CONNACK_S: Final = 5.0
GREETING_S: Final = 2.0
"""The same where another version can be tried: amqtt takes MQTT 5's CONNECT for an unfinished one, and waits."""
DEADLINE_S: Final = 10.0
"""Deadline of a PUBACK or SUBACK: later than that the connection is dead."""
_GOODBYE_S: Final = 1.0
_RECEIVE_MAXIMUM: Final = 100
FAILURE: Final = 0x80
"""Reason codes from here on are refusals."""
_HEADER_BYTES: Final = 256
"""More than topic and properties of one of our messages take."""
_AIOMQTT_TIMEOUT: Final = "Operation timed out"
# Bad user or password, not authorised, banned, bad authentication method; paho gives 3.1.1's codes as those of 5.
_AUTH_CODES: Final = {0x86, 0x87, 0x8A, 0x8C}
_VERSION_CODES: Final = {0x84}


class Unanswered(aiomqtt.MqttError):
    """The broker hung up or kept silent instead of a CONNACK: an old one's way to say no to MQTT 5."""


class _Context(ssl.SSLContext):
    """Knows the socket it made: paho loses it, open, when the handshake fails."""

    made: ssl.SSLSocket | None = None

    def wrap_socket(self, *arguments: Any, **options: Any) -> ssl.SSLSocket:
        self.made = super().wrap_socket(*arguments, **options)
        return self.made


@dataclass(frozen=True, slots=True, kw_only=True)
class Broker:
    """Where the broker is and how to log in. With `tls` there is no way back to plain text."""

    host: str
    port: int
    tls: bool = False
    protocol: Literal["auto", "5", "3.1.1"] = "auto"
    username: str | None = None
    password_file: Path | None = None
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    keepalive_s: int = 30

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'mqtts' if self.tls else 'mqtt'}://{host}:{self.port}"


class Connection(aiomqtt.Client):
    """A client whose messages and PUBACKs arrive by callback, in the event loop."""

    def __init__(
        self,
        broker: Broker,
        protocol: aiomqtt.ProtocolVersion,
        *,
        client_id: str,
        will: aiomqtt.Will,
        password: str | None,
        context: _Context | None,
        connack_s: float = CONNACK_S,
    ) -> None:
        properties = None
        if protocol is V5:
            properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
            properties.ReceiveMaximum = _RECEIVE_MAXIMUM
            properties.SessionExpiryInterval = 0
        super().__init__(
            broker.host,
            broker.port,
            identifier=client_id,
            username=broker.username,
            password=password,
            protocol=protocol,
            clean_session=None if protocol is V5 else True,
            clean_start=True if protocol is V5 else MQTT_CLEAN_START_FIRST_ONLY,
            properties=properties,
            will=will,
            keepalive=broker.keepalive_s,
            timeout=connack_s,
            tls_context=context,
            # Batches are small and wait for nothing; and what is not acknowledged in time means a dead connection.
            socket_options=[
                (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
                (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(DEADLINE_S * 1000)),
            ],
        )
        self._client.connect_timeout = CONNECT_S
        self._context = context
        self.protocol = protocol
        self.max_packet_bytes: int | None = None
        """The largest packet that the broker takes; none if it did not say."""
        self.receive_maximum = 65_535
        """How many messages may wait for their PUBACK, says the broker; paho does not keep to it by itself."""
        self.on_message: Callable[[str, bytes], None] = lambda *_: None
        """Called with the topic and payload of each incoming message."""
        self.on_puback: Callable[[int, ReasonCode], None] = lambda *_: None
        """Called with the message id and the broker's answer."""

    @property
    def lost(self) -> asyncio.Future[None]:
        """Done when the connection has ended."""
        return self._disconnected

    def check_dates(self, now_ns: int) -> None:
        """Raise MqttError if the broker's own certificate is not valid at UTC `now_ns`; nothing without TLS."""
        sock = self._client.socket()
        found = sock.getpeercert() if isinstance(sock, ssl.SSLSocket) else None
        if found and not (
            ssl.cert_time_to_seconds(str(found["notBefore"]))
            <= now_ns / 1e9
            <= ssl.cert_time_to_seconds(str(found["notAfter"]))
        ):
            dates = f"from {found['notBefore']} to {found['notAfter']}"
            raise aiomqtt.MqttError(f"the broker's certificate is valid {dates} only")

    def takes(self, payload: bytes) -> bool:
        """Whether the broker takes a message so large: sending a larger one would only make it hang up."""
        return self.max_packet_bytes is None or len(payload) + _HEADER_BYTES <= self.max_packet_bytes

    def send(self, topic: str, payload: bytes, *, qos: int, retain: bool = False) -> int:
        """Hand a message over and return its id; a PUBACK is told to `on_puback`. Raises MqttCodeError."""
        info = self._client.publish(topic, payload, qos, retain)
        if info.rc != MQTT_ERR_SUCCESS:
            raise aiomqtt.MqttCodeError(info.rc, "cannot publish")
        return info.mid

    async def open(self, stop: asyncio.Event) -> None:
        """Connect and log in, unless `stop` is set meanwhile.

        Raises AuthError or MqttError, and leaves nothing behind then.
        """
        loop = asyncio.get_running_loop()
        entering = loop.create_task(self.__aenter__(), name="mqtt-connect")
        stopping = loop.create_task(stop.wait(), name="mqtt-connect-stop")
        try:
            await asyncio.wait([entering, stopping], return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopping.cancel()
            if not entering.done():
                # The thread in connect() cannot be stopped, but ends by its deadline; then nobody waits for a CONNACK.
                if not self._connected.done():
                    self._connected.set_exception(Unanswered("stopped while connecting"))
                    self._connected.exception()  # else asyncio complains if our caller is cancelled before it looks
                await asyncio.wait([entering, stopping])
                if entering.exception() is None:
                    await self.abandon()
        try:
            entering.result()
            if stop.is_set():
                raise Unanswered("stopped while connecting")
        except aiomqtt.MqttError as error:
            await self.abandon()
            code = _code(error)
            if code in _AUTH_CODES:
                raise AuthError(f"broker refuses the login: {error}") from error
            if str(error) == _AIOMQTT_TIMEOUT:
                raise Unanswered(f"broker did not answer the login within {self.timeout:.0f} s") from error
            raise
        except UnicodeError as error:
            await self.abandon()
            raise aiomqtt.MqttError(f"{self._hostname!r} cannot be a host name → mend mqtt.url") from error
        # Deadlines are ours from here: asyncio.wait_for of Python 3.11, which aiomqtt uses, may swallow a cancellation.
        self.timeout = math.inf

    async def subscribe_to(self, topic: str) -> None:
        """Subscribe with QoS 1. Raises AuthError if the broker does not allow it, MqttError for all else."""
        async with _deadline(DEADLINE_S):
            granted = await self.subscribe(topic, qos=1)
        code = granted[0].value if isinstance(granted[0], ReasonCode) else int(granted[0])
        if code >= FAILURE:
            raise AuthError(f"broker does not let us subscribe to {topic} (code {code}): allow it in its access rules")

    async def say(self, topic: str, payload: bytes, *, within_s: float = DEADLINE_S) -> None:
        """Publish a retained message and wait for its PUBACK. Raises MqttError."""
        async with _deadline(within_s):
            await self.publish(topic, payload, qos=1, retain=True)

    async def close(self) -> None:
        """Say goodbye, so that the broker does not publish the will; never raises MqttError."""
        with contextlib.suppress(aiomqtt.MqttError):
            async with _deadline(_GOODBYE_S):
                await self.__aexit__(None, None, None)
        await self.abandon()

    async def abandon(self) -> None:
        """Cut the connection and leave nothing of it behind."""
        sock = self._client.socket()
        if isinstance(sock, socket.socket):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            # paho lets go of its socket when it reads the end.
            while self._client.socket() is not None and self._client.loop_read() == MQTT_ERR_SUCCESS:
                pass
        if self._context is not None and self._context.made is not None and self._client.socket() is None:
            self._context.made.close()
        if self._misc_task is not None:
            self._misc_task.cancel()
            await asyncio.wait([self._misc_task])
        for future in (self._connected, self._disconnected):
            if future.done() and not future.cancelled():
                future.exception()

    def _on_connect(
        self,
        client: PahoClient,
        userdata: Any,
        flags: ConnectFlags,
        reason_code: ReasonCode,
        properties: Properties | None = None,
    ) -> None:
        self.max_packet_bytes = getattr(properties, "MaximumPacketSize", None)
        self.receive_maximum = getattr(properties, "ReceiveMaximum", self.receive_maximum)
        super()._on_connect(client, userdata, flags, reason_code, properties)

    def _on_disconnect(
        self,
        client: PahoClient,
        userdata: Any,
        flags: DisconnectFlags,
        reason_code: ReasonCode,
        properties: Properties | None = None,
    ) -> None:
        # aiomqtt would wait for its time-out.
        if not self._connected.done():
            self._connected.set_exception(Unanswered("broker closed the connection before it answered"))
            return
        super()._on_disconnect(client, userdata, flags, reason_code, properties)

    def _on_message(self, client: PahoClient, userdata: Any, message: MQTTMessage) -> None:  # noqa: ARG002
        self._answer_at_once()
        self.on_message(message.topic, bytes(message.payload))

    def _on_publish(
        self, client: PahoClient, userdata: Any, mid: int, reason_code: ReasonCode, properties: Properties
    ) -> None:
        super()._on_publish(client, userdata, mid, reason_code, properties)
        self._answer_at_once()
        self.on_puback(mid, reason_code)

    def _answer_at_once(self) -> None:
        """Have the kernel confirm what came without its usual delay of 40 ms.

        Mosquitto, as it is configured by default, holds back its next small packet for so long: the acknowledgement
        that follows a PUBACK.
        """
        sock = self._client.socket()
        if isinstance(sock, socket.socket):
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)


@contextlib.asynccontextmanager
async def _deadline(seconds: float) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError:
        raise aiomqtt.MqttError(f"broker did not answer within {seconds:.0f} s") from None


def _code(error: aiomqtt.MqttError) -> int | None:
    # Plain integers are paho's own error numbers, which overlap with reason codes.
    rc = error.rc if isinstance(error, aiomqtt.MqttCodeError) else None
    return rc.value if isinstance(rc, ReasonCode) else None


def refuses_version(error: aiomqtt.MqttError) -> bool:
    """Whether the broker said that it does not speak this version, or behaved as old ones do that do not."""
    return isinstance(error, Unanswered) or _code(error) in _VERSION_CODES


def is_refusal(error: BaseException | None) -> bool:
    """Whether a connection ended because the broker does not want this client."""
    return isinstance(error, AuthError) or (isinstance(error, aiomqtt.MqttError) and _code(error) in _AUTH_CODES)


_NO_CHECK_TIME: Final = ssl.VerifyFlags(0x200000)
"""OpenSSL's X509_V_FLAG_NO_CHECK_TIME, which Python has no name for."""


def read_credentials(broker: Broker, *, dated: bool = True) -> tuple[_Context | None, str | None]:
    """Return the TLS context, none for a plain connection, and the password; reads files.

    Without `dated`, for a gateway that does not know the time, certificates may be of any date; all else is checked.
    Raises AuthError naming the file that cannot be used.
    """
    path: Path | None = None
    context: _Context | None = None
    try:
        if broker.tls:
            path = broker.ca_file
            # Checks certificate and host name, and nothing can turn that off.
            context = _Context(ssl.PROTOCOL_TLS_CLIENT)
            context.minimum_version = ssl.TLSVersion.TLSv1_2
            if not dated:
                context.verify_flags |= _NO_CHECK_TIME
            if path is not None:
                context.load_verify_locations(path)
            else:
                context.load_default_certs()
            path = broker.cert_file
            if path is not None:
                context.load_cert_chain(path, broker.key_file)
        path = broker.password_file
        # Only the line end goes: a password may end with a space.
        return context, path.read_text(encoding="utf-8").rstrip("\r\n") if path is not None else None
    except (OSError, UnicodeDecodeError) as error:
        raise AuthError(f"{path} cannot be used: {error} → give the agent a readable PEM or password file") from error
