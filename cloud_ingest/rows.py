"""How a batch becomes rows; one bad sample never stops the rest."""

from __future__ import annotations

import logging
import re
import time
from dataclasses import dataclass
from math import isfinite
from typing import TYPE_CHECKING, Final, Protocol, get_args, get_type_hints

from cloud_ingest.series import Row, Series, make_series
from telemetry.profile import DeviceProfile
from telemetry.quantities import QUANTITIES, Kind
from telemetry.sample import PERSON_CLASSES, Quality, Value
from telemetry.topics import NAME

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from telemetry.batch import Batch, BatchSample, DeviceBlock
    from telemetry.counters import Counters

_log = logging.getLogger(__name__)
MEASUREMENTS: Final = frozenset(get_args(get_type_hints(DeviceProfile)["measurement"]))
NS: Final = 1_000_000_000
YEAR_2020_NS: Final = 1_577_836_800 * NS
_POINT: Final = re.compile(r"[a-z][a-z0-9_]{0,39}")
_HANDLE: Final = re.compile(r"[0-9a-f]{32}")
_RESERVED: Final = frozenset(
    {"time", "time_ns", "site", "room", "device", "gateway", "subject", "quality", "simulated"}
)
_TYPES: Final[dict[Kind, type]] = {Kind.FLOAT: float, Kind.BOOL: bool, Kind.STRING: str}
_CACHE_SIZE: Final = 20_000
_MAX_TEXT: Final = 1024
_MOST_POINTS: Final = 256
_DAY_NS: Final = 86_400 * NS


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeWindow:
    """Acquisition times that are believed."""

    earliest_ns: int = YEAR_2020_NS
    """Earlier ones pass only when the gateway itself calls its clock uncertain."""
    future_ns: int = 86_400 * NS
    """How far ahead of the ingest's clock a time may be."""
    past_ns: int = 1 << 62
    """How far behind it."""


class SeriesGuard(Protocol):
    """Says whether a series or field that is new to the caller may be written: a reason, or none."""

    def admit(self, *, site: str, gateway: str, series: str, person: bool) -> str | None:
        """Return why the series must not be written."""
        ...

    def admit_fields(self, *, site: str, gateway: str, measurement: str, points: Iterable[str]) -> str | None:
        """Return why the measurement must not get one of these fields."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plan:
    """What is the same for all samples of a device: its series and its points' types."""

    series: Series
    types: dict[str, type]
    has_text: bool


class RowMaker:
    """Turns batches into rows; remembers series and types of the devices it has seen, bounded."""

    def __init__(
        self,
        *,
        window: TimeWindow | None = None,
        now_ns: Callable[[], int] = time.time_ns,
        counters: Counters | None = None,
        erased: Callable[[str], bool] | None = None,
        guard: SeriesGuard | None = None,
    ) -> None:
        self._guard = guard
        """Asked once a day for each series and field; none: everything is admitted."""
        self._day = 0
        self._erased = erased
        """Whether a handle was erased: its rows are dropped, neither stored nor refused."""
        self._window = window or TimeWindow()
        self._counters = counters
        self._now_ns = now_ns
        self._plans: dict[tuple[object, ...], _Plan] = {}
        self._subjects: dict[tuple[str, str], Series] = {}
        self._gateways: dict[str, str] = {}
        """Series → the gateway that sent it last."""

    def rows(self, batch: Batch) -> tuple[list[Row], dict[int, str]]:
        """Return the rows of `batch`, and the refused samples: index in the batch → reason."""
        rows: list[Row] = []
        refused: dict[int, str] = {}
        now_ns = self._now_ns()
        if now_ns // _DAY_NS != self._day:
            self._begin_day(now_ns // _DAY_NS)
        earliest = max(self._window.earliest_ns, now_ns - self._window.past_ns)
        latest = now_ns + self._window.future_ns
        persons = batch.data_class in PERSON_CLASSES
        simulated = batch.simulated
        good = Quality.GOOD
        index = -1
        for block in batch.devices:
            plan = self._plan(batch, block)
            if isinstance(plan, str):
                refused.update(dict.fromkeys(range(index + 1, index + 1 + len(block.samples)), plan))
                index += len(block.samples)
                continue
            types = plan.types
            for sample in block.samples:
                index += 1
                values = sample.values
                # The happy path stays short: what is wrong with a bad sample is found out afterwards.
                # (JSON has no number that is not finite, and the encoder refuses one all the same.)
                for name, value in values.items():
                    if types.get(name) is not value.__class__:
                        break
                else:
                    if (
                        earliest <= sample.acquired_at_ns <= latest
                        and values
                        and not sample.bad
                        and sample.subject is None
                        and sample.quality is good
                        and not plan.has_text
                    ):
                        fields = {**values, "simulated": True} if simulated else values
                        at_ns = sample.acquired_at_ns
                        rows.append(Row(series=plan.series, time_ns=at_ns, fields=fields, sample=index, plain=True))
                        continue
                if sample.subject is not None and self._is_erased(sample.subject):
                    continue
                reason = self._why_bad(sample, types, persons=persons, earliest=earliest, latest=latest)
                series = reason or self._series_of(batch, plan, sample)
                if isinstance(series, str):
                    refused[index] = series
                    continue
                rows.append(
                    Row(series=series, time_ns=sample.acquired_at_ns, fields=_fields(sample, simulated), sample=index)
                )
        return rows, refused

    def _is_erased(self, subject: str) -> bool:
        if self._erased is None or not self._erased(subject):
            return False
        if self._counters is not None:
            self._counters.add("erasure.dropped_rows")
        return True

    def _begin_day(self, day: int) -> None:
        """Forget what is known by heart: the guard learns each day which series still come."""
        self._day = day
        self._plans.clear()
        self._subjects.clear()

    def _why_bad(
        self, sample: BatchSample, types: dict[str, type], *, persons: bool, earliest: int, latest: int
    ) -> str | None:
        """Return why the sample cannot be stored; none if it can. Never quotes a subject or a value."""
        early = 0 if sample.quality is Quality.CLOCK_UNCERTAIN else earliest
        if not sample.values and not sample.bad:
            return "sample holds neither values nor reasons"
        if sample.acquired_at_ns < early:
            return "acquired_at_ns lies before the believable window"
        if sample.acquired_at_ns > latest:
            return "acquired_at_ns lies in the future"
        return _bad_subject(sample.subject, persons=persons) or _bad_point(sample, types)

    def _plan(self, batch: Batch, block: DeviceBlock) -> _Plan | str:
        key = (
            batch.site,
            batch.gateway,
            block.device,
            block.room,
            block.measurement,
            *block.quantities,
            *block.quantities.values(),
        )
        known = self._plans.get(key)
        if known is not None:
            return known
        plan = _make_plan(batch, block)
        if isinstance(plan, str):
            return plan
        refusal = self._refusal(batch, block, plan.series)
        if refusal is not None:
            return refusal  # an hour later it may be admitted
        if len(self._plans) >= _CACHE_SIZE:
            self._plans.clear()
            self._gateways.clear()
        self._plans[key] = plan
        self._note_gateway(plan.series, batch, block)
        return plan

    def _refusal(self, batch: Batch, block: DeviceBlock, series: Series) -> str | None:
        """Return why the guard does not admit a device; none if it does."""
        if self._guard is None or not block.samples:
            return None
        site, gateway, points = batch.site, batch.gateway, block.quantities
        # Also where each row has a subject and the device's own series is never written: the next batch may have none.
        reason = self._guard.admit(site=site, gateway=gateway, series=series.key, person=False)
        return reason or self._guard.admit_fields(
            site=site, gateway=gateway, measurement=series.measurement, points=points
        )

    def _note_gateway(self, series: Series, batch: Batch, block: DeviceBlock) -> None:
        """Notice a series that comes from two gateways: a device that moved, or two devices under one name."""
        before = self._gateways.setdefault(series.key, batch.gateway)
        if before == batch.gateway:
            return
        self._gateways[series.key] = batch.gateway
        if self._counters is not None:
            self._counters.add("intake.shared_series")
        _log.warning(
            "device %s in room %s of %s came from gateway %s, now from %s: if these are two devices, their rows run"
            " together; give one of them another name",
            block.device,
            block.room,
            batch.site,
            before,
            batch.gateway,
        )

    def _series_of(self, batch: Batch, plan: _Plan, sample: BatchSample) -> Series | str:
        """Return the series of a sample, or why it is refused."""
        series, subject = plan.series, sample.subject
        if subject is None:
            return series
        found = self._subjects.get((series.key, subject))
        if found is None:
            found = make_series(series.measurement, {**dict(series.tags), "subject": subject})
            if self._guard is not None:
                reason = self._guard.admit(site=batch.site, gateway=batch.gateway, series=found.key, person=True)
                if reason is not None:
                    return reason
            if len(self._subjects) >= _CACHE_SIZE:
                self._subjects.clear()
            self._subjects[series.key, subject] = found
        return found


def _bad_subject(subject: str | None, *, persons: bool) -> str | None:
    if subject is None:
        return None
    if not persons:
        return "subject is not allowed in this class"
    return None if _HANDLE.fullmatch(subject) else "subject is not a handle of 32 hex digits"


def _bad_point(sample: BatchSample, types: dict[str, type]) -> str | None:
    bad = sample.bad or {}
    for name in (*sample.values, *bad):
        if name not in types:
            return f"point {name[:40]!r} has no quantity"
    for name, value in sample.values.items():
        if name in bad:
            return f"point {name!r} has a value and a reason for its absence"
        if value.__class__ is not types[name]:
            return f"point {name!r} must be {types[name].__name__}, not {type(value).__name__}"
        if isinstance(value, float) and not isfinite(value):
            return f"point {name!r} is not finite"
        if isinstance(value, str) and (len(value) > _MAX_TEXT or "\0" in value):
            return f"point {name!r} is a text over {_MAX_TEXT} characters, or holds NUL"
    return None


def _make_plan(batch: Batch, block: DeviceBlock) -> _Plan | str:
    """Return the device's plan, or why none of its samples can be stored."""
    if block.measurement not in MEASUREMENTS:
        return f"measurement {block.measurement[:40]!r} is not known"
    for what, name in (("device", block.device), ("room", block.room)):
        if not NAME.fullmatch(name):
            return f"{what} name {name[:70]!r} is not valid"
    if len(block.quantities) > _MOST_POINTS:
        return f"device has more than {_MOST_POINTS} points"
    types: dict[str, type] = {}
    for point, quantity in block.quantities.items():
        found = _type_of(point, quantity)
        if isinstance(found, str):
            return found
        types[point] = found
    tags = {"site": batch.site, "device": block.device}
    if block.measurement == "gateway":
        tags["gateway"] = batch.gateway
    else:
        tags["room"] = block.room
    return _Plan(series=make_series(block.measurement, tags), types=types, has_text=str in types.values())


def _type_of(point: str, quantity: str) -> type | str:
    """Return the type of a point's field, or why the point is not valid."""
    if not _POINT.fullmatch(point) or point in _RESERVED or point.endswith("_bad"):
        return f"point name {point[:40]!r} is not valid"
    if quantity not in QUANTITIES:
        return f"quantity {quantity[:40]!r} of point {point!r} is not known"
    kind = QUANTITIES[quantity].kind
    if point in QUANTITIES and QUANTITIES[point].kind is not kind:
        # Whoever is first fixes a field's type: nobody may spoil `temperature` for everybody else.
        return f"point {point!r} cannot be {kind}: that is the name of a quantity that is {QUANTITIES[point].kind}"
    return _TYPES[kind]


def _fields(sample: BatchSample, simulated: bool) -> dict[str, Value]:
    fields = dict(sample.values)
    for name, reason in (sample.bad or {}).items():
        fields[f"{name}_bad"] = reason.value
    if sample.quality is not Quality.GOOD:
        fields["quality"] = sample.quality.value
    if simulated:
        fields["simulated"] = True
    return fields
