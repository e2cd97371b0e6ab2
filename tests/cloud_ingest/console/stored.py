"""Rows of a small school, and a console's source that reads them, for tests."""

from __future__ import annotations

import time
from contextlib import asynccontextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any

from cloud_ingest.console.source import StoreSource
from cloud_ingest.series import Row, make_series
from cloud_ingest.settings import load
from cloud_ingest.stores.opening import open_store
from cloud_ingest.zones import zone

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

NS = 10**9
SITE = "demo-school"
SHANGHAI = zone("Asia/Shanghai")
WEDNESDAY = int(datetime(2026, 11, 18, 10, 30, tzinfo=SHANGHAI).timestamp()) * NS
"""A school day's morning in winter."""
AIR = {"co2": 640.0, "temperature": 21.0, "humidity": 45.0, "noise": 52.0, "illuminance": 420.0, "sequence": 9.0}


class Clock:
    """A wall clock and a monotonic one that tests move."""

    def __init__(self, start_ns: int = WEDNESDAY) -> None:
        self.ns = start_ns

    def now_ns(self) -> int:
        return self.ns

    def monotonic(self) -> float:
        return (self.ns - WEDNESDAY) / NS + 1000

    def advance(self, seconds: float) -> None:
        self.ns += int(seconds * NS)


def row(measurement: str, room: str, device: str, time_ns: int, subject: str | None = None, **fields: Any) -> Row:
    tags = {"site": SITE, "room": room, "device": device}
    if subject is not None:
        tags["subject"] = subject
    return Row(series=make_series(measurement, tags), time_ns=time_ns, fields=fields)


def air(room: str, time_ns: int, **fields: Any) -> Row:
    return row("environment", room, f"{room}-air", time_ns, **(fields or AIR))


def tap(room: str, time_ns: int, subject: str, **fields: Any) -> Row:
    return row("attendance", room, f"{room}-cards", time_ns, subject, presence=True, **fields)


def beat(room: str, time_ns: int, subject: str, rate: float, **fields: Any) -> Row:
    return row("vitals", room, f"{room}-bands", time_ns, subject, heart_rate=rate, **fields)


def gateway_row(gateway: str, time_ns: int) -> Row:
    tags = {"site": SITE, "gateway": gateway, "device": gateway}
    return Row(series=make_series("gateway", tags), time_ns=time_ns, fields={"uptime": 5.0})


def handle(number: int) -> str:
    return f"{number:032x}"


async def store(url: str, rows: Sequence[Row]) -> None:
    opened = open_store(url)
    try:
        await opened.prepare()
        await opened.write(rows)
    finally:
        await opened.close()


@asynccontextmanager
async def source_of(
    url: str, folder: Path, clock: Clock | None = None, mqtt: str = "mqtt://[::1]:1", **console: Any
) -> AsyncIterator[StoreSource]:
    settings = load(None, {"data": folder, "mqtt": {"url": mqtt}, "store": {"url": url}, "console": console})
    source = (
        StoreSource(settings) if clock is None else StoreSource(settings, now_ns=clock.now_ns, clock_s=clock.monotonic)
    )
    try:
        yield source
    finally:
        await source.close()


def now_ns() -> int:
    return time.time_ns()
