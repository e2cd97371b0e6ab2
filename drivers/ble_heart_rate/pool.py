"""Connections to bound bands: few at a time, each in its turn, so that none waits for ever for another."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from drivers.ble_heart_rate.frame import BATTERY_LEVEL, HEART_RATE_MEASUREMENT
from telemetry.errors import AuthError, DeviceUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable

    from drivers.links.advert import Advert, AdvertLink, Connection, Peer, Subscription
    from telemetry.counters import Counters

MAX_MESSAGES: Final = 512
WORKERS: Final = 8
"""More than the connections an adapter has: the link bounds them, across all its devices."""
_FIRST_PAUSE_S: Final = 1.0
_LONGEST_PAUSE_S: Final = 30.0


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Message:
    """A value that a connected band gave."""

    band: str
    characteristic: str
    data: bytes
    at_ns: int


@dataclass(slots=True, kw_only=True)
class _Band:
    peer: Peer
    failures: int = 0
    not_before_s: float = 0.0
    served: bool = False
    """It is connected, or waits for its turn."""


@dataclass(slots=True, kw_only=True)
class _Inbox:
    messages: deque[Message] = field(default_factory=deque)
    news: asyncio.Event = field(default_factory=asyncio.Event)


class GattPool:
    """Connects to bands that `who` names in adverts. Run `run` as a task; read with `next`."""

    def __init__(
        self,
        link: AdvertLink,
        adverts: Subscription,
        *,
        device: str,
        who: Callable[[Advert], str | None],
        bound: Callable[[str], bool],
        turn_s: float,
        silent_s: float,
        with_battery: bool,
        now_ns: Callable[[], int],
        counters: Counters,
    ) -> None:
        self._link = link
        self._adverts = adverts
        self._prefix = f"device.{device}"
        self._who = who
        self._bound = bound
        self._turn_s = turn_s
        self._silent_s = silent_s
        self._with_battery = with_battery
        self._now_ns = now_ns
        self._counters = counters
        self._bands: dict[str, _Band] = {}
        self._turns: asyncio.Queue[str] = asyncio.Queue()
        self._waiting = 0
        """Bands in `_turns`, or with a worker that waits for one of the link's connections."""
        self._inbox = _Inbox()
        self._error: Exception | None = None

    async def run(self) -> None:
        """Keep connecting until cancelled; `next` raises what ends it before."""
        try:
            async with asyncio.TaskGroup() as group:
                for number in range(WORKERS):
                    group.create_task(self._serve(), name=f"{self._prefix}.gatt-{number}")
                group.create_task(self._scout(), name=f"{self._prefix}.scout")
        except* Exception as errors:  # noqa: BLE001 - `next` raises it: a fault of ours must not look like silence
            self._error = errors.exceptions[0]
            self._inbox.news.set()

    async def next(self) -> Message:
        """Return the next value of any band. Raises what ended `run`, such as DeviceUnavailable."""
        while not self._inbox.messages:
            if self._error is not None:
                raise self._error
            self._inbox.news.clear()
            await self._inbox.news.wait()
        return self._inbox.messages.popleft()

    async def _scout(self) -> None:
        """Queue each bound band that advertises: who has just been served stands behind those who wait."""
        while True:
            advert = await self._adverts.next()
            name = self._who(advert)
            if name is None:
                continue
            band = self._bands.setdefault(name, _Band(peer=advert.peer))
            band.peer = advert.peer
            if not band.served and asyncio.get_running_loop().time() >= band.not_before_s:
                band.served = True
                self._waiting += 1
                self._turns.put_nowait(name)  # bounded by the number of bound bands: each is in it once

    async def _serve(self) -> None:
        while True:
            name = await self._turns.get()
            band, waits = self._bands[name], True
            try:
                async with self._link.connected(band.peer) as connection:
                    self._waiting, waits = self._waiting - 1, False
                    await self._listen(name, connection)
            except (DeviceUnavailable, AuthError):
                band.failures += 1
                pause_s = min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2 ** (band.failures - 1))
                band.not_before_s = asyncio.get_running_loop().time() + pause_s
                self._counters.add(f"{self._prefix}.connection_failures")
            finally:
                self._waiting -= waits
                band.served = False

    async def _listen(self, name: str, connection: Connection) -> None:
        """Take the band's values until it goes, falls silent, is nobody's any more, or has had its turn."""
        loop = asyncio.get_running_loop()
        heard, gone = asyncio.Event(), False

        def take(data: bytes | None) -> None:
            nonlocal gone
            heard.set()
            if data is None:
                gone = True
                return
            self._bands[name].failures = 0
            self._put(Message(band=name, characteristic=HEART_RATE_MEASUREMENT, data=data, at_ns=self._now_ns()))

        if self._with_battery:
            try:
                level = await connection.read(BATTERY_LEVEL)
            except (DeviceUnavailable, AuthError):  # many bands do not tell it; if the band is gone, `notify` says so
                self._counters.add(f"{self._prefix}.unread_batteries")
            else:
                self._put(Message(band=name, characteristic=BATTERY_LEVEL, data=level, at_ns=self._now_ns()))
        await connection.notify(HEART_RATE_MEASUREMENT, take)
        began_s = loop.time()
        while not gone and self._bound(name):
            if loop.time() - began_s >= self._turn_s and self._waiting:
                self._counters.add(f"{self._prefix}.turns_over")
                return
            heard.clear()
            try:
                async with asyncio.timeout(self._silent_s):
                    await heard.wait()
            except TimeoutError:
                raise DeviceUnavailable(f"a connected band said nothing for {self._silent_s:g} s") from None
        if gone:
            self._counters.add(f"{self._prefix}.connections_lost")

    def _put(self, message: Message) -> None:
        if len(self._inbox.messages) >= MAX_MESSAGES:
            self._inbox.messages.popleft()
            self._counters.add(f"{self._prefix}.dropped_messages")
        self._inbox.messages.append(message)
        self._inbox.news.set()
