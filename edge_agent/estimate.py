"""How much the configured devices may bring, before anybody has measured it: bytes an hour, by priority."""

from __future__ import annotations

import math
import random
from typing import TYPE_CHECKING, Final

from edge_agent.buffer import HEADER_BYTES, priority_of
from edge_agent.buffer.buffer import SPILL_SHARE
from edge_agent.catalogue import GATEWAY_PROFILE, device_info, find_profile
from edge_agent.health import ROW_EVERY_S
from telemetry.batch import SCHEMA, Batch, BatchSample, DeviceBlock, encode_batch, pack
from telemetry.quantities import QUANTITIES, Kind
from telemetry.sample import PERSON_CLASSES, DataClass, Durability

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from edge_agent.catalogue import Device
    from edge_agent.settings import Settings
    from telemetry.profile import DeviceProfile, Point
    from telemetry.sample import Value

EVENTS_AN_HOUR: Final = 600.0
"""A card each six seconds, all day long: more than a door sees."""
PERSONS: Final = 50
"""Who may wear something that one receiver hears."""
_HOUR_S: Final = 3600.0
_HANDLE: Final = "0" * 32
_AT_NS: Final = 1_800_000_000_000_000_000

_Source = tuple["DeviceProfile", str, float, bool]
"""Profile, name, samples an hour, and whether each is a batch of its own."""


def estimate(settings: Settings, devices: Mapping[str, Device]) -> dict[str, float]:
    """Return bytes of records an hour by the priority's name, with every value reported and each one different."""
    sources: list[_Source] = []
    for name, device in devices.items():
        event = device.profile.durability is Durability.EVENT
        sensitive = any(point.data_class is DataClass.SENSITIVE for point in device.profile.points)
        rate = EVENTS_AN_HOUR if event else _HOUR_S / device.period_s * (PERSONS if sensitive else 1)
        sources.append((device.profile, name, rate, event))
    gateway = find_profile(GATEWAY_PROFILE, "the gateway's own", settings.profile_folders, [])
    if gateway is not None:
        sources.append((gateway, settings.gateway, _HOUR_S / ROW_EVERY_S, False))
    people = settings.privacy.key_file is not None
    found: dict[str, float] = {}
    for data_class in DataClass:
        if data_class in PERSON_CLASSES and not people:
            continue
        for event in (True, False):
            theirs = [source for source in sources if source[3] is event and _points(source[0], data_class)]
            if theirs:
                name = priority_of(data_class, event=event).folder
                found[name] = found.get(name, 0.0) + _bytes_an_hour(settings, theirs, data_class, event=event)
    return found


def _bytes_an_hour(settings: Settings, sources: Sequence[_Source], data_class: DataClass, *, event: bool) -> float:
    rates = [rate for _, _, rate, _ in sources]
    # What comes within a window goes to disk as one batch; an event is one by itself.
    rounds = sum(rates) if event else min(max(rates), _HOUR_S / (SPILL_SHARE * settings.window_s))
    chance = random.Random(1)  # noqa: S311 - made-up values, the same each time
    blocks = []
    for profile, name, rate, _ in sources[:1] if event else sources:
        info = device_info(name, name, profile)
        points = _points(profile, data_class)
        count = 1 if event else math.ceil(rate / rounds)
        samples = [
            BatchSample(
                acquired_at_ns=_AT_NS + chance.randrange(10**12),
                values={point.name: _value(point, chance) for point in points},
                subject=_HANDLE if data_class in PERSON_CLASSES else None,
            )
            for _ in range(count)
        ]
        blocks.append(
            DeviceBlock(
                device=info.device,
                room=info.room,
                profile=info.profile,
                measurement=info.measurement,
                quantities=info.quantities,
                samples=samples,
            )
        )
    batch = Batch(
        schema=SCHEMA,
        site=settings.site,
        gateway=settings.gateway,
        epoch="0" * 16,
        number=10**6,
        data_class=data_class,
        devices=blocks,
    )
    return rounds * (HEADER_BYTES + len(pack(encode_batch(batch))))


def _points(profile: DeviceProfile, data_class: DataClass) -> list[Point]:
    return [point for point in profile.points if point.data_class is data_class]


def _value(point: Point, chance: random.Random) -> Value:
    kind = QUANTITIES[point.quantity].kind
    return round(chance.uniform(0, 1000), 2) if kind is Kind.FLOAT else kind is not Kind.STRING or "-"
