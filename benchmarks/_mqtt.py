"""As much of MQTT 3.1.1 as stand-ins for gateways need: packets as bytes, and where the next one ends."""

from __future__ import annotations

import struct
from typing import Final

CONNACK: Final = 0x20
PUBLISH: Final = 0x30
PUBACK: Final = 0x40
SUBACK: Final = 0x90
DISCONNECT: Final = b"\xe0\x00"
_CONNECT: Final = 0x10
_SUBSCRIBE: Final = 0x82
_CLEAN: Final = 0x02
_WILL: Final = 0x2C
"""A will of QoS 1, retained."""


def _text(value: str) -> bytes:
    encoded = value.encode()
    return struct.pack(">H", len(encoded)) + encoded


def _packet(head: int, body: bytes) -> bytes:
    length, digits = len(body), bytearray()
    while True:
        length, digit = divmod(length, 128)
        digits.append(digit | (0x80 if length else 0))
        if not length:
            return bytes((head, *digits)) + body


def connect_packet(client: str, *, keepalive_s: int = 0, will: tuple[str, bytes] | None = None) -> bytes:
    """Return a CONNECT with a clean session; the will is (topic, payload)."""
    body = _text("MQTT") + bytes((4, _CLEAN | (_WILL if will else 0))) + struct.pack(">H", keepalive_s) + _text(client)
    if will is not None:
        topic, payload = will
        body += _text(topic) + struct.pack(">H", len(payload)) + payload
    return _packet(_CONNECT, body)


def subscribe_packet(topic: str, *, qos: int) -> bytes:
    """Return a SUBSCRIBE to one topic."""
    return _packet(_SUBSCRIBE, b"\x00\x01" + _text(topic) + bytes((qos,)))


def publish_packet(topic: str, number: int, payload: bytes, *, retain: bool = False) -> bytes:
    """Return a PUBLISH of QoS 1 whose packet id follows from `number`."""
    return _packet(PUBLISH | 0x02 | retain, _text(topic) + struct.pack(">H", number % 65535 + 1) + payload)


def puback_packet(packet_id: bytes) -> bytes:
    """Return the PUBACK for a packet id, as it came."""
    return bytes((PUBACK, 2)) + packet_id


def next_packet(received: bytes | bytearray) -> tuple[int, int]:
    """Return (end, start of the body) of the first whole packet; (0, 0) if there is none."""
    length = shift = 0
    for at in range(1, min(5, len(received))):
        length |= (received[at] & 0x7F) << shift
        shift += 7
        if not received[at] & 0x80:
            end = at + 1 + length
            return (end, at + 1) if end <= len(received) else (0, 0)
    return 0, 0
