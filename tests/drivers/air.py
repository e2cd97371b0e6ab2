"""A radio at bleak's backend seam: tests put adverts into the air, and make the adapter hang, refuse or fall silent."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from bleak.backends.characteristic import BleakGATTCharacteristic
from bleak.backends.client import BaseBleakClient
from bleak.backends.scanner import AdvertisementData, BaseBleakScanner
from bleak.backends.service import BleakGATTService, BleakGATTServiceCollection
from bleak.exc import BleakError

from drivers.ble_heart_rate.frame import BATTERY_LEVEL, BATTERY_SERVICE, HEART_RATE_MEASUREMENT, HEART_RATE_SERVICE
from drivers.links.backend import Backend
from drivers.links.bluetooth import BluetoothLink
from telemetry.counters import Counters

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

HEARD_DBM = -60
ADDRESS = "C4:DE:AD:00:00:{:02X}"


class Air(Backend):
    """What bleak sees of the world."""

    def __init__(self) -> None:  # noqa: C901 - two small classes that know this one
        super().__init__()
        air = self
        self.scanners: list[BaseBleakScanner] = []
        self.starts = self.stops = self.resets = self.closes = 0
        self.fails: list[BaseException] = []
        """What the next starts raise."""
        self.hangs = False
        self.connected: dict[str, Any] = {}
        self.served: dict[str, int] = defaultdict(int)
        self.most_connected = 0
        self.refuse: BaseException | None = None

        class Scanner(BaseBleakScanner):
            def __init__(self, callback: Any, uuids: Any, _mode: str, **_kwargs: Any) -> None:
                super().__init__(callback, uuids)

            async def start(self) -> None:
                self.seen_devices = {}
                air.starts += 1
                if air.hangs:
                    await asyncio.Event().wait()
                if air.fails:
                    raise air.fails.pop(0)
                air.scanners.append(self)

            async def stop(self) -> None:
                air.stops += 1
                if self in air.scanners:
                    air.scanners.remove(self)

        class Client(BaseBleakClient):
            def __init__(self, device: Any, *, disconnected_callback: Any, timeout: float, **_kwargs: Any) -> None:
                super().__init__(device, disconnected_callback=disconnected_callback, timeout=timeout)
                self.notify: Any = None

            @property
            def mtu_size(self) -> int:
                return 23

            @property
            def is_connected(self) -> bool:
                return air.connected.get(self.address) is self

            async def connect(self, _pair: bool, **_kwargs: Any) -> None:
                if air.refuse is not None:
                    raise air.refuse
                air.connected[self.address] = self
                air.served[self.address] += 1
                air.most_connected = max(air.most_connected, len(air.connected))
                self.services = BleakGATTServiceCollection()
                for at, (service, item) in enumerate(
                    [(HEART_RATE_SERVICE, HEART_RATE_MEASUREMENT), (BATTERY_SERVICE, BATTERY_LEVEL)]
                ):
                    ours = BleakGATTService(None, 10 * at, service)
                    self.services.add_service(ours)
                    self.services.add_characteristic(
                        BleakGATTCharacteristic(None, 10 * at + 1, item, ["notify", "read"], lambda: 20, ours)
                    )

            async def disconnect(self) -> None:
                air.connected.pop(self.address, None)

            async def read_gatt_char(self, _characteristic: Any, **_kwargs: Any) -> bytearray:
                return bytearray([87])

            async def start_notify(self, _characteristic: Any, callback: Any, **_kwargs: Any) -> None:
                self.notify = callback

            async def stop_notify(self, _characteristic: Any) -> None:
                self.notify = None

            def vanish(self) -> None:
                air.connected.pop(self.address, None)
                self._disconnected_callback()

            async def pair(self, *args: Any, **kwargs: Any) -> None:
                raise NotImplementedError

            unpair = read_gatt_descriptor = write_gatt_char = write_gatt_descriptor = pair

        self.scanner, self.client = Scanner, Client

    async def reset(self) -> None:
        self.resets += 1
        if self.hangs:
            raise BleakError("no adapter")

    async def close(self) -> None:
        self.closes += 1

    def advertise(
        self,
        number: int = 0,
        *,
        manufacturer: dict[int, bytes] | None = None,
        services: dict[str, bytes] | None = None,
        offers: tuple[str, ...] = (),
        name: str | None = None,
        rssi: int = HEARD_DBM,
    ) -> None:
        """Put one advert into the air, from a random address of its own."""
        data = AdvertisementData(name, manufacturer or {}, services or {}, list(offers), None, rssi, ())
        address = ADDRESS.format(number)
        for scanner in list(self.scanners):
            device = scanner.create_or_update_device(address, address, name, None, data)
            scanner.call_detection_callbacks(device, data)

    def measure(self, number: int, value: bytes) -> None:
        """Have a connected band send a measurement."""
        self.connected[ADDRESS.format(number)].notify(bytearray(value))


@asynccontextmanager
async def radio(air: Air, counters: Counters | None = None, **options: Any) -> AsyncIterator[BluetoothLink]:
    link = BluetoothLink("radio", counters if counters is not None else Counters(), backend=air, **options)
    try:
        yield link
    finally:
        await link.close()
