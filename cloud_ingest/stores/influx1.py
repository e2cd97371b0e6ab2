"""InfluxDB 1.x: `/write` and InfluxQL on `/query`. Its WAL is fsynced before 204 by default."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from cloud_ingest.stores.base import Capabilities, Outcome, Record, Selection
from cloud_ingest.stores.influx_http import InfluxHttp, login
from cloud_ingest.stores.influxql import (
    SUBJECTS,
    identifier,
    latest_text,
    literal,
    select_text,
    to_records,
    to_tag_values,
)
from telemetry.errors import AuthError, ConfigError, Problem, StoreBusy, StoreRejected

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cloud_ingest.addresses import StoreAddress
    from cloud_ingest.series import Row

_POLICY: Final = "autogen"
_DROPPED: Final = re.compile(r"dropped=(\d+)$")
_CONFLICT: Final = re.compile(r'input field "(.+)" on measurement "(.+)" is type (\w+), already exists')
_TYPES: Final = {"float": float, "boolean": bool, "string": str}


class Influx1Store:
    """One database of an InfluxDB 1.x server, in its retention policy `autogen`."""

    def __init__(self, address: StoreAddress) -> None:
        self._address = address
        self._database = address.path[0]
        self._http = InfluxHttp(address, login(address))

    @property
    def name(self) -> str:
        """The URL without user and password."""
        return self._address.name

    @property
    def capabilities(self) -> Capabilities:
        """All that is asked for."""
        return Capabilities(durable=True, idempotent=True, strings=True, precision="ns", can_erase=True)

    async def prepare(self) -> None:
        """Create the database if it is missing; without that right it must exist."""
        create = f"CREATE DATABASE {identifier(self._database)} WITH NAME {identifier(_POLICY)}"
        try:
            await self._http.influxql(create, {}, method="POST")
        except AuthError:
            # A user without admin rights may still write; if not, the write says so.
            await self.health()
        except StoreRejected:
            # It exists with another policy of that name, such as one whose retention was set, or without one.
            await self._http.influxql(f"CREATE DATABASE {identifier(self._database)}", {}, method="POST")
            found = await self._http.influxql(f"SHOW RETENTION POLICIES ON {identifier(self._database)}", {})
            names = {row[0] for series in found.get("series", ()) for row in series.get("values", ())}
            if _POLICY not in names:
                policy = f"CREATE RETENTION POLICY {identifier(_POLICY)} ON {identifier(self._database)}"
                await self._http.influxql(f"{policy} DURATION INF REPLICATION 1", {}, method="POST")

    async def write(self, rows: Sequence[Row]) -> Outcome:
        """Write rows. Raises StoreRejected also after a partial write; what was written may be written again."""
        params = {"db": self._database, "rp": _POLICY, "precision": "ns"}
        try:
            await self._http.write("/write", params, rows)
        except StoreBusy as busy:
            if any(lost in str(busy) for lost in ("database not found", "retention policy not found")):
                try:
                    await self.prepare()
                except StoreRejected as error:
                    raise StoreBusy(f"{self.name} cannot be prepared: {error}", retry_after_s=30.0) from error
                raise StoreBusy(f"{self.name} had lost its database", retry_after_s=0.1) from busy
            raise
        except StoreRejected as error:
            raise _explained(error, rows) from error
        return Outcome()

    async def query(self, selection: Selection) -> list[Record]:
        """Return the selected rows by time."""
        result = await self._http.influxql(select_text(selection), self._params)
        return to_records(result, means=selection.every_ns is not None)

    async def latest(self, measurement: str, *, since_ns: int | None = None) -> list[Record]:
        """Return the newest row of each series that has one since then."""
        text = latest_text(measurement, since_ns)
        return to_records(await self._http.influxql(text, self._params))

    async def delete_subject(self, subject: str) -> int:
        """Drop all series of a subject and make sure that none is left."""
        condition = f'WHERE "subject" = {literal(subject)}'
        count = await self._count(condition)
        await self._http.influxql(f"DROP SERIES {condition}", self._params, method="POST")
        left = await self._count(condition)
        if left:
            raise StoreBusy(f"{self.name} still has {left} series of the subject", retry_after_s=5.0)
        return count

    async def subjects(self) -> list[str]:
        """Return the handle of everybody in the store."""
        return to_tag_values(await self._http.influxql(SUBJECTS, self._params))

    async def set_retention(self, seconds: int | None) -> None:
        """Set the policy's duration; InfluxDB takes no less than an hour. Raises ConfigError."""
        duration = "INF" if seconds is None else f"{seconds}s"
        shard = "" if seconds is None else f" SHARD DURATION {min(max(seconds // 4, 3600), 604_800)}s"
        text = (
            f"ALTER RETENTION POLICY {identifier(_POLICY)} ON {identifier(self._database)} DURATION {duration}{shard}"
        )
        try:
            await self._http.influxql(text, self._params, method="POST")
        except StoreRejected as error:
            problem = Problem(where=f"retention of {self.name}", what=str(error), mend="keep rows for 1 h or longer")
            raise ConfigError([problem]) from error

    async def health(self) -> str:
        """Return the server's version."""
        answer = await self._http.request("GET", "/ping", deadline_s=5.0)
        version = answer.headers.get("X-Influxdb-Version")
        if answer.status not in (200, 204) or version is None:
            raise StoreBusy(f"{self.name} does not answer as an InfluxDB: HTTP {answer.status}", retry_after_s=5.0)
        return f"InfluxDB {version}"

    async def close(self) -> None:
        """Close the connections."""
        await self._http.close()

    @property
    def _params(self) -> dict[str, str]:
        return {"db": self._database, "rp": _POLICY}

    async def _count(self, condition: str) -> int:
        result = await self._http.influxql(f"SHOW SERIES {condition}", self._params)
        return sum(len(series["values"]) for series in result.get("series", ()))


def _explained(error: StoreRejected, rows: Sequence[Row]) -> StoreRejected:
    """Return the error with what the server's own report says: how many rows it means, and which it may be.

    With rows in several shards it tells of one shard only, so what it does not name is not thereby stored.
    """
    text = str(error)
    dropped, conflict = _DROPPED.search(text), _CONFLICT.search(text)
    suspects: list[int] = []
    if conflict is not None:
        field, measurement, kind = conflict.groups()
        suspects = [
            index
            for index, row in enumerate(rows)
            if row.series.measurement == measurement and type(row.fields.get(field)) is _TYPES.get(kind)
        ]
    return StoreRejected(text, rows=int(dropped[1]) if dropped else None, suspects=suspects)
