"""InfluxDB 2.x and 3.x: `/api/v2/write`, InfluxQL on `/query`; deletion only where the server has it."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, Final, TypeVar

from cloud_ingest.stores.base import Capabilities, Outcome, Record, Selection
from cloud_ingest.stores.influx2_admin import POLICY, Influx2Admin
from cloud_ingest.stores.influx_http import InfluxHttp
from cloud_ingest.stores.influxql import latest_text, subject_text, to_records
from telemetry.errors import AuthError, ConfigError, Problem, StoreBusy, StoreRejected

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cloud_ingest.addresses import StoreAddress
    from cloud_ingest.series import Row

_T = TypeVar("_T")
_log = logging.getLogger(__name__)
_ADMIN_S: Final = 60.0


class Influx2Store:
    """One bucket. An InfluxDB 3 may have written the good lines of a batch that it answers with 400."""

    def __init__(self, address: StoreAddress) -> None:
        self._address = address
        self._org, self._bucket = address.path
        self._http = InfluxHttp(address, {"Authorization": f"Token {address.secret}"})
        self._admin = Influx2Admin(address=address)
        self._version: str | None = None
        self._can_read = False

    @property
    def name(self) -> str:
        """The URL without the token."""
        return self._address.name

    @property
    def capabilities(self) -> Capabilities:
        """Until `prepare` has met the server it is taken for a 2.x; an unknown one cannot erase."""
        can_erase = self._version is None or self._version.lstrip("v").startswith("2.")
        return Capabilities(durable=True, idempotent=True, strings=True, precision="ns", can_erase=can_erase)

    async def prepare(self) -> None:
        """Find out the server's version."""
        answer = await self._http.request("GET", "/ping", deadline_s=5.0)
        if answer.status not in (200, 204):
            raise self._http.error_of(answer)
        self._version = answer.headers.get("X-Influxdb-Version", "unknown")

    async def write(self, rows: Sequence[Row]) -> Outcome:
        """Write rows. Raises StoreRejected when some or all were refused; what was written may be written again."""
        params = {"org": self._org, "bucket": self._bucket, "precision": "ns"}
        await self._http.write("/api/v2/write", params, rows)
        return Outcome()

    async def query(self, selection: Selection) -> list[Record]:
        """Return the selected rows by time."""
        await self._map()
        return await self._http.select(selection, self._params)

    async def latest(self, measurement: str) -> list[Record]:
        """Return the newest row of each series."""
        await self._map()
        text = latest_text(measurement)
        return to_records(await self._http.influxql(text, self._params))

    async def delete_subject(self, subject: str) -> int:
        """Delete a subject's points and make sure that none is left. Raises ConfigError where the server cannot."""
        if self._version is None:
            await self.prepare()
        if not self.capabilities.can_erase:
            mend = "keep person classes in InfluxDB 2, InfluxDB 1 or SQLite"
            raise ConfigError([Problem(where=self.name, what="cannot delete one subject's rows", mend=mend)])
        count = await self._count(subject)
        await self._in_thread(lambda: self._admin.delete_subject(subject))
        left = await self._count(subject)
        if left:
            raise StoreBusy(f"{self.name} still has {left} series of the subject", retry_after_s=5.0)
        return count

    async def set_retention(self, seconds: int | None) -> None:
        """Set the bucket's retention. Raises ConfigError with the server's reason."""
        try:
            await self._in_thread(lambda: self._admin.set_retention(seconds))
        except StoreRejected as error:
            problem = Problem(where=f"retention of {self.name}", what=str(error), mend="keep rows for 1 h or longer")
            raise ConfigError([problem]) from error

    async def health(self) -> str:
        """Return the server's version, and whether the bucket can be seen."""
        await self.prepare()
        version = f"InfluxDB {self._version}"
        if not self.capabilities.can_erase:
            return version
        answer = await self._http.request("GET", "/health", deadline_s=5.0)
        if answer.status != 200:  # noqa: PLR2004 - 503 while it starts or fails
            raise StoreBusy(f"{self.name} is not healthy: {answer.message}", retry_after_s=answer.retry_after_s)
        if await self._in_thread(self._admin.bucket_id) is None:
            return f"{version}; bucket {self._bucket!r} does not exist, or this token may not read buckets"
        return version

    async def close(self) -> None:
        """Close the connections."""
        await self._http.close()

    @property
    def _params(self) -> dict[str, str]:
        return {"db": self._bucket, "rp": POLICY} if self.capabilities.can_erase else {"db": self._bucket}

    async def _map(self) -> None:
        """Have `/query` find the bucket: once, and only on a server that knows mappings."""
        if self._can_read:
            return
        if self._version is None:
            await self.prepare()
        if self.capabilities.can_erase:
            try:
                await self._in_thread(self._admin.map_for_influxql)
            except (AuthError, StoreRejected) as error:
                # A reading token may lack this right while the mapping exists.
                _log.warning("mapping of bucket %s for InfluxQL is not checked: %s", self._bucket, error)
        self._can_read = True

    async def _count(self, subject: str) -> int:
        await self._map()
        measurements = to_measurements(await self._http.influxql("SHOW MEASUREMENTS", self._params))
        count = 0
        for measurement in measurements:
            text = subject_text(measurement, subject)
            count += len(to_records(await self._http.influxql(text, self._params)))
        return count

    async def _in_thread(self, work: Callable[[], _T]) -> _T:
        try:
            async with asyncio.timeout(_ADMIN_S):
                return await asyncio.to_thread(work)
        except TimeoutError as error:
            raise StoreBusy(f"{self.name} did not answer in time", retry_after_s=5.0) from error


def to_measurements(result: dict[str, Any]) -> list[str]:
    """Return the names in the answer to SHOW MEASUREMENTS."""
    return [row[0] for series in result.get("series", ()) for row in series["values"]]
