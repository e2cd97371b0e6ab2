"""What the store holds, asked without any code of the product: counts and sums per device, point and hour."""

from __future__ import annotations

import json
import sqlite3
import urllib.parse
import urllib.request
from collections import Counter
from contextlib import closing
from typing import TYPE_CHECKING

from tests.outage.truth import FORMULAS, HOUR_NS, Key

if TYPE_CHECKING:
    from pathlib import Path

Held = tuple[Counter[Key], dict[Key, float]]
POINTS = (*FORMULAS, "sequence")
_SQL = """
SELECT json_extract(series.tags, '$.device'), field.name, value.time_ns / ?, count(*), sum(value.value)
FROM value JOIN series ON series.id = value.series JOIN field ON field.id = value.field
WHERE series.measurement = 'environment' GROUP BY 1, 2, 3
"""


def in_sqlite(path: Path) -> Held:
    """Ask the file."""
    count: Counter[Key] = Counter()
    total: dict[Key, float] = {}
    with closing(sqlite3.connect(path)) as db:
        for device, point, hour, number, summed in db.execute(_SQL, (HOUR_NS,)):
            count[device, point, hour] += number
            total[device, point, hour] = total.get((device, point, hour), 0.0) + summed
    return count, total


def in_influxdb(authority: str, database: str, *, from_ns: int, to_ns: int) -> Held:
    """Ask InfluxDB 1.x; series that differ in another tag than the device would show as too many values."""
    count: Counter[Key] = Counter()
    total: dict[Key, float] = {}
    asked = ", ".join(f'count("{point}") AS "n_{point}", sum("{point}") AS "s_{point}"' for point in POINTS)
    query = (
        f"SELECT {asked} FROM environment WHERE time >= {from_ns} AND time <= {to_ns} "  # noqa: S608 - ours
        "GROUP BY time(1h), device, room, site fill(none)"
    )
    parameters = urllib.parse.urlencode({"db": database, "epoch": "ns", "q": query})
    with urllib.request.urlopen(f"http://{authority}/query?{parameters}", timeout=120) as answer:
        found = json.load(answer)
    for series in found["results"][0].get("series", []):
        device = series["tags"]["device"]
        for row in series["values"]:
            told = dict(zip(series["columns"], row, strict=True))
            hour = told["time"] // HOUR_NS
            for point in POINTS:
                if told[f"n_{point}"]:
                    count[device, point, hour] += told[f"n_{point}"]
                    total[device, point, hour] = total.get((device, point, hour), 0.0) + told[f"s_{point}"]
    return count, total
