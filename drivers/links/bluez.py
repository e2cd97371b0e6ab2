"""BlueZ, where bleak does not reach: switching an adapter off and on."""

from __future__ import annotations

import asyncio
import contextlib

from bleak.exc import BleakDBusError
from dbus_fast import BusType, Message, MessageType, Variant
from dbus_fast.aio.message_bus import MessageBus
from dbus_fast.errors import DBusFastError

ADAPTER = "org.bluez.Adapter1"
OFF_S = 0.2
LAST_S = 1.0
"""For telling it once more to switch on, where that went wrong: also one that hangs does it in the end."""


async def power_cycle(adapter: str) -> None:
    """Switch `adapter` off and on. Raises BleakDBusError if BlueZ refuses, OSError if it is not there."""
    bus = MessageBus(bus_type=BusType.SYSTEM)
    try:
        await bus.connect()
        try:
            await _power(bus, adapter, on=False)
            await asyncio.sleep(OFF_S)  # the kernel takes a moment to let go of it
            await _power(bus, adapter, on=True)
        except BaseException:
            # Half-way, or too late: nobody else would ever switch it on again.
            with contextlib.suppress(DBusFastError, BleakDBusError, OSError, EOFError):
                async with asyncio.timeout(LAST_S):
                    await _power(bus, adapter, on=True)
            raise
    except DBusFastError as error:
        raise ConnectionError(str(error)) from error
    finally:
        bus.disconnect()


async def _power(bus: MessageBus, adapter: str, *, on: bool) -> None:
    reply = await bus.call(
        Message(
            destination="org.bluez",
            path=f"/org/bluez/{adapter}",
            interface="org.freedesktop.DBus.Properties",
            member="Set",
            signature="ssv",
            body=[ADAPTER, "Powered", Variant("b", on)],
        )
    )
    if reply is not None and reply.message_type is MessageType.ERROR:
        raise BleakDBusError(reply.error_name or "unknown", reply.body)
