"""Records as a table, CSV or JSON."""

from __future__ import annotations

import csv
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal, TextIO

import msgspec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cloud_ingest.stores.base import Record

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
    from rich.console import Console  # noqa: PLC0415 - heavy, and not needed for JSON
    from rich.table import Table  # noqa: PLC0415

    table = Table(*("time" if column == "time_ns" else column for column in columns))
    for record in records:
        table.add_row(*(_shown(column, record.get(column)) for column in columns))
    Console(file=out).print(table)


def _columns(records: Sequence[Record]) -> list[str]:
    columns: dict[str, None] = {"time_ns": None} if records else {}
    for record in records:
        columns.update(dict.fromkeys(record))
    return list(columns)


def _plain(value: object) -> object:
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else value


def _shown(column: str, value: object) -> str:
    if column == "time_ns" and isinstance(value, int):
        return datetime.fromtimestamp(value / 1e9, tz=UTC).isoformat(timespec="milliseconds")
    return f"{value:.6g}" if isinstance(value, float) else str(_plain(value))
