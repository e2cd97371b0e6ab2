"""InfluxDB 2.x and 3.x: `/api/v2/write`, InfluxQL on `/query`; deletion only where the server has it."""

from __future__ import annotations

import asyncio
import logging
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, TypeVar

from cloud_ingest.stores.base import Capabilities, Outcome, Record, Selection
from cloud_ingest.stores.influx2_admin import Influx2Admin, mapped_by_name
from cloud_ingest.stores.influx_http import InfluxHttp, NotFound
from cloud_ingest.stores.influxql import SUBJECTS, latest_text, select_text, subject_text, to_records, to_tag_values
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
        self._ensured = False
        self._mapping: tuple[str, str] | None = None
        """Database and policy that InfluxQL knows the bucket by."""

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
        """Find out the server's version; create the bucket if it is missing and the token may."""
        answer = await self._http.request("GET", "/ping", deadline_s=5.0)
        if answer.status not in (200, 204):
            raise self._http.error_of(answer)
        self._version = answer.headers.get("X-Influxdb-Version", "unknown")
        if self.capabilities.can_erase and not self._ensured:
            await self._ensure_bucket()

    async def _ensure_bucket(self) -> bool:
        """Return whether the bucket was created just now."""
        created = False
        try:
            created = await self._in_thread(self._admin.ensure_bucket)
        except (AuthError, StoreRejected) as error:
            # A token that may only write to the bucket, or read it, is enough for us.
            _log.info("bucket %s is taken to exist: %s", self._bucket, error)
        if created:
            _log.warning("created bucket %s in %s, which keeps rows for ever", self._bucket, self._org)
        self._ensured = True
        return created

    async def write(self, rows: Sequence[Row]) -> Outcome:
        """Write rows. Raises StoreRejected when some or all were refused; what was written may be written again."""
        params = {"org": self._org, "bucket": self._bucket, "precision": "ns"}
        try:
            await self._http.write("/api/v2/write", params, rows)
        except NotFound as error:
            if self.capabilities.can_erase and await self._ensure_bucket():
                raise StoreBusy(f"{self.name} had no bucket", retry_after_s=0.1) from error
            raise StoreBusy(f"{error} → {self._mend_bucket}", retry_after_s=error.retry_after_s) from error
        return Outcome()

    @property
    def _mend_bucket(self) -> str:
        return (
            f"correct organisation and bucket in the URL, or create it: influx bucket create -o {self._org}"
            f" -n {self._bucket}; batches wait"
        )

    async def query(self, selection: Selection) -> list[Record]:
        """Return the selected rows by time."""
        return to_records(await self._ask(select_text(selection)), means=selection.every_ns is not None)

    async def latest(self, measurement: str, *, since_ns: int | None = None) -> list[Record]:
        """Return the newest row of each series that has one since then."""
        return to_records(await self._ask(latest_text(measurement, since_ns)))

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

    async def subjects(self) -> list[str]:
        """Return the handle of everybody in the store, and maybe of some whose rows were deleted."""
        return to_tag_values(await self._ask(SUBJECTS))

    async def set_retention(self, seconds: int | None) -> None:
        """Set the bucket's retention. Raises ConfigError with the server's reason."""
        try:
            await self._in_thread(lambda: self._admin.set_retention(seconds))
        except StoreRejected as error:
            problem = Problem(where=f"retention of {self.name}", what=str(error), mend="keep rows for 1 h or longer")
            raise ConfigError([problem]) from error

    async def health(self) -> str:
        """Return the server's version once it is healthy and the bucket can be written to."""
        await self.prepare()
        version = f"InfluxDB {self._version}"
        if not self.capabilities.can_erase:
            return version
        answer = await self._http.request("GET", "/health", deadline_s=5.0)
        if answer.status != 200:  # noqa: PLR2004 - 503 while it starts or fails
            raise StoreBusy(f"{self.name} is not healthy: {answer.message}", retry_after_s=answer.retry_after_s)
        # An empty write is refused as such, but only after bucket and token were looked at.
        params = {"org": self._org, "bucket": self._bucket, "precision": "ns"}
        tried = await self._http.request("POST", "/api/v2/write", params=params, data=b"", deadline_s=5.0)
        if tried.status == HTTPStatus.NOT_FOUND:
            raise StoreBusy(f"{self.name}: {tried.message} → {self._mend_bucket}", retry_after_s=5.0)
        if tried.status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
            mend = "the token must be allowed to write to the bucket"
            raise AuthError(f"{self.name} answers HTTP {tried.status}: {tried.message} → {mend}")
        return version

    async def close(self) -> None:
        """Close the connections."""
        await self._http.close()

    @property
    def _params(self) -> dict[str, str]:
        if not self.capabilities.can_erase:
            return {"db": self._bucket}
        database, policy = self._mapping or mapped_by_name(self._bucket)
        return {"db": database, "rp": policy}

    async def _ask(self, text: str) -> dict[str, Any]:
        """Return the answer to InfluxQL."""
        await self._map()
        try:
            return await self._http.influxql(text, self._params)
        except NotFound as error:
            database, policy = mapped_by_name(self._bucket)
            mend = (
                "the token must be allowed to read the bucket, and InfluxQL must know it:"
                f" influx v1 dbrp create --db {database} --rp {policy} --bucket-id ID"
            )
            raise StoreBusy(f"{error} → {mend}", retry_after_s=error.retry_after_s) from error

    async def _map(self) -> None:
        """Have `/query` find the bucket: once, and only on a server that knows mappings."""
        if self._mapping is not None:
            return
        if self._version is None:
            await self.prepare()
        if self.capabilities.can_erase:
            try:
                self._mapping = await self._in_thread(self._admin.mapping)
            except (AuthError, StoreRejected) as error:
                # A reading token may lack this right while the mapping exists.
                _log.info("mapping of bucket %s for InfluxQL is not checked: %s", self._bucket, error)
        self._mapping = self._mapping or mapped_by_name(self._bucket)

    async def _count(self, subject: str) -> int:
        measurements = to_measurements(await self._ask("SHOW MEASUREMENTS"))
        count = 0
        for measurement in measurements:
            text = subject_text(measurement, subject)
            count += len(to_records(await self._ask(text)))
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
