"""A GATT connection by bleak, with a deadline on everything and errors that name nobody."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from drivers.links.bleak_errors import LIBRARY_ERRORS, peer_error

if TYPE_CHECKING:
    from collections.abc import Callable

    from bleak import BleakClient

    from drivers.links.advert import Peer
    from drivers.links.backend import Backend

CONNECT_S: Final = 8.0
ANSWER_S: Final = 4.0


class GattConnection:
    """One connection; `open` first, `close` last. `alive` is called with whatever comes from the device."""

    def __init__(self, link: str, peer: Peer, backend: Backend, alive: Callable[[], None]) -> None:
        self._link = link
        self._alive = alive
        self._lost = False
        self._listeners: list[Callable[[bytes | None], None]] = []
        self._client: BleakClient = backend.make_client(
            peer._device,  # type: ignore[arg-type]  # noqa: SLF001 - hidden from everybody else
            gone=self._gone,
            timeout_s=CONNECT_S,
        )

    async def open(self) -> None:
        """Connect. Raises DeviceUnavailable or AuthError."""
        try:
            async with asyncio.timeout(CONNECT_S):
                await self._client.connect()
        except LIBRARY_ERRORS as error:
            raise peer_error(self._link, "connecting", error) from None
        self._alive()

    async def read(self, characteristic: str) -> bytes:
        """Return the characteristic's value. Raises DeviceUnavailable or AuthError."""
        try:
            async with asyncio.timeout(ANSWER_S):
                return bytes(await self._client.read_gatt_char(characteristic))
        except LIBRARY_ERRORS as error:
            raise peer_error(self._link, "reading", error) from None

    async def notify(self, characteristic: str, heard: Callable[[bytes | None], None]) -> None:
        """Have `heard` called with each value that the device sends, and with none when it has gone.

        Raises DeviceUnavailable or AuthError.
        """

        def take(_characteristic: Any, data: bytearray) -> None:
            self._alive()
            heard(bytes(data))

        try:
            async with asyncio.timeout(ANSWER_S):
                await self._client.start_notify(characteristic, take)
        except LIBRARY_ERRORS as error:
            raise peer_error(self._link, "subscribing", error) from None
        self._listeners.append(heard)
        if self._lost:
            heard(None)

    async def close(self) -> None:
        """Disconnect; never raises."""
        try:
            async with asyncio.timeout(ANSWER_S):
                await self._client.disconnect()
        except LIBRARY_ERRORS:
            self._lost = True  # nothing more can be done: the adapter drops it when it hears nothing

    def _gone(self, _client: Any) -> None:
        self._lost = True
        for heard in self._listeners:
            heard(None)
