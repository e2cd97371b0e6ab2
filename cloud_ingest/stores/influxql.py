"""InfluxQL: what is asked, and how its answer becomes records. Pure."""

from __future__ import annotations

from operator import itemgetter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cloud_ingest.stores.base import Record, Selection

_MEAN = "mean_"
SUBJECTS = 'SHOW TAG VALUES WITH KEY = "subject"'


def identifier(name: str) -> str:
    """Return `name` quoted as an identifier."""
    return '"' + name.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


def literal(text: str) -> str:
    """Return `text` quoted as a string."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n") + "'"


def select_text(selection: Selection) -> str:
    """Return the SELECT of `selection`; the tags come back through GROUP BY *."""
    if selection.every_ns is None:
        columns = ", ".join(map(identifier, selection.fields)) or "*"
    else:
        means = (f"mean({identifier(name)}) AS {identifier(_MEAN + name)}" for name in selection.fields)
        columns = ", ".join(means) or "mean(*)"
    conditions = [f"{identifier(tag)} = {literal(value)}" for tag, value in selection.where]
    if selection.since_ns is not None:
        conditions.append(f"time >= {selection.since_ns}")
    if selection.until_ns is not None:
        conditions.append(f"time < {selection.until_ns}")
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    group = "*" if selection.every_ns is None else f"time({selection.every_ns}ns), *"
    fill = "" if selection.every_ns is None else " fill(none)"
    return f"SELECT {columns} FROM {identifier(selection.measurement)}{where} GROUP BY {group}{fill}"  # noqa: S608 - quoted


def latest_text(measurement: str, since_ns: int | None = None) -> str:
    """Return the SELECT of each series' newest row; a bound spares the server a cursor into every older shard."""
    where = "" if since_ns is None else f" WHERE time >= {since_ns}"
    return f"SELECT * FROM {identifier(measurement)}{where} GROUP BY * ORDER BY time DESC LIMIT 1"  # noqa: S608 - quoted


def subject_text(measurement: str, subject: str) -> str:
    """Return the SELECT of one row of each series of a subject."""
    return f'SELECT * FROM {identifier(measurement)} WHERE "subject" = {literal(subject)} GROUP BY * LIMIT 1'  # noqa: S608


def to_records(result: dict[str, Any], *, means: bool = False) -> list[Record]:
    """Return the rows of a result made with GROUP BY * and epoch=ns, by time; absent fields are left out."""
    records: list[Record] = []
    for series in result.get("series", ()):
        tags = {key: value for key, value in series.get("tags", {}).items() if value}
        names = [str(name).removeprefix(_MEAN if means else "") for name in series["columns"][1:]]
        for time_ns, *values in series["values"]:
            fields = {name: _field(value) for name, value in zip(names, values, strict=True) if value is not None}
            if fields:
                records.append({"time_ns": time_ns, **tags, **fields})
    records.sort(key=itemgetter("time_ns"))
    return records


def _field(value: Any) -> Any:
    # Go writes 21.0 as 21; all our numbers are floats.
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


def to_tag_values(result: dict[str, Any]) -> list[str]:
    """Return the values in the answer to SHOW TAG VALUES, each once."""
    return sorted({str(row[1]) for series in result.get("series", ()) for row in series.get("values", ())})
