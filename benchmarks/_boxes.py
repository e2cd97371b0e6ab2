"""Many air boxes on Modbus TCP, as cheap as can be: `python -m benchmarks._boxes` prints its port and runs.

They speak as profile `modbus/airbox_tcp` says: a sequence number in two holding registers, which advances with each
reading, and six floats in twelve input registers. Each connection is a box of its own.
"""

from __future__ import annotations

import asyncio
import random
import struct
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

VALUES: Final = 7
"""Points of the profile: six measurements and the sequence number."""
_REQUEST: Final = struct.Struct(">HHHBBHH")
_HEAD: Final = struct.Struct(">HHHBBB")
_INPUT: Final = 4


class _Box(asyncio.Protocol):
    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._sequence = 0
        self._rooms = _rooms()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - asyncio's own contract
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        assert self._transport is not None  # noqa: S101
        for at in range(0, len(data), _REQUEST.size):
            number, _, _, unit, function, _, _ = _REQUEST.unpack_from(data, at)
            if function == _INPUT:
                registers = next(self._rooms)
            else:
                self._sequence = (self._sequence + 1) & 0xFFFFFFFF
                registers = self._sequence.to_bytes(4, "big")
            head = _HEAD.pack(number, 0, len(registers) + 3, unit, function, len(registers))
            self._transport.write(head + registers)


def _rooms() -> Iterator[bytes]:
    """Yield the registers of a room whose air changes a little, and whose light jumps as people walk about."""
    chance = random.Random(1)  # noqa: S311
    temperature, co2 = 21.0, 600.0
    while True:
        temperature += chance.gauss(0, 0.02)
        co2 += chance.gauss(0, 3)
        rest = (45.0 + chance.gauss(0, 0.2), co2, 12.0 + chance.gauss(0, 1))
        light, noise = 400.0 + chance.gauss(0, 5), 45.0 + chance.gauss(0, 2)
        floats = (temperature, *(min(max(one, 0.0), 5000.0) for one in rest), light, noise)
        yield b"".join(raw[2:] + raw[:2] for raw in (struct.pack(">f", one) for one in floats))


async def _serve() -> None:
    server = await asyncio.get_running_loop().create_server(_Box, "::1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_serve())
