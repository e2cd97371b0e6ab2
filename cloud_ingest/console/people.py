"""What may be said of people: taps as a room's number, small counts as a range, no pseudonym in any text. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from telemetry.topics import NAME

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from cloud_ingest.stores.base import Record

SMALL: Final = 4
"""Counts of 1 to 4 people are told as 4: a smaller group is no group."""
PUPILS: Final = "pupils"
"""The point that says of whom a class mean is."""
STEP: Final = 5
"""Pupils of a class are told in fives, rounded down."""
_HANDLE: Final = re.compile(r"[0-9a-fA-F]{32,}")
_POINT: Final = re.compile(r"[a-z][a-z0-9_]{0,39}")
_TAGS: Final = ("site", "room", "device")
BANDS: Final = "vitals"
"""A measurement whose rows are about persons, but for those that say how many bands are there."""
BANDS_SEEN: Final = "bands_seen"
NOBODYS: Final = (("subject", ""),)
"""For a selection: rows about persons are not even asked for."""

Place = tuple[str, str]
"""Site and room."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Taps:
    """A room's card taps of a day."""

    count: int
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


def coarse_count(value: float) -> tuple[float, float | None]:
    """Return a number of people as it may be told, and where its range begins if it is one."""
    return (float(SMALL), 1.0) if 0 < value <= SMALL else (value, None)


def in_fives(value: float) -> float:
    """Return a number of pupils rounded down to fives; the gateway does so too, a mean over minutes undoes it."""
    return value // STEP * STEP


def pupils_range(value: float) -> tuple[float, float | None]:
    """Return the most and the least that a number of pupils in fives may stand for: 40 is 40 to 44."""
    least = in_fives(value)
    return (least + STEP - 1, least) if least > 0 else coarse_count(value)
