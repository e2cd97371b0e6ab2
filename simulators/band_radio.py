"""Bands around one virtual Bluetooth adapter, which a gateway reaches by HCI over TCP. Needs Bumble: extra `ble-sim`.

Bands that only advertise are PDUs on the virtual air; bands for GATT are peripherals with controllers of their own.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, Final, Literal

from bumble import hci, ll
from bumble.controller import Controller
from bumble.device import Device
from bumble.gatt import Characteristic, Service
from bumble.host import Host
from bumble.link import LocalLink
from bumble.transport.common import StreamPacketSource

from simulators.bands import Band, measurement, mi_advert, service_advert
from simulators.faults import HANG, UNPLUG, VANISH
from simulators.ledger import SaidBeat

if TYPE_CHECKING:
    from collections.abc import Sequence

    from simulators.faults import Faults
    from simulators.ledger import Journal
    from telemetry.counters import Counters

RSSI_DBM: Final = -62
BATTERY: Final = 87
ADVERTISING_MS: Final = 200.0
NOT_SCANNING: Final = "unheard"
_LEGACY: Final = hci.HCI_LE_Extended_Advertising_Report_Event.EventType.LEGACY_ADVERTISING_PDU_USED
_GONE: Final = hci.HCI_ErrorCode.CONNECTION_TIMEOUT_ERROR

Format = Literal["heart_rate_service", "mi_band"]


class Adapter(Controller):
    """The gateway's adapter. It hangs when told to: nothing goes in or out, and then it has forgotten to scan."""

    def __init__(self, link: LocalLink, faults: Faults) -> None:
        super().__init__("adapter", link=link)
        self._faults = faults
        self.gone: set[hci.Address] = set()
        """Bands out of reach."""

    @property
    def hears(self) -> bool:
        """Whether an advert sent now reaches the gateway."""
        return self.host is not None and self.le_scan_enable and not self._faults.has(HANG)

    def hear(self, address: hci.Address, data: bytes) -> bool:
        """Report an advert that cannot be connected to; tell whether it reached the gateway."""
        if not self.hears:
            return False
        report = hci.HCI_LE_Extended_Advertising_Report_Event.Report(
            event_type=_LEGACY,
            address_type=address.address_type,
            address=address,
            primary_phy=1,
            secondary_phy=0,
            advertising_sid=0xFF,
            tx_power=0x7F,
            rssi=RSSI_DBM,
            periodic_advertising_interval=0,
            direct_address_type=0,
            direct_address=hci.Address.ANY,
            data=data,
        )
        self.send_hci_packet(hci.HCI_LE_Extended_Advertising_Report_Event([report]))
        return True

    def on_ll_advertising_pdu(self, packet: ll.AdvertisingPdu) -> None:
        """Take a connectable band's advert (called by the virtual air)."""
        if getattr(packet, "advertiser_address", None) not in self.gone:
            super().on_ll_advertising_pdu(packet)

    def on_packet(self, packet: bytes) -> None:
        """Take what the gateway sends, unless it hangs."""
        if not self._faults.has(HANG):
            super().on_packet(packet)

    def send_hci_packet(self, packet: hci.HCI_Packet) -> None:
        """Send to the gateway, unless it hangs."""
        if not self._faults.has(HANG):
            super().send_hci_packet(packet)

    def let_go(self) -> None:
        """Forget the gateway that has hung up: its scan and its connections end."""
        self.host = None
        self.le_scan_enable = False
        for connection in list(self.le_connections.values()):
            connection.send_ll_control_pdu(ll.TerminateInd(_GONE))
            self.le_connections.pop(connection.peer_address, None)


class _Line(StreamPacketSource):
    """One gateway's TCP connection; the latest one has the adapter."""

    def __init__(self, adapter: Adapter, open_lines: set[_Line], faults: Faults) -> None:
        super().__init__()
        self._faults = faults
        self._adapter = adapter
        self._open = open_lines
        self.transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        if self._faults.has(UNPLUG):
            self.transport.abort()
            return
        self._adapter.let_go()
        self._open.add(self)
        self.set_packet_sink(self._adapter)
        self._adapter.host = self

    def on_packet(self, packet: bytes) -> None:
        self.transport.write(packet)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's own
        self._open.discard(self)
        if self._adapter.host is self:
            self._adapter.let_go()


class _Peripheral:
    """A band that can be connected to."""

    def __init__(self, band: Band, link: LocalLink) -> None:
        self.band = band
        self.address = hci.Address(band.address)
        host = Host()
        host.controller = Controller(band.name, link=link)
        self.device = Device(name=band.name, address=self.address, host=host)
        self._beat: Characteristic[bytes] = Characteristic(
            "2A37", Characteristic.Properties.NOTIFY, Characteristic.READABLE, b""
        )
        level: Characteristic[bytes] = Characteristic(
            "2A19", Characteristic.Properties.READ, Characteristic.READABLE, bytes([BATTERY])
        )
        self.device.add_services([Service("180D", [self._beat]), Service("180F", [level])])
        self.device.advertising_data = service_advert(band, band.beat(0), connectable=True)

    async def start(self) -> None:
        await self.device.power_on()
        await self.device.start_advertising(
            auto_restart=True,
            advertising_interval_min=ADVERTISING_MS,
            advertising_interval_max=ADVERTISING_MS,
        )

    @property
    def subscribed(self) -> bool:
        """Whether a gateway is connected and wants to be told."""
        wanted = (cccd for cccds in self.device.gatt_server.subscribers.values() for cccd in cccds.values())
        return bool(self.device.connections) and any(cccd != b"\0\0" for cccd in wanted)

    async def notify(self, data: bytes) -> None:
        await self.device.notify_subscribers(self._beat, data)


class BandRadio:
    """The radio with its bands; a `build.Device`."""

    def __init__(
        self,
        *,
        name: str,
        host: str,
        port: int,
        bands: Sequence[Band],
        gatt_bands: Sequence[Band],
        form: Format,
        period_s: float,
        hold: bool,
        faults: Faults,
        journal: Journal,
        counters: Counters,
    ) -> None:
        self.name = name
        self.host = host
        self.port = port
        self._bands = bands
        self._form = form
        self._period_s = period_s
        self._hold = hold
        self._begun = asyncio.Event()
        self._faults = faults
        self._journal = journal
        self._counters = counters
        self._link = LocalLink()  # type: ignore[no-untyped-call]
        self._adapter = Adapter(self._link, faults)
        self._peripherals = [_Peripheral(band, self._link) for band in gatt_bands]
        self._said = {band.name: 0 for band in (*bands, *gatt_bands)}
        self._lines: set[_Line] = set()
        self._server: asyncio.Server | None = None
        self.points: set[str] = set()

    @property
    def endpoint(self) -> str:
        """The adapter, in Bumble's words."""
        return f"tcp-client:{self.host}:{self.port}"

    @property
    def devices(self) -> dict[str, int]:
        """Each band and how many measurements it has said."""
        return dict(self._said)

    @property
    def is_open(self) -> bool:
        """Whether a gateway scans."""
        return self._adapter.hears

    async def start(self, group: asyncio.TaskGroup) -> None:
        """Listen for a gateway and let the bands speak. Raises OSError if the address cannot be had."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: _Line(self._adapter, self._lines, self._faults), self.host, self.port
        )
        self.port = self._server.sockets[0].getsockname()[1]
        for peripheral in self._peripherals:
            await peripheral.start()
        if not self._hold:
            self.begin()
        group.create_task(self._speak(), name="bands")

    def begin(self) -> None:
        """Let the bands speak."""
        self._begun.set()

    def faults_changed(self) -> None:
        """Pull the plug, or forget to scan, if the faults say so; note who is out of reach."""
        self._adapter.gone = {item.address for item in self._peripherals if self._faults.has(VANISH, item.band.name)}
        if self._faults.has(HANG):
            self._adapter.le_scan_enable = False
        if self._faults.has(UNPLUG):
            for line in list(self._lines):
                line.transport.abort()

    def close(self) -> None:
        """Go away."""
        if self._server is not None:
            self._server.close()
        for line in list(self._lines):
            line.transport.abort()

    async def _speak(self) -> None:
        """Let each band say one measurement a period, one band after the other."""
        await self._begun.wait()
        loop = asyncio.get_running_loop()
        step_s = self._period_s / max(1, len(self._said))
        due_s = loop.time()
        while True:
            for band in self._bands:
                self._advertise(band)
                due_s = await self._pause(due_s + step_s)
            for peripheral in self._peripherals:
                await self._notify(peripheral)
                due_s = await self._pause(due_s + step_s)
            if not self._said:
                due_s = await self._pause(due_s + step_s)

    async def _pause(self, due_s: float) -> float:
        now_s = asyncio.get_running_loop().time()
        await asyncio.sleep(max(0.0, due_s - now_s))
        return max(due_s, now_s - self._period_s)  # after a standstill not everything is said at once

    def _advertise(self, band: Band) -> None:
        beat = band.beat(self._next(band))
        data = service_advert(band, beat) if self._form == "heart_rate_service" else mi_advert(band, beat)
        gone = self._faults.has(VANISH, band.name)
        delivered = not gone and self._adapter.hear(hci.Address(band.address), data)
        values = beat.values if self._form == "heart_rate_service" else {"heart_rate": float(beat.rate)}
        self._write(band, beat.n, values, delivered=delivered, gone=gone)

    async def _notify(self, peripheral: _Peripheral) -> None:
        band = peripheral.band
        gone = self._faults.has(VANISH, band.name)
        if not peripheral.subscribed:
            return
        beat = band.beat(self._next(band))
        delivered = not gone and not self._faults.has(HANG)
        if delivered:
            await peripheral.notify(measurement(beat))
        self._write(band, beat.n, beat.values, delivered=delivered, gone=gone)

    def _next(self, band: Band) -> int:
        self._said[band.name] += 1
        return self._said[band.name]

    def _write(self, band: Band, n: int, values: dict[str, float], *, delivered: bool, gone: bool) -> None:
        fault = None if delivered else VANISH if gone else HANG if self._faults.has(HANG) else NOT_SCANNING
        self._counters.add("bands.delivered" if delivered else "bands.undelivered")
        self._journal.write(
            SaidBeat(
                device=self.name,
                band=band.name,
                identifier=band.id.hex().upper(),
                n=n,
                at_ns=time.time_ns(),
                values=values,
                delivered=delivered,
                fault=fault,
            )
        )
