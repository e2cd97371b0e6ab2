"""Bands in a gym, by `tests.drivers.air`: what they advertise, who is bound, and a driver that listens."""

from __future__ import annotations

import asyncio
from contextlib import aclosing, asynccontextmanager

from drivers.ble_heart_rate import create
from drivers.ble_heart_rate.frame import HEART_RATE_SERVICE
from telemetry.counters import Counters
from tests.drivers.air import radio
from tests.drivers.helpers import context

SERVICE = "ble/heart_rate_service"
BAND = bytes.fromhex("C40000A1B2C3")
OTHER = bytes.fromhex("C40000A1B2C4")


def bindings(tmp_path, *bands):
    path = tmp_path / "bands.toml"
    path.write_text(f'schema = "campus.bands/1"\nbound = {[band.hex().upper() for band in bands]}\n')
    path.chmod(0o600)
    return str(path)


def service_data(rate, band=BAND, *, flags="06", more=""):
    return {HEART_RATE_SERVICE: bytes.fromhex(f"{flags}{rate:02x}{more}") + band}


@asynccontextmanager
async def listening(air, profile=SERVICE, counters=None, link_options=None, **options):
    counters = counters if counters is not None else Counters()
    async with radio(air, counters, **(link_options or {})) as link:
        driver = create(context("gym-bands", profile, counters, **options), link)
        async with driver, aclosing(driver.samples()) as samples:

            async def one():
                async with asyncio.timeout(5):
                    return await anext(samples)

            yield one


@asynccontextmanager
async def taking(one, count=1):
    """Wait for samples beside the body, which makes them."""
    found = []

    async def take():
        found.extend([await one() for _ in range(count)])

    task = asyncio.create_task(take())
    try:
        yield found
        await task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
