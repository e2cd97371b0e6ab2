"""What the drivers' wire tests share: a driver for a simulated device, and a collector task that can be stopped."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from device_profiles import load_profile
from drivers.links import SerialLink, TcpLink
from telemetry.counters import Counters
from telemetry.driver import DeviceContext

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine

    from drivers.links import Link
    from telemetry.profile import DeviceProfile


def context(device: str, profile: str | DeviceProfile, counters: Counters | None = None, **options) -> DeviceContext:
    loaded = load_profile(profile) if isinstance(profile, str) else profile
    return DeviceContext(
        device=device,
        profile=loaded,
        options={**loaded.options, **options},
        now_ns=time.time_ns,
        counters=counters if counters is not None else Counters(),
    )


@asynccontextmanager
async def serial(path: str, *, baudrate: int = 9600, counters: Counters | None = None) -> AsyncIterator[Link]:
    link = SerialLink("bus", counters if counters is not None else Counters(), path=str(path), baudrate=baudrate)
    try:
        yield link
    finally:
        await link.close()


@asynccontextmanager
async def tcp(host: str, port: int, *, counters: Counters | None = None) -> AsyncIterator[Link]:
    link = TcpLink("box", counters if counters is not None else Counters(), host=host, port=port)
    try:
        yield link
    finally:
        await link.close()


@asynccontextmanager
async def running(*coroutines: Coroutine[object, object, None]) -> AsyncIterator[None]:
    """Run endless coroutines beside the body; an error of theirs is the test's."""
    tasks = [asyncio.create_task(coroutine) for coroutine in coroutines]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        for result in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(result, Exception):
                raise result
