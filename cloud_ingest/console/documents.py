"""What gateways tell about themselves (`status`, `health`, `devices`): hostile bytes → small bounded records. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import msgspec

from cloud_ingest.console.catalogue import DeviceInfo, PointInfo
from cloud_ingest.console.model import AuditView, DocumentState, Drop, DropKind
from cloud_ingest.console.people import is_point, without_handles
from telemetry.topics import NAME, Channel

if TYPE_CHECKING:
    from collections.abc import Mapping

MOST_BYTES: Final = 262_144
MOST_DEVICES: Final = 500
_MOST_POINTS: Final = 100
_MOST_DROPS: Final = 40
_TEXT: Final = 200
_MOST: Final = 1 << 62
DOCUMENT_KINDS: Final = ("policy", "consents", "roster")
_STATES: Final = frozenset(DocumentState) - {DocumentState.UNKNOWN}
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_DIGEST_SHOWN: Final = 8
_COUNTER: Final = re.compile(r"[A-Za-z0-9_.-]{1,120}")

# Prefixes of counters → what they mean; all others are of no note here.
_KINDS: Final = (
    ("gate.withheld.", DropKind.WITHHELD),
    ("buffer.dropped_values.", DropKind.DROPPED),
    ("buffer.expired_values.", DropKind.DROPPED),
    ("buffer.lost_values", DropKind.DROPPED),
    ("buffer.unreadable_", DropKind.DROPPED),
    ("clock.dropped_samples", DropKind.DROPPED),
    ("clock.lost_samples", DropKind.DROPPED),
    ("buffer.quarantine_full", DropKind.DROPPED),
    ("publisher.refused_by_broker.", DropKind.ALARM),
    ("publisher.login_refused", DropKind.ALARM),
    ("publisher.slow_ack", DropKind.ALARM),
    ("publisher.no_subscriber", DropKind.ALARM),
    ("buffer.disk_errors", DropKind.ALARM),
    ("buffer.events_not_durable", DropKind.ALARM),
    ("buffer.identity_unsaved", DropKind.ALARM),
    ("clock.uncertain_samples", DropKind.ALARM),
    ("clock.waiting_disk_errors", DropKind.ALARM),
)
_LINK_DROPS: Final = re.compile(r"link\..+\.(dropped_[a-z_]+|overrun_bytes)")

_Count = Annotated[int, msgspec.Meta(ge=0, le=1 << 62)]
_Seconds = Annotated[float, msgspec.Meta(ge=0, le=1e12)]
_Time = Annotated[int, msgspec.Meta(ge=0, le=1 << 62)]


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """A gateway's birth or last will."""

    schema: Literal["campus.status/1"]
    state: Literal["online", "offline"]
    at_ns: _Time = 0
    simulated: bool = False


class BufferReport(msgspec.Struct, frozen=True, kw_only=True):
    """What waits in a gateway."""

    batches: _Count | None = None
    values: _Count | None = None
    bytes: _Count | None = None
    oldest_age_s: _Seconds | None = None
    hours_left: _Seconds | None = None


class DeviceReport(msgspec.Struct, frozen=True, kw_only=True):
    """How a device is, in `health`."""

    state: Literal["up", "down", "starting"]
    last_sample_age_s: _Seconds | None = None
    error: str | None = None


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """A gateway's health."""

    schema: Literal["campus.health/1"]
    site: str
    gateway: str
    at_ns: _Time = 0
    uptime_s: _Seconds | None = None
    clock: Literal["synced", "unsynced"] | None = None
    version: str | None = None
    simulated: bool = False
    gate_closed_for_people: str | None = None
    documents: Any = None
    """Judged part by part: a standing that this console does not understand must not cost the rest."""
    audit: Any = msgspec.UNSET
    buffer: BufferReport = BufferReport()
    devices: dict[str, DeviceReport] = {}
    counters: dict[str, _Count] = {}


class PointEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A point, in `devices`."""

    name: str
    quantity: str
    unit: str = ""
    at_least_every_s: _Seconds | None = None


class DeviceEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A device, in `devices`."""

    name: str
    room: str
    profile: str
    measurement: str
    state: Literal["up", "down", "starting"]
    period_s: _Seconds | None = None
    points: list[PointEntry] = []

    @property
    def info(self) -> DeviceInfo:
        """What the catalogue needs of it."""
        return DeviceInfo(
            profile=self.profile,
            measurement=self.measurement,
            period_s=self.period_s,
            points={
                point.name: PointInfo(quantity=point.quantity, unit=point.unit, at_least_every_s=point.at_least_every_s)
                for point in self.points
            },
        )


class Devices(msgspec.Struct, frozen=True, kw_only=True):
    """A gateway's devices."""

    schema: Literal["campus.devices/1"]
    site: str
    gateway: str
    at_ns: _Time = 0
    simulated: bool = False
    devices: list[DeviceEntry] = []


Document = Status | Health | Devices


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How a signed document stands, of `health`; times in UTC nanoseconds."""

    kind: str
    state: DocumentState
    serial: int | None
    issued_at_ns: int | None
    valid_until_ns: int | None
    text: str | None


class Undecodable(Exception):
    """The bytes are no document of this channel; nothing of them is kept."""


class Decoder:
    """One decoder for each channel."""

    def __init__(self) -> None:
        self._by_channel: Mapping[Channel, msgspec.json.Decoder[Document]] = {
            Channel.STATUS: msgspec.json.Decoder(Status),
            Channel.HEALTH: msgspec.json.Decoder(Health),
            Channel.DEVICES: msgspec.json.Decoder(Devices),
        }

    def decode(self, channel: Channel, site: str, gateway: str, payload: bytes) -> Document:
        """Return the document, cut to what may be kept. Raises Undecodable."""
        decoder = self._by_channel.get(channel)
        if decoder is None or len(payload) > MOST_BYTES:
            raise Undecodable("too large, or of a channel that is not read")
        try:
            document = decoder.decode(payload)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise Undecodable(str(error)) from error
        if isinstance(document, Status):
            return document
        if (document.site, document.gateway) != (site, gateway):
            raise Undecodable("it names another gateway than its topic")
        return _bounded_health(document) if isinstance(document, Health) else _bounded_devices(document)


def shown_standings(told: object) -> tuple[Standing, ...]:
    """Return what `documents` says of the documents that are known here; nothing of what is no such thing."""
    if not isinstance(told, dict):
        return ()
    return tuple(_standing(kind, told[kind]) for kind in DOCUMENT_KINDS if isinstance(told.get(kind), dict))


def _standing(kind: str, told: Mapping[str, object]) -> Standing:
    state, text = told.get("state"), told.get("text")
    return Standing(
        kind=kind,
        state=DocumentState(state) if isinstance(state, str) and state in _STATES else DocumentState.UNKNOWN,
        serial=_whole(told.get("serial")),
        issued_at_ns=_whole(told.get("issued_at_ns")),
        valid_until_ns=_whole(told.get("valid_until_ns")),
        text=shown_text(text) if isinstance(text, str) else None,
    )


def shown_audit(told: object) -> AuditView | None:
    """Return the head of the audit log; none if there is none, or it is no head."""
    if not isinstance(told, dict):
        return None
    entries, digest = _whole(told.get("n")), told.get("hash")
    if entries is None or not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
        return None
    return AuditView(entries=entries, digest=digest[:_DIGEST_SHOWN])


def _whole(told: object) -> int | None:
    """Return a number that JavaScript and every clock can bear; larger ones, such as the year 9999, as the largest."""
    if isinstance(told, bool) or not isinstance(told, int | float) or not 0 <= told < float("inf"):
        return None
    return min(int(told), _MOST)


def shown_text(text: str | None) -> str | None:
    """Return a gateway's words, short and without pseudonyms."""
    return None if text is None else without_handles(text)[:_TEXT]


def shown_drops(counters: Mapping[str, int]) -> tuple[Drop, ...]:
    """Return the counters of note, the largest first within each kind."""
    found = [
        Drop(counter=name, kind=kind, count=count)
        for name, count in counters.items()
        if count > 0 and _COUNTER.fullmatch(name) and (kind := _kind(name)) is not None
    ]
    found.sort(key=lambda drop: (drop.kind is not DropKind.DROPPED, drop.kind, -drop.count, drop.counter))
    return tuple(found[:_MOST_DROPS])


def _kind(name: str) -> DropKind | None:
    if without_handles(name) != name:
        return None
    if _LINK_DROPS.fullmatch(name):
        return DropKind.DROPPED
    return next((kind for prefix, kind in _KINDS if name.startswith(prefix)), None)


def _is_name(name: str) -> bool:
    return NAME.fullmatch(name) is not None and without_handles(name) == name


def _bounded_health(health: Health) -> Health:
    named = ((name, report) for name, report in health.devices.items() if _is_name(name))
    devices = {
        name: DeviceReport(
            state=report.state, last_sample_age_s=report.last_sample_age_s, error=shown_text(report.error)
        )
        for (name, report), _ in zip(named, range(MOST_DEVICES), strict=False)
    }
    noted = {drop.counter: drop.count for drop in shown_drops(health.counters)}
    return msgspec.structs.replace(
        health,
        devices=devices,
        counters=noted,
        version=shown_text(health.version),
        gate_closed_for_people=shown_text(health.gate_closed_for_people),
        documents=shown_standings(health.documents),
        audit=health.audit if health.audit in (None, msgspec.UNSET) else shown_audit(health.audit) or msgspec.UNSET,
    )


def _bounded_devices(document: Devices) -> Devices:
    return msgspec.structs.replace(
        document,
        devices=[
            msgspec.structs.replace(
                entry,
                profile=without_handles(entry.profile)[:_TEXT],
                measurement=entry.measurement[:_TEXT],
                points=[point for point in entry.points[:_MOST_POINTS] if _is_point(point)],
            )
            for entry in document.devices[:MOST_DEVICES]
            if _is_name(entry.name) and _is_name(entry.room)
        ],
    )


def _is_point(point: PointEntry) -> bool:
    return (
        is_point(point.name) and is_point(point.quantity) and len(point.unit) <= 20  # noqa: PLR2004 - SenML's longest is shorter
    )
