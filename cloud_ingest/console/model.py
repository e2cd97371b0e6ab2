"""What the console's pages are given: frozen records in plain numbers, and the `Source` that makes them.

Pages never see a store's row. A record holds no handle, and nothing about one person.
`cloud_ingest.console.source.open_source(settings)` makes the real Source; the pages turn records into words.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date

    from telemetry.sample import Reason


class LimitState(StrEnum):
    """How a value stands to the limits of its quantity."""

    WITHIN = "within"
    ABOVE = "above"
    BELOW = "below"
    UNJUDGED = "unjudged"
    """No limit is set, or it does not apply now."""


class DeviceState(StrEnum):
    """What a gateway tells of a device."""

    UP = "up"
    DOWN = "down"
    STARTING = "starting"
    UNKNOWN = "unknown"


class DocumentState(StrEnum):
    """How one of a gateway's signed documents stands."""

    IN_FORCE = "in_force"
    NONE = "none"
    REFUSED = "refused"
    NOT_YET_VALID = "not_yet_valid"
    EXPIRED = "expired"
    TOO_OLD = "too_old"
    UNKNOWN = "unknown"
    """Said in a word that this console does not know."""


class DropKind(StrEnum):
    """What a gateway's counter of missing things means."""

    WITHHELD = "withheld"
    """The privacy gate kept it in the room: as intended."""
    DROPPED = "dropped"
    """Lost for want of room, or refused."""
    ALARM = "alarm"
    """Nothing is missing, but somebody should look."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """One text in both languages."""

    zh: str
    en: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """A limit of one quantity, in its canonical unit; at least one of `low` and `high` is set."""

    quantity: str
    low: float | None
    high: float | None
    label: Words
    """Short, such as "classroom CO2"."""
    source: str
    """Where it comes from, such as `GB/T 17226-2017`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ValueView:
    """The newest state of one point of one device; a value, or the reason why there is none."""

    device: str
    point: str
    quantity: str
    """A key of `QUANTITIES`; the point's own name where the profile is not known."""
    unit: str
    """Canonical, such as `Cel`; may be empty."""
    value: float | bool | str | None
    range_from: float | None = None
    """The value is known only as `range_from` to `value`, such as 1 to 4 people."""
    bad: Reason | str | None = None
    """Why the newest reading gave no value; a str where the reason is not one of ours."""
    age_s: float = 0.0
    """Since the acquisition of the newest row of this point, good or bad."""
    stale: bool = False
    """Older than it should be, by the device's period."""
    state: LimitState = LimitState.UNJUDGED
    limit: Limit | None = None
    """The limit that `state` speaks of."""
    quality: str = "good"
    """A `Quality`."""
    simulated: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RoomView:
    """A room's newest values, in the order in which they are to be shown."""

    site: str
    room: str
    values: tuple[ValueView, ...] = ()
    taps_today: int | None = None
    """Card taps since local midnight; none where the room has no reader."""
    simulated: bool = False
    """Any value shown is simulated."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChartSeries:
    """One point's day, ready to be drawn."""

    device: str
    point: str
    quantity: str
    unit: str
    points: tuple[tuple[int, float | None], ...]
    """UTC nanoseconds and value, by time; none marks a gap, which must not be bridged."""
    limits: tuple[Limit, ...] = ()
    beyond_s: float | None = None
    """For how long the day's values stood beyond a limit while it judged them; none where no limit judges."""
    simulated: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class DayChart:
    """A room's local day."""

    site: str
    room: str
    day: date
    start_ns: int
    end_ns: int
    """Exclusive: the next local midnight."""
    series: tuple[ChartSeries, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceView:
    """A device as its gateway tells of it."""

    name: str
    room: str | None = None
    profile: str | None = None
    state: DeviceState = DeviceState.UNKNOWN
    last_sample_age_s: float | None = None
    error: str | None = None
    """The gateway's own English words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drop:
    """A counter of what did not come through, with a count above 0."""

    counter: str
    """Its name in the gateway, such as `gate.withheld.personal.no_consent`."""
    kind: DropKind
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentView:
    """A signed document of a gateway's privacy gate; names no person."""

    kind: str
    """`policy`, `consents` or `roster`."""
    state: DocumentState
    serial: int | None = None
    issued_age_s: float | None = None
    valid_for_s: float | None = None
    """Until it is no longer in force; negative: since when it is not."""
    problem: str | None = None
    """Why it is not in force, in the gateway's own English words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditView:
    """The head of a gateway's audit log."""

    entries: int
    digest: str
    """The first digits of its hash, to compare with what the cloud keeps."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayView:
    """A gateway as its retained `status` and `devices` and its last `health` tell."""

    site: str
    gateway: str
    online: bool | None
    """None: never heard a status."""
    last_contact_age_s: float | None
    """Since its last message was heard by this console or, for a retained one, since it was written."""
    clock_synced: bool | None = None
    uptime_s: float | None = None
    backlog_batches: int | None = None
    backlog_values: int | None = None
    backlog_bytes: int | None = None
    oldest_age_s: float | None = None
    """Age of the oldest batch in the buffer; none if it is empty or unknown."""
    hours_left: float | None = None
    """How long the buffer would last without network; none if unknown."""
    version: str | None = None
    gate_problem: str | None = None
    """Why everything about persons is withheld, in the gateway's own English words; none if it is not."""
    documents: tuple[DocumentView, ...] = ()
    """Those that it tells of; none of an older gateway."""
    audit: AuditView | None = None
    audit_broken: bool = False
    """It says that its audit log cannot be written."""
    drops: tuple[Drop, ...] = ()
    devices: tuple[DeviceView, ...] = ()
    simulated: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceState:
    """Whether what the console shows is fresh."""

    store_problem: str | None = None
    """Why the store could not be read at the last try; none if it could."""
    broker_problem: str | None = None
    """Why gateways cannot be heard; none if they can."""


class Source(Protocol):
    """Where the pages' data come from. Reads only; each call has its deadline.

    `rooms` and `chart` raise StoreBusy, StoreRejected or AuthError when the store does not answer.
    Called by one task at a time for the shared snapshot, and by any page for charts.
    """

    async def run(self) -> None:
        """Keep what gateways tell up to date, reconnecting for ever, until cancelled."""
        ...

    async def sites(self) -> Sequence[str]:
        """Return the sites that are known, sorted."""
        ...

    async def rooms(self, site: str) -> Sequence[RoomView]:
        """Return the rooms of a site, sorted by name."""
        ...

    async def chart(self, site: str, room: str, day: date) -> DayChart:
        """Return a room's local day."""
        ...

    async def gateways(self) -> Sequence[GatewayView]:
        """Return all gateways, sorted by site and name; from memory."""
        ...

    async def state(self) -> SourceState:
        """Return what does not answer; from memory."""
        ...

    async def close(self) -> None:
        """Release the store and the connection."""
        ...
