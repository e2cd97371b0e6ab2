"""Stand-in for many gateways: one bare MQTT 3.1.1 connection, packets made beforehand; it costs next to nothing."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Final

from benchmarks._mqtt import PUBLISH, connect_packet, next_packet, subscribe_packet
from telemetry.ack import decode_ack

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_DEADLINE_S: Final = 60.0


class Load:
    """Sends each gateway's packets, at most `in_flight` of one gateway unacknowledged, until all are stored."""

    def __init__(self, host: str, port: int, acks: str) -> None:
        self._socket = socket.create_connection((host, port), timeout=_DEADLINE_S)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.sendall(connect_packet("load") + subscribe_packet(acks, qos=0))
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
            end, start = next_packet(self._received)
            if end == 0:
                return
            packet, self._received = self._received[:end], self._received[end:]
            if packet[0] & 0xF0 == PUBLISH:
                size = int.from_bytes(packet[start : start + 2], "big")
                topic = packet[start + 2 : start + 2 + size].decode()
                yield topic.split("/")[3], packet[start + 2 + size :]
