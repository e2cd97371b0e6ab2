"""BluetoothLink: one adapter's scanner and connections, shared by the devices on it. Imports bleak: the extra `ble`.

Whoever waits for an advert looks after the scanner, so that the link needs no task of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, Final

from drivers.links.advert import Advert, Peer, Subscription
from drivers.links.backend import Backend, hush
from drivers.links.bleak_errors import LIBRARY_ERRORS, adapter_error
from drivers.links.gatt import GattConnection
from telemetry.errors import AuthError, DeviceUnavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from bleak import BleakScanner
    from bleak.backends.device import BLEDevice
    from bleak.backends.scanner import AdvertisementData

    from drivers.links.advert import Connection
    from telemetry.counters import Counters

_LOG: Final = logging.getLogger(__name__)
OPEN_S: Final = 3.0
"""How long starting or stopping the scanner, or resetting the adapter, may take."""
EXPECTED_S: Final = 600.0
"""Adverts are expected for so long after the last one: in an empty hall at night silence is no fault."""
SLOW_S: Final = 30.0
"""How often the scanner is started anew where no advert is expected."""
BETWEEN_RUNGS_S: Final = 8.0
"""After the first climb the scanner is started anew so often, so that an adapter is heard soon after it is well."""
RESET_EACH: Final = 30
"""Which of those later times the adapter is reset instead: it costs all connections."""
_LADDER: Final = ("rescans", "resets", "reopens")
_NOT_HEARD_DBM: Final = -127
"""BlueZ tells of a device whose signal it did not hear: a property changed, or it repeats what it has kept."""


class BluetoothLink:
    """A Bluetooth adapter. Silence while adverts are expected: scan anew, reset the adapter, open everything anew."""

    def __init__(
        self,
        name: str,
        counters: Counters,
        *,
        backend: Backend,
        quiet_s: float = 3.0,
        max_connections: int = 3,
    ) -> None:
        self.name = name
        self._counters = counters
        self._backend = backend
        self._quiet_s = quiet_s
        self._lock = asyncio.Lock()
        self._scanner: BleakScanner | None = None
        self._subscriptions: dict[Subscription, Callable[[], int]] = {}
        self._free = asyncio.Semaphore(max_connections)
        self._connecting = asyncio.Lock()
        self._heard_s: float | None = None
        self._climbed = 0
        self._due_s = 0.0
        for library in ("bleak", "dbus_fast"):
            hush(library)

    @property
    def is_open(self) -> bool:
        """Tell whether the scanner runs."""
        return self._scanner is not None

    @contextlib.asynccontextmanager
    async def subscribed(
        self, wants: Callable[[Advert], bool], now_ns: Callable[[], int]
    ) -> AsyncIterator[Subscription]:
        """Yield a subscription; the first one starts the scanner, the last one's end stops it.

        Raises DeviceUnavailable or AuthError if the scanner cannot be started.
        """
        subscription = Subscription(
            name=self.name, wants=wants, tend=self._tend, patience_s=self._patience_s, counters=self._counters
        )
        try:
            async with self._lock:
                self._subscriptions[subscription] = now_ns  # first: the scanner may hear something as it starts
                if self._scanner is None:
                    await self._start()
            yield subscription
        finally:
            self._subscriptions.pop(subscription, None)
            if not self._subscriptions:
                async with self._lock:
                    if not self._subscriptions:  # nobody came meanwhile
                        await self._stop()

    @contextlib.asynccontextmanager
    async def connected(self, peer: Peer) -> AsyncIterator[Connection]:
        """Yield a connection, when one is free: first come, first served. Raises DeviceUnavailable or AuthError."""
        async with self._free:
            connection = GattConnection(self.name, peer, self._backend, self._sign_of_life)
            try:
                async with self._connecting:  # an adapter makes one connection at a time
                    await connection.open()
                self._counters.add(f"link.{self.name}.connected")
                yield connection
            finally:
                await connection.close()

    async def close(self) -> None:
        """Stop for good; never raises."""
        async with self._lock:
            self._lose(DeviceUnavailable(f"link {self.name} is closed"))
            await self._stop()
            await self._close_backend()

    def _patience_s(self) -> float:
        if self._scanner is None:  # whoever tended it was cancelled half-way
            return 0.01
        return max(0.01, self._due_s - asyncio.get_running_loop().time())

    def _sign_of_life(self) -> None:
        now_s = asyncio.get_running_loop().time()
        if self._climbed:
            _LOG.info("link %s: hears devices again", self.name)
            self._climbed = 0
        self._heard_s = now_s
        self._due_s = now_s + self._quiet_s

    def _heard(self, device: BLEDevice, data: AdvertisementData) -> None:
        """Hand an advert to the devices that want it (called by bleak)."""
        if data.rssi == _NOT_HEARD_DBM:
            return
        self._sign_of_life()
        peer = Peer(device)
        for subscription, now_ns in self._subscriptions.items():
            subscription.offer(
                Advert(
                    at_ns=now_ns(),
                    manufacturer=data.manufacturer_data,
                    services=data.service_data,
                    offers=frozenset(data.service_uuids),
                    name=data.local_name,
                    peer=peer,
                )
            )

    async def _tend(self) -> None:
        """Climb one rung if the scanner has been silent for too long; whoever comes second finds it done."""
        async with self._lock:
            now_s = asyncio.get_running_loop().time()
            if not self._subscriptions:  # lost while this one waited for its turn: `next` tells why
                return
            if self._scanner is None:  # whoever tended it before was cancelled half-way
                await self._rung("rescans", self._rescan)
                return
            if now_s < self._due_s:
                return
            if self._heard_s is None or now_s - self._heard_s > EXPECTED_S:
                self._due_s = now_s + SLOW_S
                await self._rung("rescans", self._rescan)
                return
            if not self._climbed:
                _LOG.warning(
                    "link %s: no advert at all for %g s → scanning anew, then resetting the adapter; "
                    "if it stays silent, re-plug it",
                    self.name,
                    self._quiet_s,
                )
            self._climbed += 1
            first_climb = self._climbed <= len(_LADDER)
            self._due_s = now_s + (self._quiet_s if first_climb else BETWEEN_RUNGS_S)
            rung = _LADDER[self._climbed - 1] if first_climb else _LADDER[self._climbed % RESET_EACH == 0]
            await self._rung(rung, {"rescans": self._rescan, "resets": self._reset, "reopens": self._reopen}[rung])

    async def _rung(self, name: str, climb: Callable[[], Awaitable[None]]) -> None:
        self._counters.add(f"link.{self.name}.{name}")
        try:
            await climb()
        except (DeviceUnavailable, AuthError) as error:
            self._lose(error)
            await self._stop()
            raise

    async def _rescan(self) -> None:
        await self._stop()
        await self._start()

    async def _reset(self) -> None:
        await self._stop()
        try:
            async with asyncio.timeout(OPEN_S):
                await self._backend.reset()
        except LIBRARY_ERRORS as error:
            raise adapter_error(self.name, "resetting the adapter", error) from None
        await self._start()

    async def _reopen(self) -> None:
        """Give everything up: each device's collector opens it anew, after its back-off."""
        await self._stop()
        await self._close_backend()
        raise DeviceUnavailable(f"link {self.name} hears nothing: it is opened anew")

    async def _start(self) -> None:
        scanner = self._backend.make_scanner(self._heard)
        try:
            async with asyncio.timeout(OPEN_S):
                await scanner.start()
        except LIBRARY_ERRORS as error:
            # Half started is stopped as well as may be, so that it does not hear twice later on.
            await self._stopped(scanner)
            await self._close_backend()
            raise adapter_error(self.name, "scanning", error) from None
        except asyncio.CancelledError:
            await self._stopped(scanner)
            raise
        self._scanner = scanner
        self._due_s = max(self._due_s, asyncio.get_running_loop().time() + self._quiet_s)
        self._counters.add(f"link.{self.name}.opened")

    async def _stop(self) -> None:
        scanner, self._scanner = self._scanner, None
        if scanner is not None:
            await self._stopped(scanner)

    async def _stopped(self, scanner: BleakScanner) -> None:
        """Stop `scanner`, also when cancelled meanwhile: one left on would keep BlueZ from starting the next."""

        async def stop() -> None:
            try:
                async with asyncio.timeout(OPEN_S):
                    await scanner.stop()
            except LIBRARY_ERRORS:
                self._counters.add(f"link.{self.name}.stop_failures")

        stopping = asyncio.create_task(stop(), name=f"link {self.name}: stop")
        try:
            await asyncio.shield(stopping)
        except asyncio.CancelledError:
            await asyncio.wait([stopping])
            raise

    async def _close_backend(self) -> None:
        try:
            async with asyncio.timeout(OPEN_S):
                await self._backend.close()
        except LIBRARY_ERRORS:
            self._counters.add(f"link.{self.name}.stop_failures")

    def _lose(self, error: DeviceUnavailable | AuthError) -> None:
        for subscription in self._subscriptions:
            subscription.fail(error)
        self._subscriptions.clear()


def make_backend(*, adapter: str, hci: str | None) -> Backend:
    """Return BlueZ's adapter, or a controller of our own; ImportError if the library for it is not installed."""
    if hci is None:
        return Backend(adapter)
    from drivers.links.bumble_backend import BumbleBackend  # noqa: PLC0415 - an extra of its own

    return BumbleBackend(hci)
