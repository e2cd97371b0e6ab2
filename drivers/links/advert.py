"""Adverts, as a shared Bluetooth scanner hands them to devices: bounded, every drop counted, no address readable.

No Bluetooth library is imported here: drivers need only this file's types.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from contextlib import AbstractAsyncContextManager

    from telemetry.counters import Counters
    from telemetry.errors import CampusError

MAX_ADVERTS: Final = 512
"""What one device may leave unread: over a second of 45 bands that advertise ten times a second."""


class Peer:
    """Who sent an advert, to connect to. Its address is personal data: it cannot be read or printed from here."""

    __slots__ = ("_device",)

    def __init__(self, device: object) -> None:
        self._device = device

    def __repr__(self) -> str:
        return "Peer(<hidden>)"


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Advert:
    """One advertisement, as heard."""

    at_ns: int
    """UTC, when it reached this process."""
    manufacturer: Mapping[int, bytes]
    """Data by company identifier, without the identifier."""
    services: Mapping[str, bytes]
    """Service data by 128-bit UUID, lower case."""
    offers: frozenset[str]
    """UUIDs of the services that it says it has."""
    name: str | None
    peer: Peer

    def __repr__(self) -> str:
        return "Advert(<hidden>)"


class Subscription:
    """One device's adverts. When it is full the oldest one goes, counted as `link.<name>.dropped_adverts`."""

    def __init__(
        self,
        *,
        name: str,
        wants: Callable[[Advert], bool],
        tend: Callable[[], Awaitable[None]],
        patience_s: Callable[[], float],
        counters: Counters,
    ) -> None:
        self._counter = f"link.{name}.dropped_adverts"
        self._wants = wants
        self._tend = tend
        self._patience_s = patience_s
        self._counters = counters
        self._adverts: deque[Advert] = deque()
        self._news = asyncio.Event()
        self._error: CampusError | None = None

    def offer(self, advert: Advert) -> None:
        """Take an advert, if the device wants it (called by the link)."""
        if not self._wants(advert):
            return
        if len(self._adverts) >= MAX_ADVERTS:
            self._adverts.popleft()
            self._counters.add(self._counter)
        self._adverts.append(advert)
        self._news.set()

    def fail(self, error: CampusError) -> None:
        """End the subscription: what is still unread can be read, then `error` is raised (called by the link)."""
        self._error = error
        self._news.set()

    async def next(self) -> Advert:
        """Return the next advert. While none comes, whoever waits looks after the scanner.

        Raises DeviceUnavailable or AuthError when the scanner is lost. Cancelling it loses no advert.
        """
        while not self._adverts:
            if self._error is not None:
                raise self._error
            self._news.clear()
            try:
                async with asyncio.timeout(self._patience_s()):
                    await self._news.wait()
            except TimeoutError:
                await self._tend()
        return self._adverts.popleft()


class Connection(Protocol):
    """An open GATT connection."""

    async def read(self, characteristic: str) -> bytes:
        """Return the characteristic's value. Raises DeviceUnavailable or AuthError."""
        ...

    async def notify(self, characteristic: str, heard: Callable[[bytes | None], None]) -> None:
        """Have `heard` called with each value that the device sends, and with none when it has gone.

        Raises DeviceUnavailable or AuthError.
        """
        ...


class AdvertLink(Protocol):
    """What a driver of advertising devices uses of a Bluetooth adapter."""

    name: str

    def subscribed(
        self, wants: Callable[[Advert], bool], now_ns: Callable[[], int]
    ) -> AbstractAsyncContextManager[Subscription]:
        """Hear adverts that `wants` accepts. Raises DeviceUnavailable or AuthError if nothing can be heard."""
        ...

    def connected(self, peer: Peer) -> AbstractAsyncContextManager[Connection]:
        """Connect, when one of the adapter's connections is free: first come, first served.

        Raises DeviceUnavailable or AuthError.
        """
        ...
