"""Records as a table, CSV or JSON."""

from __future__ import annotations

import csv
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, Literal, TextIO

import msgspec

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import tzinfo

    from cloud_ingest.stores.base import Record

_UNBOUNDED: Final = 100_000
_SMALLEST: Final = 0.001
_LARGEST: Final = 1e12
Format = Literal["table", "csv", "json"]


def write_records(records: Sequence[Record], form: Format, out: TextIO | None = None) -> None:
    """Write `records` to `out` (stdout): JSON is a list of flat objects, CSV has one header."""
    out = out or sys.stdout
    if form == "json":
        out.write(msgspec.json.encode(records).decode() + "\n")
        return
    columns = _columns(records)
    if form == "csv":
        writer = csv.writer(out)
        writer.writerow(columns)
        writer.writerows([_plain(record.get(column)) for column in columns] for record in records)
        return
    _write_table(records, columns, out)


def _write_table(records: Sequence[Record], columns: Sequence[str], out: TextIO) -> None:
    from rich.console import Console  # noqa: PLC0415 - heavy, and not needed for JSON
    from rich.table import Table  # noqa: PLC0415

    if not records:
        return
    clocks = _clocks(records)
    table = Table(*clocks)
    for column in columns[1:]:
        numbers = any(isinstance(record.get(column), float) for record in records)
        table.add_column(column, justify="right" if numbers else "left", overflow="fold")
    for record, *times in zip(records, *clocks.values(), strict=True):
        table.add_row(*times, *(_shown(record.get(column)) for column in columns[1:]))
    # Into a pipe or file nothing is folded or cut to the width of a screen that is not there.
    Console(file=out, width=None if out.isatty() else _UNBOUNDED, highlight=False, markup=False).print(table)


def _clocks(records: Sequence[Record]) -> dict[str, list[str]]:
    """Return the columns of times: UTC, and local time unless that is the same."""
    times = [record["time_ns"] for record in records]
    digits = 3 if any(ns % 1_000_000_000 for ns in times) else 0
    columns = {"UTC": [_moment(ns, digits, UTC) for ns in times]}
    local = [_moment(ns, digits, None) for ns in times]
    return columns if all(text.endswith("+00:00") for text in local) else {**columns, "local": local}


def _moment(time_ns: int, digits: int, zone: tzinfo | None) -> str:
    seconds, rest = divmod(time_ns, 1_000_000_000)
    when = datetime.fromtimestamp(seconds, tz=UTC).astimezone(zone)
    fraction = f".{rest // 1_000_000:03}" if digits else ""
    offset = when.isoformat()[-6:] if zone is None else ""
    return f"{when:%Y-%m-%d %H:%M:%S}{fraction}{offset}"


def _columns(records: Sequence[Record]) -> list[str]:
    columns: dict[str, None] = {"time_ns": None} if records else {}
    for record in records:
        columns.update(dict.fromkeys(record))
    return list(columns)


def _plain(value: object) -> object:
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else value


def _shown(value: object) -> str:
    """Return a value for people: three decimals; JSON and CSV have all of them."""
    if not isinstance(value, float):
        return str(_plain(value))
    if value and not _SMALLEST <= abs(value) < _LARGEST:
        return f"{value:.4g}"
    return f"{value:.3f}".rstrip("0").rstrip(".")
