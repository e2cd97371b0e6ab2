"""What stands behind a BluetoothLink: BlueZ by bleak, or another backend of bleak's that is handed in."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from bleak import BleakClient, BleakScanner

from drivers.links.bluez import power_cycle

if TYPE_CHECKING:
    from collections.abc import Callable

    from bleak.args.bluez import BlueZScannerArgs
    from bleak.backends.client import BaseBleakClient
    from bleak.backends.device import BLEDevice
    from bleak.backends.scanner import AdvertisementDataCallback, BaseBleakScanner


def hush(library: str) -> None:
    """Keep a library's log lines, which name devices by their address, out of every log; errors reach us as errors."""
    logger = logging.getLogger(library)
    logger.propagate = False
    if not logger.handlers:  # without any, Python would write warnings to stderr
        logger.addHandler(logging.NullHandler())


class Backend:
    """BlueZ's adapter `adapter`. Others override `reset` and `close`, and name bleak backends of their own."""

    scanner: type[BaseBleakScanner] | None = None
    """None: bleak's own choice, which is BlueZ on Linux."""
    client: type[BaseBleakClient] | None = None

    def __init__(self, adapter: str = "") -> None:
        self._adapter = adapter

    def make_scanner(self, heard: AdvertisementDataCallback) -> BleakScanner:
        """Return a scanner, not yet started, that calls `heard` with each advert."""
        # DuplicateData: BlueZ is to tell of each advert, also when it says the same as the last one.
        bluez: BlueZScannerArgs = {"adapter": self._adapter, "filters": {"DuplicateData": True}}
        return BleakScanner(heard, scanning_mode="active", bluez=bluez, backend=self.scanner)

    def make_client(self, device: BLEDevice, *, gone: Callable[[Any], None], timeout_s: float) -> BleakClient:
        """Return a client, not yet connected, that calls `gone` when the device has left."""
        return BleakClient(device, gone, timeout=timeout_s, bluez={"adapter": self._adapter}, backend=self.client)

    async def reset(self) -> None:
        """Make the adapter start afresh. Raises OSError, BleakError or TimeoutError."""
        await power_cycle(self._adapter)

    async def close(self) -> None:
        """Release what is kept open between scans. Raises as `reset` does."""
