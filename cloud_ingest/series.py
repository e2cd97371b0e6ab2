"""Rows, what a store is given: one time, one series, many fields."""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec

from cloud_ingest.escaping import series_key
from telemetry.sample import Value


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """A measurement and its tags; equal keys are the same series."""

    key: str
    """The series in line protocol: its identity."""
    measurement: str = field(compare=False)
    tags: tuple[tuple[str, str], ...] = field(compare=False)
    """In the order of their keys."""


class Row(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One point in time of one series."""

    series: Series
    time_ns: int
    fields: dict[str, Value]
    sample: int = 0
    """Index of the sample in its batch, so that a refusal can name it."""
    plain: bool = False
    """Whoever made it vouches that each field is a finite float or a bool under a name that needs no escaping."""


def make_series(measurement: str, tags: dict[str, str]) -> Series:
    """Return the series of `measurement` and `tags`. Raises ValueError for what no store could write."""
    ordered = tuple(sorted(tags.items()))
    return Series(key=series_key(measurement, ordered), measurement=measurement, tags=ordered)
