"""MQTT control packets as a proxy sees them: framing, protocol level, and PUBLISH taken apart and put together.

MQTT 3.1.1 and 5 (OASIS); pure. Only what a man in the middle and a plain listener need.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from telemetry.errors import ProtocolError

CONNECT: Final = 1
CONNACK: Final = 2
PUBLISH: Final = 3
SUBACK: Final = 9
PINGREQ: Final = b"\xc0\x00"
LEVEL_311: Final = 4
LEVEL_5: Final = 5
_MAX_VARINT_BYTES: Final = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """One control packet: its first byte and everything after the remaining length."""

    head: int
    body: bytes

    @property
    def kind(self) -> int:
        """Packet type, such as `PUBLISH`."""
        return self.head >> 4

    def encode(self) -> bytes:
        """Return the packet's bytes, with its length encoded anew."""
        return bytes([self.head]) + encode_varint(len(self.body)) + self.body


@dataclass(frozen=True, slots=True, kw_only=True)
class Publish:
    """A PUBLISH packet taken apart; `middle` is the packet id and the properties, left as they came."""

    head: int
    topic: str
    middle: bytes
    payload: bytes

    def with_payload(self, payload: bytes) -> Publish:
        """Return the same packet with another payload."""
        return replace(self, payload=payload)

    def frame(self) -> Frame:
        """Return the packet put together again."""
        topic = self.topic.encode()
        return Frame(head=self.head, body=len(topic).to_bytes(2, "big") + topic + self.middle + self.payload)


def connect(client_id: str, *, keepalive_s: int) -> Frame:
    """Return a CONNECT of MQTT 3.1.1 with a clean session."""
    text = client_id.encode()
    head = b"\x00\x04MQTT" + bytes([LEVEL_311, 0b10]) + keepalive_s.to_bytes(2, "big")
    return Frame(head=CONNECT << 4, body=head + len(text).to_bytes(2, "big") + text)


def subscribe(topic_filter: str, *, packet_id: int = 1) -> Frame:
    """Return a SUBSCRIBE to one filter with QoS 1."""
    text = topic_filter.encode()
    return Frame(head=0x82, body=packet_id.to_bytes(2, "big") + len(text).to_bytes(2, "big") + text + b"\x01")


def puback(publish: Publish) -> Frame | None:
    """Return the acknowledgement that a client of MQTT 3.1.1 owes for `publish`; none for QoS 0."""
    return Frame(head=0x40, body=publish.middle[:2]) if publish.head & 0b110 else None


def encode_varint(number: int) -> bytes:
    """Return `number` as a variable byte integer, shortest form."""
    output = bytearray()
    while True:
        number, low = divmod(number, 128)
        output.append(low | (128 if number else 0))
        if not number:
            return bytes(output)


def decode_varint(data: bytes | bytearray, at: int = 0) -> tuple[int, int] | None:
    """Return (number, next position), or none if more bytes are needed. Raises ProtocolError if over four bytes."""
    number = 0
    for index in range(_MAX_VARINT_BYTES):
        if at + index >= len(data):
            return None
        byte = data[at + index]
        number |= (byte & 127) << (7 * index)
        if byte < 128:  # noqa: PLR2004 - the continuation bit
            return number, at + index + 1
    raise ProtocolError("remaining length is longer than four bytes")


class Splitter:
    """Cuts a byte stream into frames, however it was chopped."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def feed(self, data: bytes) -> list[Frame]:
        """Return the frames that `data` completes. Raises ProtocolError if it is not MQTT."""
        self._rest += data
        frames = []
        while len(self._rest) > 1:
            length = decode_varint(self._rest, 1)
            if length is None or len(self._rest) < sum(length):
                break
            size, start = length
            frames.append(Frame(head=self._rest[0], body=bytes(self._rest[start : start + size])))
            del self._rest[: start + size]
        return frames


def protocol_level(connect: Frame) -> int:
    """Return the version a CONNECT asks for: 4 is MQTT 3.1.1, 5 is MQTT 5. Raises ProtocolError."""
    size = int.from_bytes(connect.body[:2], "big")
    if connect.kind != CONNECT or len(connect.body) <= 2 + size:
        raise ProtocolError("not a CONNECT packet")
    return connect.body[2 + size]


def parse_publish(frame: Frame, level: int) -> Publish:
    """Return the parts of a PUBLISH sent by a client of protocol `level`. Raises ProtocolError."""
    body = frame.body
    end = 2 + int.from_bytes(body[:2], "big")
    after = end + (2 if frame.head & 0b110 else 0)
    if frame.kind != PUBLISH or len(body) < after:
        raise ProtocolError("not a whole PUBLISH packet")
    if level >= LEVEL_5:
        properties = decode_varint(body, after)
        if properties is None or len(body) < sum(properties):
            raise ProtocolError("PUBLISH properties are cut short")
        after = sum(properties)
    try:
        topic = body[2:end].decode()
    except UnicodeDecodeError as error:
        raise ProtocolError("topic is not UTF-8") from error
    return Publish(head=frame.head, topic=topic, middle=body[end:after], payload=body[after:])
