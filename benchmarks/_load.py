"""Stand-in for many gateways: one bare MQTT 3.1.1 connection, packets made beforehand; it costs next to nothing."""

from __future__ import annotations

import socket
import struct
from typing import TYPE_CHECKING, Final

from telemetry.ack import decode_ack

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_CONNECT: Final = 0x10
_PUBLISH: Final = 0x30
_PUBLISH_QOS1: Final = 0x32
_SUBSCRIBE: Final = 0x82
_DEADLINE_S: Final = 60.0


def _text(value: str) -> bytes:
    return struct.pack(">H", len(value.encode())) + value.encode()


def _packet(head: int, body: bytes) -> bytes:
    length, digits = len(body), bytearray()
    while True:
        length, digit = divmod(length, 128)
        digits.append(digit | (0x80 if length else 0))
        if not length:
            return bytes((head, *digits)) + body


def publish_packet(topic: str, number: int, payload: bytes) -> bytes:
    """Return a PUBLISH of QoS 1."""
    return _packet(_PUBLISH_QOS1, _text(topic) + struct.pack(">H", number % 65535 + 1) + payload)


class Load:
    """Sends each gateway's packets, at most `in_flight` of one gateway unacknowledged, until all are stored."""

    def __init__(self, host: str, port: int, acks: str) -> None:
        self._socket = socket.create_connection((host, port), timeout=_DEADLINE_S)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.sendall(_packet(_CONNECT, _text("MQTT") + b"\x04\x02\x00\x00" + _text("load")))
        self._socket.sendall(_packet(_SUBSCRIBE, b"\x00\x01" + _text(acks) + b"\x00"))
        self._received = b""

    def send(self, gateways: Mapping[str, Sequence[bytes]], *, in_flight: int) -> None:
        """Send everything; return when everything is acknowledged as stored. Raises RuntimeError if one is refused."""
        sent = dict.fromkeys(gateways, 0)
        waiting: dict[str, set[int]] = {name: set() for name in gateways}
        left = sum(len(packets) for packets in gateways.values())
        while left:
            ready: list[bytes] = []
            for name, packets in gateways.items():
                while len(waiting[name]) < in_flight and sent[name] < len(packets):
                    waiting[name].add(sent[name])
                    ready.append(packets[sent[name]])
                    sent[name] += 1
            self._socket.sendall(b"".join(ready))
            for name, payload in self._acks():
                ack = decode_ack(payload)
                if ack.refused:
                    raise RuntimeError(f"{name}: refused: {ack.refused[0].reason}")
                for first, last in ack.stored:
                    done = waiting[name].intersection(range(first, last + 1))
                    waiting[name] -= done
                    left -= len(done)

    def close(self) -> None:
        """Hang up."""
        self._socket.close()

    def _acks(self) -> Iterator[tuple[str, bytes]]:
        """Yield (gateway, acknowledgement) of what has come, waiting for at least one packet."""
        data = self._socket.recv(1 << 20)
        if not data:
            raise RuntimeError("the broker hung up")
        self._received += data
        while True:
            end, start = self._next_packet()
            if end == 0:
                return
            packet, self._received = self._received[:end], self._received[end:]
            if packet[0] & 0xF0 == _PUBLISH:
                size = int.from_bytes(packet[start : start + 2], "big")
                topic = packet[start + 2 : start + 2 + size].decode()
                yield topic.split("/")[3], packet[start + 2 + size :]

    def _next_packet(self) -> tuple[int, int]:
        """Return (end, start of the body) of the first whole packet; (0, 0) if there is none."""
        length = shift = 0
        for at in range(1, min(5, len(self._received))):
            length |= (self._received[at] & 0x7F) << shift
            shift += 7
            if not self._received[at] & 0x80:
                end = at + 1 + length
                return (end, at + 1) if end <= len(self._received) else (0, 0)
        return 0, 0
