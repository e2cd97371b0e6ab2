"""BleHeartRateDriver: one Sample per reading of a bound band, and now and then how many bands there are."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final, Self

from drivers.ble_heart_rate.bindings import Bindings
from drivers.ble_heart_rate.census import Census
from drivers.ble_heart_rate.frame import (
    BATTERY_LEVEL,
    BATTERY_SERVICE,
    HEART_RATE_MEASUREMENT,
    HEART_RATE_SERVICE,
    HUAMI,
    Reading,
    decode_battery,
    decode_measurement,
    decode_mi_band,
    decode_with_id,
)
from drivers.ble_heart_rate.options import BANDS, option_problems, parse_options
from drivers.ble_heart_rate.pool import GattPool
from telemetry.errors import ConfigError, Problem, ProtocolError
from telemetry.sample import Reason, Sample, Subject

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
    from types import TracebackType

    from drivers.links.advert import Advert, AdvertLink, Subscription
    from telemetry.driver import DeviceContext
    from telemetry.profile import DeviceProfile

KIND: Final = "band"
MAX_NAME: Final = 64


class BleHeartRateDriver:
    """All bands of one format that one adapter hears. A band's address is never looked at."""

    def __init__(self, context: DeviceContext, link: AdvertLink) -> None:
        found: list[Problem] = []
        options = parse_options(context.options, f"device {context.device}: options", found)
        if options is None:
            raise ConfigError(found)
        self._context = context
        self._link = link
        self._options = options
        self._points = {point.name for point in context.profile.points}
        self._bindings = Bindings(options.bindings_file, device=context.device, counters=context.counters)
        self._census = Census(repeat_s=options.repeat_s)
        self._counted_s = 0.0

    async def __aenter__(self) -> Self:
        """Nothing to prepare: bands speak by themselves."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing to release: the scanner stops with its last subscription."""

    async def samples(self) -> AsyncIterator[Sample]:
        """Yield a Sample per reading of a bound band. Raises DeviceUnavailable or AuthError if the adapter is lost."""
        loop = asyncio.get_running_loop()
        async with (
            self._link.subscribed(self._wants, self._context.now_ns) as adverts,
            self._source(adverts) as read,
        ):
            self._counted_s = loop.time()
            while True:
                try:
                    async with asyncio.timeout_at(self._counted_s + self._options.seen_every_s):
                        sample = await read()
                except TimeoutError:
                    sample = None
                if sample is not None:
                    yield sample
                if loop.time() - self._counted_s >= self._options.seen_every_s:
                    count = self._count()
                    if count is not None:
                        yield count

    @asynccontextmanager
    async def _source(self, adverts: Subscription) -> AsyncIterator[Callable[[], Awaitable[Sample | None]]]:
        """Yield what returns the next reading: from adverts, or from connections."""
        if not self._options.gatt:

            async def heard() -> Sample | None:
                return self._advertised(await adverts.next())

            yield heard
            return
        pool = GattPool(
            self._link,
            adverts,
            device=self._context.device,
            who=self._whom_to_connect,
            bound=self._is_bound,
            turn_s=self._options.turn_s,
            silent_s=self._options.silent_s,
            with_battery="battery" in self._points,
            now_ns=self._context.now_ns,
            counters=self._context.counters,
        )

        async def told() -> Sample | None:
            message = await pool.next()
            if not self._is_bound(message.band):
                self._add("unbound_readings")
                return None
            point, decode = _DECODERS[message.characteristic]
            try:
                reading = decode(message.data)
            except ProtocolError:
                self._add("undecodable")
                return self._sample(message.band, Reading(bad={point: Reason.DECODE}), message.at_ns)
            # Not asked for news: a notification is never a repeat.
            self._census.news(message.band, message.data, now_s=asyncio.get_running_loop().time())
            return self._sample(message.band, reading, message.at_ns)

        running = asyncio.create_task(pool.run(), name=f"device {self._context.device}: connections")
        try:
            yield told
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    def _wants(self, advert: Advert) -> bool:
        if self._options.format == "mi_band":
            return HUAMI in advert.manufacturer
        return HEART_RATE_SERVICE in advert.services or (
            HEART_RATE_SERVICE in advert.offers and self._options.identity == "name" and self._options.gatt
        )

    def _advertised(self, advert: Advert) -> Sample | None:
        """Return what an advert says about a bound band; none for others, repeats and garbage."""
        now_s = asyncio.get_running_loop().time()
        try:
            band, reading, said = self._decode(advert)
        except ProtocolError:
            self._add("undecodable")  # whose it is cannot be known: there is no band to give a bad value to
            return None
        if not self._census.news(band, said, now_s=now_s):
            self._add("repeats")
            return None
        if not self._is_bound(band):
            self._add("unbound_readings")
            return None
        return self._sample(band, reading, advert.at_ns)

    def _is_bound(self, band: str) -> bool:
        """Tell whether its readings are passed on; by the roster all are, and the gate keeps those of nobody."""
        if self._options.bindings == "roster":
            return True
        return self._bindings.has(band, now_s=asyncio.get_running_loop().time())

    def _decode(self, advert: Advert) -> tuple[str, Reading, bytes]:
        """Return (band, reading, the bytes that say it). Raises ProtocolError."""
        if self._options.format == "mi_band":
            said = advert.manufacturer[HUAMI]
            band, reading = decode_mi_band(said)
            return band, reading, said
        said = advert.services.get(HEART_RATE_SERVICE, b"")
        if self._options.identity == "name":
            band, reading = _name(advert), decode_measurement(said)
        else:
            band, reading = decode_with_id(said, id_bytes=self._options.id_bytes)
        if BATTERY_SERVICE in advert.services:
            level = advert.services[BATTERY_SERVICE]
            reading = Reading(values=reading.values | decode_battery(level).values, bad=reading.bad)
            said += level
        return band, reading, said

    def _whom_to_connect(self, advert: Advert) -> str | None:
        """Return the bound band that sends `advert`; what it says there is left to the connection."""
        now_s = asyncio.get_running_loop().time()
        try:
            if self._options.identity == "name":
                band = _name(advert)
            else:
                band, _ = decode_with_id(advert.services.get(HEART_RATE_SERVICE, b""), id_bytes=self._options.id_bytes)
        except ProtocolError:
            self._add("undecodable")
            return None
        self._census.news(band, b"", now_s=now_s)
        return band if self._is_bound(band) else None

    def _sample(self, band: str, reading: Reading, at_ns: int) -> Sample | None:
        """Return the reading as a Sample, with the profile's points only; none if there is nothing of them in it."""
        values = {name: value for name, value in reading.values.items() if name in self._points}
        bad = {name: reason for name, reason in reading.bad.items() if name in self._points}
        if not values and not bad:
            return None
        return Sample(
            device=self._context.device,
            acquired_at_ns=at_ns,
            values=dict(values),
            bad=bad,
            subject=Subject(kind=KIND, identifier=band),
        )

    def _count(self) -> Sample | None:
        now_s = asyncio.get_running_loop().time()
        self._counted_s = now_s
        self._add("forgotten_bands", self._census.forgotten)
        self._census.forgotten = 0
        count = self._census.count(now_s=now_s, within_s=self._options.seen_every_s)
        if BANDS not in self._points:
            return None
        return Sample(device=self._context.device, acquired_at_ns=self._context.now_ns(), values={BANDS: float(count)})

    def _add(self, what: str, amount: int = 1) -> None:
        self._context.counters.add(f"device.{self._context.device}.{what}", amount)


def _name(advert: Advert) -> str:
    """Return the name that a band says it has; not an address, which some stacks put in its place."""
    name = (advert.name or "").strip()
    if not name or len(name) > MAX_NAME:
        raise ProtocolError("a band without a name")
    return name


def create(context: DeviceContext, link: AdvertLink) -> BleHeartRateDriver:
    """Return the driver for one adapter's bands. Raises ConfigError if its options are wrong."""
    return BleHeartRateDriver(context, link)


def problems(profile: DeviceProfile, options: dict[str, bool | int | float | str], where: str) -> list[Problem]:
    """Return everything wrong with the profile's points and the device's options."""
    return option_problems(profile, options, where)


def link_address(options: Mapping[str, bool | int | float | str]) -> int | None:
    """Return which of an adapter's listeners it is: several may share an adapter, each with its own format."""
    return _LISTENERS.get((str(options.get("format")), bool(options.get("gatt"))))


_DECODERS: Final = {
    HEART_RATE_MEASUREMENT: ("heart_rate", decode_measurement),
    BATTERY_LEVEL: ("battery", decode_battery),
}
"""Characteristic → the point that is bad where it cannot be decoded, and what decodes it."""
_LISTENERS: Final = {("mi_band", False): 1, ("heart_rate_service", False): 2, ("heart_rate_service", True): 3}
