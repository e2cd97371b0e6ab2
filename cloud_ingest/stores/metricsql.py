"""MetricsQL: what VictoriaMetrics is asked, and how its export becomes records. Pure.

There a row is taken apart: each field is a metric `<measurement>_<field>`, the tags are its labels, times are whole ms.
"""

from __future__ import annotations

import json
import re
from operator import itemgetter
from typing import TYPE_CHECKING, Final

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cloud_ingest.stores.base import Record

MS: Final = 1_000_000
NAME: Final = "__name__"
Tags = tuple[tuple[str, str], ...]


class Chunk(msgspec.Struct, frozen=True, kw_only=True):
    """One line of an export: some samples of one metric, by time."""

    metric: dict[str, str]
    values: list[float | None]
    """None: a sample that is no number."""
    timestamps: list[int]
    """Milliseconds."""


def selector(measurement: str, fields: Iterable[str] = (), where: Iterable[tuple[str, str]] = ()) -> str:
    """Return the selector of a measurement's metrics; the labels in `where` must be names."""
    names = "|".join(map(re.escape, fields)) or ".+"
    conditions = [f"{NAME}=~{quoted(f'{re.escape(measurement)}_({names})')}"]
    conditions += [f"{label}={quoted(value)}" for label, value in where]
    return "{" + ",".join(conditions) + "}"


def one_of(label: str, values: Iterable[str]) -> str:
    """Return the condition that a label has one of `values`."""
    return f"{label}=~{quoted('|'.join(map(re.escape, sorted(set(values)))))}"


def quoted(text: str) -> str:
    """Return `text` as a string of MetricsQL, which escapes as JSON does."""
    return json.dumps(text, ensure_ascii=False)


def tags_of(metric: dict[str, str]) -> Tags:
    """Return a metric's labels but for its name, in the order of their keys."""
    return tuple(sorted((label, value) for label, value in metric.items() if label != NAME))


class Rows:
    """Puts rows together again; a sample that came twice is there once."""

    def __init__(self, measurement: str) -> None:
        self._prefix = f"{measurement}_"
        self._rows: dict[tuple[int, Tags], Record] = {}

    def add(self, chunk: Chunk) -> None:
        """Take a piece of the export."""
        tags, field = tags_of(chunk.metric), chunk.metric[NAME].removeprefix(self._prefix)
        for time_ms, value in zip(chunk.timestamps, chunk.values, strict=True):
            if value is not None:
                row = self._rows.get((time_ms, tags))
                if row is None:
                    row = self._rows[time_ms, tags] = {"time_ns": time_ms * MS, **dict(tags)}
                row[field] = value

    def records(self, newest: dict[Tags, int] | None = None) -> list[Record]:
        """Return the rows by time; with `newest` (tags → ms) only those."""
        found = (row for (at, tags), row in self._rows.items() if newest is None or newest.get(tags) == at)
        return sorted(found, key=itemgetter("time_ns"))


class _Mean:
    """Sum and count of one bucket; samples come by time, so that a repeated one follows the first."""

    __slots__ = ("_count", "_last", "_last_ms", "_sum")

    def __init__(self) -> None:
        self._count, self._sum, self._last, self._last_ms = 0, 0.0, 0.0, -1

    def add(self, time_ms: int, value: float) -> None:
        if time_ms == self._last_ms:
            self._sum += value - self._last
        else:
            self._count += 1
            self._sum += value
        self._last, self._last_ms = value, time_ms

    def value(self) -> float:
        return self._sum / self._count


class Means:
    """Means by time bucket; holds only the buckets, however many samples pass through."""

    def __init__(self, measurement: str, every_ns: int) -> None:
        self._prefix = f"{measurement}_"
        self._every_ns = every_ns
        self._buckets: dict[tuple[int, Tags], dict[str, _Mean]] = {}

    def add(self, chunk: Chunk) -> None:
        """Take a piece of the export."""
        tags, field = tags_of(chunk.metric), chunk.metric[NAME].removeprefix(self._prefix)
        for time_ms, value in zip(chunk.timestamps, chunk.values, strict=True):
            if value is not None:
                start_ns = time_ms * MS // self._every_ns * self._every_ns
                means = self._buckets.setdefault((start_ns, tags), {})
                means.setdefault(field, _Mean()).add(time_ms, value)

    def records(self) -> list[Record]:
        """Return a row a bucket and series, by time."""
        rows: list[Record] = [
            {"time_ns": start_ns, **dict(tags), **{field: mean.value() for field, mean in means.items()}}
            for (start_ns, tags), means in self._buckets.items()
        ]
        return sorted(rows, key=itemgetter("time_ns"))
