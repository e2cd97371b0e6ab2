"""A Bluetooth controller without BlueZ, by Bumble: the virtual one of the demo and tests, or a dongle. Extra `ble-sim`.

Bleak stays on top of it, so that everything above is the same code as on BlueZ.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, Final

from bleak.backends.characteristic import BleakGATTCharacteristic, GattCharacteristicsFlags
from bleak.backends.client import BaseBleakClient
from bleak.backends.scanner import AdvertisementData, BaseBleakScanner
from bleak.backends.service import BleakGATTService, BleakGATTServiceCollection
from bleak.exc import BleakError
from bumble.core import BaseBumbleError
from bumble.device import Device, Peer
from bumble.hci import Address
from bumble.transport import open_transport

from drivers.links.backend import Backend, hush

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bleak.backends.device import BLEDevice
    from bumble.device import Connection
    from bumble.transport.common import Transport

OWN_ADDRESS: Final = "F0:00:00:00:00:01"
MTU: Final = 247
_NAMES: Final = {0x08, 0x09}
_UUIDS: Final = {0x02: 2, 0x03: 2, 0x06: 16, 0x07: 16}
_SERVICE_DATA: Final = {0x16: 2, 0x21: 16}
_TX_POWER: Final = 0x0A
_MANUFACTURER: Final = 0xFF
_BASE: Final = "-0000-1000-8000-00805f9b34fb"
_SHORT_BYTES: Final = 2


class BumbleBackend(Backend):
    """The controller at `hci`, in Bumble's words, such as `tcp-client:127.0.0.1:9001`."""

    def __init__(self, hci: str) -> None:
        super().__init__()
        hush("bumble")
        radio = self._radio = Radio(hci)

        class Scanner(BumbleScanner):
            """Of this very controller: bleak makes it from its class."""

            _radio = radio

        class Client(BumbleClient):
            """Of this very controller."""

            _radio = radio

        self.scanner, self.client = Scanner, Client

    async def reset(self) -> None:
        """Talk to the controller anew; opening it resets it."""
        await self._radio.close()

    async def close(self) -> None:
        """Let the controller go."""
        await self._radio.close()


@contextlib.contextmanager
def translated() -> Iterator[None]:
    """Make Bumble's errors bleak's, without their words, which may hold an address."""
    try:
        yield
    except BaseBumbleError as error:
        raise BleakError(type(error).__name__) from None


class Radio:
    """The controller, opened when first needed."""

    def __init__(self, hci: str) -> None:
        self._hci = hci
        self._lock = asyncio.Lock()
        self._transport: Transport | None = None
        self._device: Device | None = None

    async def device(self) -> Device:
        """Return the open device. Raises OSError or BleakError."""
        async with self._lock:
            if self.lost:
                await self.close()
            if self._device is None:
                try:
                    with translated():
                        self._transport = await open_transport(self._hci)
                        device = Device.with_hci(
                            "gateway", Address(OWN_ADDRESS), self._transport.source, self._transport.sink
                        )
                        await device.power_on()
                except BaseException:
                    await self.close()
                    raise
                self._device = device
            return self._device

    @property
    def lost(self) -> bool:
        """Whether the way to the controller is cut: it would answer nothing."""
        return self._transport is not None and self._transport.source.terminated.done()

    async def close(self) -> None:
        """Close it; the next use opens it anew."""
        transport, self._transport, self._device = self._transport, None, None
        if transport is not None:
            await transport.close()


class BumbleScanner(BaseBleakScanner):
    """Bleak's scanner on a `Radio`."""

    _radio: Radio

    def __init__(self, detection_callback: Any, service_uuids: list[str] | None, _mode: str, **_kwargs: Any) -> None:
        super().__init__(detection_callback, service_uuids)
        self._scanning: Device | None = None

    async def start(self) -> None:
        """Start scanning, actively."""
        self.seen_devices = {}
        device = await self._radio.device()
        device.on(Device.EVENT_ADVERTISEMENT, self._heard)
        self._scanning = device
        with translated():
            await device.start_scanning(filter_duplicates=False)

    async def stop(self) -> None:
        """Stop scanning."""
        device, self._scanning = self._scanning, None
        if device is None:
            return
        try:
            if not self._radio.lost:
                with translated():
                    await device.stop_scanning()
        finally:
            # Not before: an adapter that hung and is well again is heard although it never answered.
            device.remove_listener(Device.EVENT_ADVERTISEMENT, self._heard)

    def _heard(self, advertisement: Any) -> None:
        name, tx_power = None, None
        manufacturer: dict[int, bytes] = {}
        services: dict[str, bytes] = {}
        uuids: list[str] = []
        for kind, value in advertisement.data.ad_structures:
            data = bytes(value)
            if kind in _NAMES:
                name = data.decode("utf-8", "replace")
            elif kind == _MANUFACTURER and len(data) >= _SHORT_BYTES:
                manufacturer[int.from_bytes(data[:2], "little")] = data[2:]
            elif (size := _SERVICE_DATA.get(kind)) and len(data) >= size:
                services[uuid_text(data[:size])] = data[size:]
            elif size := _UUIDS.get(kind):
                uuids += [uuid_text(data[at : at + size]) for at in range(0, len(data) - size + 1, size)]
            elif kind == _TX_POWER and data:
                tx_power = int.from_bytes(data[:1], "little", signed=True)
        address = advertisement.address
        text = address.to_string(with_type_qualifier=False)
        report = AdvertisementData(
            name, manufacturer, services, uuids, tx_power, advertisement.rssi, platform_data=(advertisement,)
        )
        self.call_detection_callbacks(self.create_or_update_device(text, text, name, address, report), report)


class BumbleClient(BaseBleakClient):
    """Bleak's client on a `Radio`."""

    _radio: Radio

    def __init__(
        self,
        address_or_ble_device: BLEDevice | str,
        *,
        disconnected_callback: Callable[[], None] | None,
        timeout: float,
        **_kwargs: Any,
    ) -> None:
        super().__init__(address_or_ble_device, disconnected_callback=disconnected_callback, timeout=timeout)
        self._target = (
            Address(self.address) if isinstance(address_or_ble_device, str) else address_or_ble_device.details
        )
        self._connection: Connection | None = None

    @property
    def name(self) -> str:
        """None is known here."""
        return ""

    @property
    def mtu_size(self) -> int:
        """The negotiated MTU."""
        return self._connection.att_mtu if self._connection is not None else 23

    @property
    def is_connected(self) -> bool:
        """Whether the connection is there."""
        return self._connection is not None

    async def connect(self, pair: bool, **_kwargs: Any) -> None:  # noqa: ARG002 - bands are not paired with
        """Connect and find out what the device has."""
        device = await self._radio.device()
        with translated():
            connection = await device.connect(self._target, timeout=self._timeout)
            connection.on(connection.EVENT_DISCONNECTION, self._gone)
            self._connection = connection
            peer = Peer(connection)
            await peer.request_mtu(MTU)
            await peer.discover_all()  # type: ignore[no-untyped-call]
        self.services = _collection(peer, lambda: self.mtu_size - 3)

    async def disconnect(self) -> None:
        """Disconnect."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with translated():
                await connection.disconnect()

    async def pair(self, *_args: Any, **_kwargs: Any) -> None:
        """Refuse: what is read here needs no pairing."""
        raise NotImplementedError

    async def unpair(self) -> None:
        """Refuse, as `pair` does."""
        raise NotImplementedError

    async def read_gatt_char(self, characteristic: BleakGATTCharacteristic, **_kwargs: Any) -> bytearray:
        """Read a value."""
        with translated():
            return bytearray(await characteristic.obj.read_value())

    async def read_gatt_descriptor(self, descriptor: Any, **_kwargs: Any) -> bytearray:
        """Read a descriptor."""
        with translated():
            return bytearray(await descriptor.obj.read_value())

    async def write_gatt_char(self, characteristic: BleakGATTCharacteristic, data: Any, response: bool) -> None:
        """Write a value."""
        with translated():
            await characteristic.obj.write_value(bytes(data), with_response=response)

    async def write_gatt_descriptor(self, descriptor: Any, data: Any) -> None:
        """Write a descriptor."""
        with translated():
            await descriptor.obj.write_value(bytes(data), with_response=True)

    async def start_notify(
        self, characteristic: BleakGATTCharacteristic, callback: Callable[[bytearray], None], **_kwargs: Any
    ) -> None:
        """Subscribe; the subscription ends with the connection."""
        with translated():
            await characteristic.obj.subscribe(lambda value: callback(bytearray(value)))

    async def stop_notify(self, characteristic: BleakGATTCharacteristic) -> None:
        """Unsubscribe."""
        with translated():
            await characteristic.obj.unsubscribe()

    def _gone(self, _reason: int) -> None:
        self._connection = None
        if self._disconnected_callback is not None:
            self._disconnected_callback()


def _collection(peer: Peer, max_write: Callable[[], int]) -> BleakGATTServiceCollection:
    found = BleakGATTServiceCollection()
    for service in peer.services:
        ours = BleakGATTService(service, service.handle, uuid_text(bytes(service.uuid)))
        found.add_service(ours)
        for item in service.characteristics:
            properties: list[Any] = [
                flag.name.replace("_", "-")
                for flag in GattCharacteristicsFlags
                if flag.name is not None and item.properties & flag.value
            ]
            uuid = uuid_text(bytes(item.uuid))
            found.add_characteristic(BleakGATTCharacteristic(item, item.handle, uuid, properties, max_write, ours))
    return found


def uuid_text(data: bytes) -> str:
    """Return bleak's text of a little-endian UUID of 2 or 16 bytes."""
    digits = data[::-1].hex()
    if len(data) == _SHORT_BYTES:
        return f"0000{digits}{_BASE}"
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))
