"""A source for tests of the pages: a small school in which everything that a page can say is said once."""

from __future__ import annotations

import asyncio
import math
import time
from dataclasses import replace
from datetime import date, datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from cloud_ingest.console.model import (
    AuditView,
    ChartSeries,
    DayChart,
    DeviceState,
    DeviceView,
    DocumentState,
    DocumentView,
    Drop,
    DropKind,
    GatewayView,
    Limit,
    LimitState,
    RoomView,
    SourceState,
    ValueView,
    Words,
)
from telemetry.errors import StoreBusy
from telemetry.sample import Reason

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

ZONE = ZoneInfo("Asia/Shanghai")
SITE = "demo-school"
CO2 = Limit(
    quantity="co2", low=None, high=1000.0, label=Words(zh="教室二氧化碳", en="classroom CO2"), source="GB/T 17226-2017"
)
WARM = Limit(
    quantity="temperature",
    low=16.0,
    high=24.0,
    label=Words(zh="冬季室温", en="room temperature in winter"),
    source="GB/T 18883-2022",
)
LIGHT = Limit(
    quantity="illuminance",
    low=300.0,
    high=None,
    label=Words(zh="课桌面照度", en="light on the desk"),
    source="GB 7793-2010",
)


def value(point: str, amount: float | None, unit: str, **more: object) -> ValueView:
    given = {"device": "r101-air", "point": point, "quantity": point, "unit": unit, "value": amount, "age_s": 1.2}
    return ValueView(**{**given, **more})  # type: ignore[arg-type]


def air(device: str, co2: float, temperature: float, light: float, age_s: float = 1.4) -> tuple[ValueView, ...]:
    def judged(amount: float, limit: Limit) -> LimitState:
        if limit.high is not None and amount > limit.high:
            return LimitState.ABOVE
        return LimitState.BELOW if limit.low is not None and amount < limit.low else LimitState.WITHIN

    return (
        value("co2", co2, "ppm", device=device, limit=CO2, state=judged(co2, CO2), age_s=age_s),
        value(
            "temperature", temperature, "Cel", device=device, limit=WARM, state=judged(temperature, WARM), age_s=age_s
        ),
        value("humidity", 46.2, "%RH", device=device, age_s=age_s, state=LimitState.WITHIN),
        value("pm2_5", 18.0, "ug/m3", device=device, age_s=age_s),
        value("noise", 52.4, "dB", device=device, age_s=age_s),
        value("illuminance", light, "lx", device=device, limit=LIGHT, state=judged(light, LIGHT), age_s=age_s + 6),
    )


def people(device: str, amount: float | None, **more: object) -> ValueView:
    few = {"range_from": 1.0} if amount == 4 else {}
    return value("people", amount, "count", device=device, **{**few, **more})


def lesson(school_class: str, rate: float, pupils: float, age_s: float = 31.0) -> tuple[ValueView, ...]:
    told = {"device": f"lesson-{school_class}", "age_s": age_s}
    more = {"quantity": "people", "range_from": pupils}
    return (
        value("heart_rate_mean", rate, "beat/min", quantity="heart_rate", **told),
        value("pupils", pupils + 4, "count", **more, **told),
    )


def rooms(co2: float = 612.0) -> tuple[RoomView, ...]:
    stale = tuple(
        replace(view, stale=True, state=LimitState.UNJUDGED) for view in air("r103-air", 702, 20.6, 410, 1290.0)
    )
    return (
        RoomView(
            site=SITE,
            room="g1",
            values=(
                *lesson("5a", 138.0, 40),
                *lesson("5b", 121.0, 25, age_s=65.0),
                *air("g1-air", 780, 18.4, 350)[:3],
            ),
        ),
        RoomView(site=SITE, room="hall", values=air("hall-air", 455, 15.2, 180), taps_today=412),
        RoomView(
            site=SITE,
            room="r101",
            values=(*air("r101-air", co2, 22.4, 486), people("r101-camera", 32.0)),
            taps_today=38,
            simulated=True,
        ),
        RoomView(site=SITE, room="r102", values=(*air("r102-air", 1240, 24.8, 512), people("r102-camera", 4.0))),
        RoomView(site=SITE, room="r103", values=stale),
        RoomView(
            site=SITE,
            room="r104",
            values=(
                *(
                    replace(view, value=None, bad=reason, limit=None, state=LimitState.UNJUDGED)
                    for view, reason in zip(
                        air("r104-air", 1, 1, 1),
                        (
                            Reason.WARMING_UP,
                            Reason.TIMEOUT,
                            Reason.DECODE,
                            Reason.SENSOR_FAULT,
                            Reason.OUT_OF_RANGE,
                            "odd",
                        ),
                        strict=True,
                    )
                ),
                value("temperature", 21.0, "Cel", device="r104-extra", quality="suspect"),
            ),
        ),
    )


def everyday_rooms() -> tuple[RoomView, ...]:
    """Return an ordinary morning, for the picture in the README."""
    occupied = {"r101": 38.0, "r102": 41.0, "r103": 4.0}
    plain = {
        "g1": (702, 18.4, 412),
        "hall": (488, 17.1, 365),
        "r101": (894, 21.6, 486),
        "r102": (1240, 22.3, 512),
        "r103": (561, 20.9, 430),
        "r104": (447, 19.8, 398),
    }
    shown = []
    for room, (co2, temperature, light) in plain.items():
        values = air(f"{room}-air", co2, temperature, light)
        if room == "r104":
            broken = {"value": None, "bad": Reason.TIMEOUT, "state": LimitState.UNJUDGED, "age_s": 3.0}
            values = (*values[:3], replace(values[3], **broken), *values[4:])  # type: ignore[arg-type]
        if room in occupied:
            values = (*values, people(f"{room}-camera", occupied[room]))
        elif room == "g1":
            bands = value("bands_seen", 45.0, "count", device="gym-bands", quantity="people")
            values = (*values, bands, *lesson("5a", 138.0, 40))
        shown.append(
            RoomView(
                site=SITE,
                room=room,
                values=tuple(replace(view, simulated=True) for view in values),
                taps_today={"hall": 412, "r101": 38}.get(room),
                simulated=True,
            )
        )
    return tuple(shown)


def day_points(day: date, *, low: float, high: float) -> tuple[tuple[int, float | None], ...]:
    start = datetime(day.year, day.month, day.day, tzinfo=ZONE)
    points: list[tuple[int, float | None]] = []
    for minute in range(0, 24 * 60, 5):
        at = start + timedelta(minutes=minute)
        lesson = max(0.0, math.sin(math.pi * (minute - 440) / 560)) if 440 < minute < 1000 else 0.0
        wave = 0.12 * math.sin(minute / 23)
        amount = low + (high - low) * max(0.0, min(1.0, lesson + wave * lesson))
        points.append((int(at.timestamp()) * 10**9, None if 700 <= minute < 760 else round(amount, 1)))
    return tuple(points)


def chart_of(room: str, day: date) -> DayChart:
    start = int(datetime(day.year, day.month, day.day, tzinfo=ZONE).timestamp()) * 10**9

    def series(point: str, unit: str, low: float, high: float, *limits: Limit, device: str = "air") -> ChartSeries:
        points = day_points(day, low=low, high=high)
        beyond_s = None
        if limits and limits[0].high is not None:
            top = limits[0].high
            beyond_s = sum((b[0] - a[0]) / 1e9 for a, b in pairwise(points) if a[1] is not None and a[1] > top)
        return ChartSeries(
            device=f"{room}-{device}",
            point=point,
            quantity=point,
            unit=unit,
            points=points,
            limits=limits,
            beyond_s=beyond_s,
            simulated=room == "r101",
        )

    everything = (
        series("co2", "ppm", 430, 1310, CO2),
        series("temperature", "Cel", 18.1, 23.2, WARM),
        series("temperature", "Cel", 17.5, 21.2, WARM, device="window"),
        series("humidity", "%RH", 38, 51),
        series("illuminance", "lx", 0, 640, LIGHT),
        series("people", "count", 0, 41, device="camera"),
    )
    drawn = everything if room in ("r101", "r102") else ()
    if room == "g1":
        drawn = tuple(
            replace(series(point, unit, low, high), point=point, quantity=quantity, device=f"lesson-{school_class}")
            for school_class in ("5a", "5b")
            for point, quantity, unit, low, high in (
                ("heart_rate_mean", "heart_rate", "beat/min", 92, 151),
                ("pupils", "people", "count", 20, 40),
            )
        )
    return DayChart(site=SITE, room=room, day=day, start_ns=start, end_ns=start + 86_400 * 10**9, series=drawn)


def gateways() -> tuple[GatewayView, ...]:
    return (
        GatewayView(
            site=SITE,
            gateway="gw-101",
            online=True,
            last_contact_age_s=2.1,
            clock_synced=True,
            uptime_s=277_000,
            backlog_batches=0,
            backlog_values=0,
            backlog_bytes=4096,
            hours_left=718.0,
            version="0.1.0",
            simulated=True,
            documents=(
                DocumentView(
                    kind="policy", state=DocumentState.IN_FORCE, serial=7, issued_age_s=432_000, valid_for_s=17_000_000
                ),
                DocumentView(
                    kind="consents", state=DocumentState.IN_FORCE, serial=41, issued_age_s=7200, valid_for_s=79_200
                ),
                DocumentView(kind="roster", state=DocumentState.NONE),
            ),
            audit=AuditView(entries=1204, digest="8f0b19ae"),
            drops=(
                Drop(counter="gate.withheld.personal.no_consent", kind=DropKind.WITHHELD, count=14),
                Drop(counter="gate.withheld.sensitive.class_not_allowed", kind=DropKind.WITHHELD, count=20817),
                Drop(counter="device.r101-air.failed_readings", kind=DropKind.ALARM, count=3),
            ),
            devices=(
                DeviceView(
                    name="r101-air",
                    room="r101",
                    profile="modbus/multisensor_6in1@1.0.0",
                    state=DeviceState.UP,
                    last_sample_age_s=1.0,
                ),
                DeviceView(
                    name="r101-camera",
                    room="r101",
                    profile="camera/people_counter@1.0.0",
                    state=DeviceState.UP,
                    last_sample_age_s=1.8,
                ),
                DeviceView(
                    name="r104-air",
                    room="r104",
                    profile="modbus/renke_rs_co2ws@1.0.0",
                    state=DeviceState.DOWN,
                    last_sample_age_s=1311.0,
                    error="unit 4 does not answer within 0.6 s",
                ),
                DeviceView(name="gate-reader", room="gate", profile="rfid/rdm6300@1.0.0", state=DeviceState.STARTING),
            ),
        ),
        GatewayView(
            site=SITE,
            gateway="gw-102",
            online=False,
            last_contact_age_s=5410.0,
            clock_synced=False,
            uptime_s=4400,
            backlog_batches=84,
            backlog_values=15_120,
            backlog_bytes=2_310_000,
            oldest_age_s=3900.0,
            hours_left=61.5,
            gate_problem="policy expired: serial 6, issued 200 days ago, valid until 2026-03-01 00:00+08:00",
            documents=(
                DocumentView(
                    kind="policy", state=DocumentState.EXPIRED, serial=6, issued_age_s=17_280_000, valid_for_s=-90_000
                ),
                DocumentView(
                    kind="consents",
                    state=DocumentState.REFUSED,
                    problem="refused: signed by 24f6ed6acbfe1009, which is not trusted here",
                ),
                DocumentView(
                    kind="roster", state=DocumentState.NOT_YET_VALID, serial=3, issued_age_s=3600, valid_for_s=9e6
                ),
            ),
            audit_broken=True,
            drops=(Drop(counter="buffer.dropped_values.live", kind=DropKind.DROPPED, count=240),),
        ),
    )


class Scene:
    """What `FakeSource` shows; a test changes it by files, since the console is another process."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def set(self, name: str, text: str) -> None:
        temporary = self._folder / f".{name}"
        temporary.write_text(text)
        temporary.replace(self._folder / name)

    def get(self, name: str, default: str) -> str:
        try:
            return (self._folder / name).read_text()
        except FileNotFoundError:
            return default


class FakeSource:
    """The scenes above; `co2`, `everyday`, `store`, `broker`, `sites` and `crash` can be set by a test."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self.reads = 0

    async def run(self) -> None:
        while self._scene.get("crash", "") == "":  # noqa: ASYNC110 - the test speaks by files
            await asyncio.sleep(0.05)
        raise RuntimeError("crash asked for")

    async def sites(self) -> Sequence[str]:
        return self._scene.get("sites", SITE).split()

    async def rooms(self, site: str) -> Sequence[RoomView]:
        self.reads += 1
        self._scene.set("reads", str(self.reads))
        if self._scene.get("store", "ok") != "ok":
            raise StoreBusy("store is away", retry_after_s=1.0)
        shown = rooms(float(self._scene.get("co2", "612")))
        if self._scene.get("everyday", ""):
            return everyday_rooms()
        return shown if site == SITE else tuple(replace(room, site=site) for room in shown[:1])

    async def chart(self, site: str, room: str, day: date) -> DayChart:
        if self._scene.get("store", "ok") != "ok":
            raise StoreBusy(f"store of {site} is away", retry_after_s=1.0)
        return chart_of(room, day)

    async def gateways(self) -> Sequence[GatewayView]:
        return gateways()

    async def state(self) -> SourceState:
        return SourceState(broker_problem=self._scene.get("broker", "") or None)

    async def close(self) -> None:
        self._scene.set("closed", str(time.time()))
