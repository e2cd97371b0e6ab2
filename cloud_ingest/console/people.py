"""Rows about persons become numbers about groups here, before anything is kept or shown. Pure."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass
from math import isfinite
from typing import TYPE_CHECKING, Final

from telemetry.topics import NAME

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from cloud_ingest.stores.base import Record

SMALL: Final = 4
"""Counts of 1 to 4 people are told as 4: a smaller group is no group."""
LEAST_MEMBERS: Final = 5
"""A mean over fewer says too much about each."""
_HANDLE: Final = re.compile(r"[0-9a-fA-F]{32,}")
_POINT: Final = re.compile(r"[a-z][a-z0-9_]{0,39}")
_TAGS: Final = ("site", "room", "device")

Place = tuple[str, str]
"""Site and room."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Taps:
    """A room's card taps of a day."""

    count: int
    simulated: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Mean:
    """A class's heart rate, beats a minute."""

    members: int | None
    """Bands that it is a mean of; none where there are too few to tell."""
    value: float | None
    newest_ns: int
    device: str
    """One of the adapters that heard them."""
    simulated: bool


def without_handles(text: str) -> str:
    """Return `text` with whatever looks like a pseudonym struck out."""
    return _HANDLE.sub("…", text)


def is_point(name: str) -> bool:
    """Tell whether a field's name is that of a point, and no pseudonym."""
    return _POINT.fullmatch(name) is not None and _HANDLE.search(name) is None


def place_of(record: Record) -> Place | None:
    """Return where a row was taken; none if its names are none of ours, or look like a pseudonym."""
    for tag in _TAGS:
        name = record.get(tag)
        if not isinstance(name, str) or not NAME.fullmatch(name) or _HANDLE.search(name):
            return None
    return record["site"], record["room"]


def count_taps(records: Iterable[Record]) -> Mapping[Place, Taps]:
    """Return how many presences were stored in each room."""
    taps: dict[Place, Taps] = {}
    for record in records:
        if record.get("presence") is True and (place := place_of(record)) is not None:
            before = taps.get(place, Taps(count=0, simulated=False))
            simulated = before.simulated or record.get("simulated") is True
            taps[place] = Taps(count=before.count + 1, simulated=simulated)
    return taps


def class_means(records: Iterable[Record]) -> Mapping[Place, Mean]:
    """Return each room's mean over its persons' means; each person counts once, however often their band was heard."""
    rooms: defaultdict[Place, defaultdict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    newest: dict[Place, tuple[int, str]] = {}
    simulated: set[Place] = set()
    for record in records:
        rate, subject, place = record.get("heart_rate"), record.get("subject"), place_of(record)
        if place is None or not isinstance(subject, str) or not isinstance(rate, float) or not isfinite(rate):
            continue
        rooms[place][subject].append(rate)
        newest[place] = max(newest.get(place, (0, "")), (record["time_ns"], record["device"]))
        if record.get("simulated") is True:
            simulated.add(place)
    means: dict[Place, Mean] = {}
    for place, persons in rooms.items():
        enough = len(persons) >= LEAST_MEMBERS
        each = [sum(rates) / len(rates) for rates in persons.values()]
        means[place] = Mean(
            members=len(persons) if enough else None,
            value=float(round(sum(each) / len(each))) if enough else None,
            newest_ns=newest[place][0],
            device=newest[place][1],
            simulated=place in simulated,
        )
    return means


def coarse_count(value: float) -> tuple[float, float | None]:
    """Return a number of people as it may be told, and where its range begins if it is one."""
    return (float(SMALL), 1.0) if 0 < value <= SMALL else (value, None)
