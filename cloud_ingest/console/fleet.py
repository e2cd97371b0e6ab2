"""The fleet: every gateway as its own messages tell of it. In memory, bounded, rebuilt from retained messages."""

from __future__ import annotations

import time
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from cloud_ingest.console.documents import Decoder, Devices, Health, Status, Undecodable, shown_drops
from cloud_ingest.console.model import (
    AuditView,
    DeviceState,
    DeviceView,
    DocumentState,
    DocumentView,
    GatewayView,
)
from cloud_ingest.console.people import without_handles
from telemetry.topics import NAME, Channel, parse_topic

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from cloud_ingest.console.catalogue import DeviceInfo
    from cloud_ingest.console.documents import Standing
    from cloud_ingest.stores.base import Record
    from telemetry.counters import Counters

_NS: Final = 1_000_000_000
_MOST_GATEWAYS: Final = 100_000
_MOST_POINTS: Final = 1_000_000
"""Of all gateways together: what is known of devices and their points takes most of the memory."""
_AHEAD_NS: Final = 60 * _NS
"""A time from further ahead comes from a clock that went wrong, and says nothing."""

Key = tuple[str, str]
"""Site and gateway."""


@dataclass(slots=True, kw_only=True)
class _Gateway:
    status: Status | None = None
    health: Health | None = None
    heard_at: float | None = None
    """Monotonic, of its last live message."""
    written_ns: int = 0
    """By its own clock: the newest of its retained messages and stored rows."""
    health_at: float = 0.0
    described_at: float = 0.0
    entries: dict[str, tuple[str, str, DeviceState]] = field(default_factory=dict)
    """Device → room, profile, state."""
    infos: dict[tuple[str, str], DeviceInfo] = field(default_factory=dict)
    """Room and device → its description."""
    simulated: bool = False


class Fleet:
    """Takes messages and rows in, gives views out; bounded in gateways and in what is kept of each."""

    def __init__(
        self,
        counters: Counters,
        *,
        most: int = _MOST_GATEWAYS,
        now_ns: Callable[[], int] = time.time_ns,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._counters = counters
        self._most = most
        self._now_ns = now_ns
        self._clock_s = clock_s
        self._gateways: dict[Key, _Gateway] = {}
        self._points = 0
        self._of_site: defaultdict[str, dict[str, _Gateway]] = defaultdict(dict)
        self._where: dict[tuple[str, str, str], DeviceInfo] = {}
        self._decoder = Decoder()

    def hear(self, topic: str, payload: bytes, *, retained: bool) -> None:
        """Take a message; what is not understood is counted and dropped."""
        where = parse_topic(topic)
        if where is None or without_handles(topic) != topic:
            self._counters.add("console.bad_topics")
            return
        key = (where.site, where.gateway)
        if not payload:
            # An empty retained message is how an administrator removes a gateway or its devices.
            self._clear(key, where.channel)
            return
        try:
            document = self._decoder.decode(where.channel, *key, payload)
        except Undecodable:
            self._counters.add("console.bad_documents")
            return
        gateway = self._known(key)
        if gateway is None:
            return
        # A last will is the broker's message, not the gateway's; a retained one may be old.
        offline = isinstance(document, Status) and document.state == "offline"
        if retained or offline:
            gateway.written_ns = max(gateway.written_ns, document.at_ns)
        else:
            gateway.heard_at = self._clock_s()
        gateway.simulated = document.simulated
        match document:
            case Status():
                gateway.status = document
            case Health():
                gateway.health, gateway.health_at = document, self._clock_s()
            case Devices():
                self._describe(key, gateway, document)

    def note_rows(self, records: Iterable[Record]) -> None:
        """Take the gateways' own newest rows from the store: who fell silent is known from there."""
        for record in records:
            site, name = record.get("site"), record.get("gateway")
            if not (isinstance(site, str) and isinstance(name, str) and NAME.fullmatch(site) and NAME.fullmatch(name)):
                continue
            if without_handles(site + "/" + name) != site + "/" + name:
                continue
            gateway = self._known((site, name))
            if gateway is not None:
                gateway.written_ns = max(gateway.written_ns, record["time_ns"])
                gateway.simulated = gateway.simulated or record.get("simulated") is True

    def sites(self) -> frozenset[str]:
        """Return the sites with gateways."""
        return frozenset(self._of_site)

    def device(self, site: str, room: str, device: str) -> DeviceInfo | None:
        """Return how its gateway describes a device."""
        return self._where.get((site, room, device))

    def rooms_of(self, site: str) -> Mapping[str, bool]:
        """Return the rooms with devices → whether one of these is a card reader."""
        rooms: dict[str, bool] = {}
        for gateway in self._of_site.get(site, {}).values():
            for (room, _), info in gateway.infos.items():
                rooms[room] = rooms.get(room, False) or info.measurement == "attendance"
        return rooms

    def views(self) -> tuple[GatewayView, ...]:
        """Return all gateways, sorted by site and name."""
        return tuple(self._view(key, self._gateways[key]) for key in sorted(self._gateways))

    def _known(self, key: Key) -> _Gateway | None:
        gateway = self._gateways.get(key)
        if gateway is None:
            if len(self._gateways) >= self._most:
                self._counters.add("console.gateways_too_many")
                return None
            gateway = self._gateways[key] = self._of_site[key[0]][key[1]] = _Gateway()
        return gateway

    def _clear(self, key: Key, channel: Channel) -> None:
        gateway = self._gateways.get(key)
        if gateway is None or channel is Channel.HEALTH:
            return
        self._forget_devices(key[0], gateway)
        if channel is Channel.STATUS:
            del self._gateways[key]
            del self._of_site[key[0]][key[1]]
            if not self._of_site[key[0]]:
                del self._of_site[key[0]]

    def _forget_devices(self, site: str, gateway: _Gateway) -> None:
        for (room, device), info in gateway.infos.items():
            self._points -= 1 + len(info.points)
            self._where.pop((site, room, device), None)
        gateway.infos.clear()
        gateway.entries.clear()

    def _describe(self, key: Key, gateway: _Gateway, document: Devices) -> None:
        self._forget_devices(key[0], gateway)
        gateway.described_at = self._clock_s()
        for entry in document.devices:
            if self._points >= _MOST_POINTS:
                self._counters.add("console.devices_too_many")
                return
            if (entry.room, entry.name) in gateway.infos:
                continue
            info = entry.info
            self._points += 1 + len(info.points)
            gateway.infos[entry.room, entry.name] = info
            gateway.entries[entry.name] = (entry.room, entry.profile, DeviceState(entry.state))
            self._where[key[0], entry.room, entry.name] = info

    def _view(self, key: Key, gateway: _Gateway) -> GatewayView:
        health = gateway.health
        since_s = self._clock_s() - gateway.health_at
        buffer = health.buffer if health is not None else None
        waiting = buffer is not None and bool(buffer.batches)
        return GatewayView(
            site=key[0],
            gateway=key[1],
            online=None if gateway.status is None else gateway.status.state == "online",
            last_contact_age_s=self._contact_age_s(gateway),
            clock_synced=None if health is None or health.clock is None else health.clock == "synced",
            uptime_s=None if health is None else health.uptime_s,
            backlog_batches=None if buffer is None else buffer.batches,
            backlog_values=None if buffer is None else buffer.values,
            backlog_bytes=None if buffer is None else buffer.bytes,
            oldest_age_s=buffer.oldest_age_s + since_s
            if buffer is not None and buffer.oldest_age_s is not None and waiting
            else None,
            hours_left=None if buffer is None else buffer.hours_left,
            version=None if health is None else health.version,
            gate_problem=None if health is None else health.gate_closed_for_people,
            documents=() if health is None else tuple(map(self._document, health.documents)),
            audit=health.audit if health is not None and isinstance(health.audit, AuditView) else None,
            audit_broken=health is not None and health.audit is None,
            drops=() if health is None else shown_drops(health.counters),
            devices=tuple(self._devices_of(gateway, since_s)),
            simulated=gateway.simulated,
        )

    def _document(self, standing: Standing) -> DocumentView:
        now_ns, state = self._now_ns(), standing.state
        until_ns = standing.valid_until_ns
        if state is DocumentState.IN_FORCE and until_ns is not None and until_ns <= now_ns:
            # Its gateway has not been heard since.
            state = DocumentState.TOO_OLD if standing.kind == "consents" else DocumentState.EXPIRED
        issued_ns = standing.issued_at_ns
        return DocumentView(
            kind=standing.kind,
            state=state,
            serial=standing.serial,
            issued_age_s=None if issued_ns is None else max(0.0, (now_ns - issued_ns) / _NS),
            valid_for_s=None if until_ns is None else (until_ns - now_ns) / _NS,
            problem=standing.text if state in (DocumentState.REFUSED, DocumentState.UNKNOWN) else None,
        )

    def _contact_age_s(self, gateway: _Gateway) -> float | None:
        ages: list[float] = []
        if gateway.heard_at is not None:
            ages.append(self._clock_s() - gateway.heard_at)
        now_ns = self._now_ns()
        if 0 < gateway.written_ns < now_ns + _AHEAD_NS:
            ages.append(max(0.0, (now_ns - gateway.written_ns) / _NS))
        return min(ages, default=None)

    @staticmethod
    def _devices_of(gateway: _Gateway, since_s: float) -> Iterable[DeviceView]:
        reports = gateway.health.devices if gateway.health is not None else {}
        for name in sorted({*gateway.entries, *reports}):
            room, profile, state = gateway.entries.get(name, (None, None, DeviceState.UNKNOWN))
            report = reports.get(name)
            if report is None:
                yield DeviceView(name=name, room=room, profile=profile, state=state)
                continue
            age_s = report.last_sample_age_s
            # `devices` is sent when a state changes, `health` each few seconds: the later one is right.
            if room is None or gateway.health_at >= gateway.described_at:
                state = DeviceState(report.state)
            yield DeviceView(
                name=name,
                room=room,
                profile=profile,
                state=state,
                last_sample_age_s=None if age_s is None else age_s + since_s,
                error=report.error,
            )
