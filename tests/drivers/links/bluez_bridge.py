"""As much of org.bluez as bleak's stock BlueZ backend asks for, on a private bus, backed by a virtual controller.

Usage: python -m tests.drivers.links.bluez_bridge HCI-TRANSPORT BUS-ADDRESS
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any, Final

from bumble.core import BaseBumbleError
from bumble.device import Device, Peer
from bumble.hci import Address
from bumble.transport import open_transport
from dbus_fast import Message, MessageType, Variant
from dbus_fast.aio.message_bus import MessageBus

from drivers.links.bumble_backend import uuid_text

ADAPTER: Final = "/org/bluez/hci0"
ADAPTER1: Final = "org.bluez.Adapter1"
DEVICE1: Final = "org.bluez.Device1"
SERVICE1: Final = "org.bluez.GattService1"
CHARACTERISTIC1: Final = "org.bluez.GattCharacteristic1"
OBJECTS: Final = "org.freedesktop.DBus.ObjectManager"
PROPERTIES: Final = "org.freedesktop.DBus.Properties"
FLAGS: Final = {0x02: "read", 0x04: "write-without-response", 0x08: "write", 0x10: "notify", 0x20: "indicate"}
OWN: Final = "F0:00:00:00:00:01"

Properties = dict[str, Variant]


def advertised(advertisement: Any) -> Properties:
    """Return the Device1 properties that come from an advertisement."""
    found: Properties = {"RSSI": Variant("n", advertisement.rssi)}
    services: dict[str, Variant] = {}
    for kind, value in advertisement.data.ad_structures:
        data = bytes(value)
        if kind in (0x08, 0x09):
            found["Name"] = found["Alias"] = Variant("s", data.decode())
        elif kind == 0xFF:
            found["ManufacturerData"] = Variant("a{qv}", {int.from_bytes(data[:2], "little"): Variant("ay", data[2:])})
        elif kind == 0x16:
            services[uuid_text(data[:2])] = Variant("ay", data[2:])
        elif kind in (0x02, 0x03):
            found["UUIDs"] = Variant("as", [uuid_text(data[at : at + 2]) for at in range(0, len(data), 2)])
    if services:
        found["ServiceData"] = Variant("a{sv}", services)
    return found


class Bridge:
    """Objects of org.bluez, and the methods that are called on them."""

    def __init__(self, device: Device, bus: MessageBus) -> None:
        self._device = device
        self._bus = bus
        self._objects: dict[str, dict[str, Properties]] = {
            ADAPTER: {
                ADAPTER1: {
                    "Address": Variant("s", OWN),
                    "Powered": Variant("b", True),
                    "Discovering": Variant("b", False),
                    "UUIDs": Variant("as", []),
                    "Roles": Variant("as", ["central"]),
                }
            }
        }
        self._connections: dict[str, Any] = {}
        self._characteristics: dict[str, Any] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        device.on(Device.EVENT_ADVERTISEMENT, self._heard)
        bus.add_message_handler(self._called)

    def _signal(self, path: str, interface: str, member: str, signature: str, body: list[Any]) -> None:
        self._bus.send(
            Message(
                message_type=MessageType.SIGNAL,
                path=path,
                interface=interface,
                member=member,
                signature=signature,
                body=body,
            )
        )

    def _add(self, path: str, interfaces: dict[str, Properties]) -> None:
        self._objects[path] = interfaces
        self._signal("/", OBJECTS, "InterfacesAdded", "oa{sa{sv}}", [path, interfaces])

    def _change(self, path: str, interface: str, **changed: Variant) -> None:
        self._objects[path][interface].update(changed)
        self._signal(path, PROPERTIES, "PropertiesChanged", "sa{sv}as", [interface, changed, []])

    def _heard(self, advertisement: Any) -> None:
        address = advertisement.address.to_string(with_type_qualifier=False)
        path = f"{ADAPTER}/dev_{address.replace(':', '_')}"
        properties = advertised(advertisement)
        if path in self._objects:
            self._change(path, DEVICE1, **properties)
            return
        known: Properties = {
            "Address": Variant("s", address),
            "AddressType": Variant("s", "random"),
            "Alias": Variant("s", address.replace(":", "-")),
            "Adapter": Variant("o", ADAPTER),
            "Connected": Variant("b", False),
            "ServicesResolved": Variant("b", False),
            "UUIDs": Variant("as", []),
        }
        for name in ("Paired", "Bonded", "Trusted", "Blocked", "LegacyPairing"):
            known[name] = Variant("b", False)
        self._add(path, {DEVICE1: known | properties})

    def _called(self, message: Message) -> bool | None:
        if message.message_type is not MessageType.METHOD_CALL or message.interface == "org.freedesktop.DBus.Peer":
            return None
        if message.member == "GetManagedObjects":
            self._bus.send(Message.new_method_return(message, "a{oa{sa{sv}}}", [self._objects]))
            return True
        task = asyncio.create_task(self._answer(message), name=f"bluez-{message.member}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return True

    async def _answer(self, message: Message) -> None:
        method = getattr(self, f"do_{message.member}", None)
        if method is None:
            error = "org.freedesktop.DBus.Error.UnknownMethod"
            self._bus.send(Message.new_error(message, error, str(message.member)))
            return
        try:
            signature, body = await method(message) or ("", [])
        except (BaseBumbleError, KeyError, TimeoutError) as error:
            self._bus.send(Message.new_error(message, "org.bluez.Error.Failed", type(error).__name__))
            return
        self._bus.send(Message.new_method_return(message, signature, body))

    async def do_SetDiscoveryFilter(self, message: Message) -> None:  # noqa: N802 - BlueZ's names, here and below
        # Without it BlueZ would be silent about adverts that say the same as before.
        assert message.body[0]["DuplicateData"].value is True

    async def do_StartDiscovery(self, _message: Message) -> None:  # noqa: N802
        await self._device.start_scanning()
        self._change(ADAPTER, ADAPTER1, Discovering=Variant("b", True))

    async def do_StopDiscovery(self, _message: Message) -> None:  # noqa: N802
        await self._device.stop_scanning()
        self._change(ADAPTER, ADAPTER1, Discovering=Variant("b", False))

    async def do_Set(self, message: Message) -> None:  # noqa: N802
        interface, name, value = message.body
        self._change(message.path or "", interface, **{name: value})
        sys.stdout.write(f"{name} {value.value}\n")
        sys.stdout.flush()

    async def do_Connect(self, message: Message) -> None:  # noqa: N802
        path = message.path or ""
        address = self._objects[path][DEVICE1]["Address"].value
        connection = await self._device.connect(Address(address, Address.RANDOM_DEVICE_ADDRESS), timeout=5)
        self._connections[path] = connection

        def gone(_reason: int) -> None:
            del self._connections[path]
            for below in [item for item in self._objects if item.startswith(f"{path}/")]:
                interfaces = self._objects.pop(below)
                self._characteristics.pop(below, None)
                self._signal("/", OBJECTS, "InterfacesRemoved", "oas", [below, list(interfaces)])
            self._change(path, DEVICE1, Connected=Variant("b", False), ServicesResolved=Variant("b", False))

        connection.on(connection.EVENT_DISCONNECTION, gone)
        self._change(path, DEVICE1, Connected=Variant("b", True))
        peer = Peer(connection)
        await peer.discover_all()
        for service in peer.services:
            place = f"{path}/service{service.handle:04x}"
            self._add(
                place,
                {
                    SERVICE1: {
                        "UUID": Variant("s", uuid_text(bytes(service.uuid))),
                        "Device": Variant("o", path),
                        "Primary": Variant("b", True),
                    }
                },
            )
            for item in service.characteristics:
                self._characteristics[f"{place}/char{item.handle:04x}"] = item
                self._add(
                    f"{place}/char{item.handle:04x}",
                    {
                        CHARACTERISTIC1: {
                            "UUID": Variant("s", uuid_text(bytes(item.uuid))),
                            "Service": Variant("o", place),
                            "Value": Variant("ay", b""),
                            "Notifying": Variant("b", False),
                            "Flags": Variant("as", [name for bit, name in FLAGS.items() if item.properties & bit]),
                            "MTU": Variant("q", 23),
                        }
                    },
                )
        self._change(path, DEVICE1, ServicesResolved=Variant("b", True))

    async def do_Disconnect(self, message: Message) -> None:  # noqa: N802
        await self._connections[message.path or ""].disconnect()

    async def do_ReadValue(self, message: Message) -> tuple[str, list[Any]]:  # noqa: N802
        return "ay", [bytes(await self._characteristics[message.path or ""].read_value())]

    async def do_StartNotify(self, message: Message) -> None:  # noqa: N802
        path = message.path or ""

        def told(value: bytes) -> None:
            if path in self._objects:
                self._change(path, CHARACTERISTIC1, Value=Variant("ay", bytes(value)))

        await self._characteristics[path].subscribe(told)
        self._change(path, CHARACTERISTIC1, Notifying=Variant("b", True))

    async def do_StopNotify(self, message: Message) -> None:  # noqa: N802
        await self._characteristics[message.path or ""].unsubscribe()


async def main(hci: str, address: str) -> None:
    transport = await open_transport(hci)
    device = Device.with_hci("bluez", Address(OWN), transport.source, transport.sink)
    await device.power_on()
    bus = await MessageBus(bus_address=address).connect()
    bridge = Bridge(device, bus)
    await bus.request_name("org.bluez")
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    await bus.wait_for_disconnect()
    del bridge


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
