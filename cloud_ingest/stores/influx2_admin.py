"""Rare work on an InfluxDB 2 through its own client library: bucket, mapping for InfluxQL, deletion, retention.

The library blocks: call from a thread. Its errors are translated here.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

import influxdb_client
import urllib3.exceptions
from influxdb_client.rest import ApiException
from influxdb_client.service.dbr_ps_service import DBRPsService

from telemetry.errors import AuthError, StoreBusy, StoreRejected

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cloud_ingest.addresses import StoreAddress

_lib: Final[Any] = influxdb_client  # its models carry no types
_Mappings: Final[Any] = DBRPsService
POLICY: Final = "autogen"
_TIMEOUT_MS: Final = 10_000
_START: Final = "1970-01-01T00:00:00Z"
_STOP: Final = "2200-01-01T00:00:00Z"


@dataclass(frozen=True, slots=True, kw_only=True)
class Influx2Admin:
    """One bucket of one organisation."""

    address: StoreAddress

    @property
    def _org(self) -> str:
        return self.address.path[0]

    @property
    def _bucket(self) -> str:
        return self.address.path[1]

    def bucket_id(self) -> str | None:
        """Return the bucket's id; none if it does not exist or the token may not see it."""
        with self._client() as client:
            bucket = self._find(client)
            return None if bucket is None else str(bucket.id)

    def map_for_influxql(self) -> None:
        """Make sure that `db=<bucket>&rp=autogen` reads the bucket; newer servers map by name themselves."""
        with self._client() as client:
            bucket = self._find(client)
            if bucket is None:
                return
            service = _Mappings(client.api_client)
            found = service.get_dbr_ps(org_id=bucket.org_id, db=self._bucket)
            if any(mapping.retention_policy == POLICY and not mapping.virtual for mapping in found.content or ()):
                return
            mapping = _lib.DBRPCreate(
                org_id=bucket.org_id,
                bucket_id=bucket.id,
                database=self._bucket,
                retention_policy=POLICY,
                default=True,
            )
            service.post_dbrp(dbrp_create=mapping)

    def delete_subject(self, subject: str) -> None:
        """Delete all points of a subject."""
        if not subject.isalnum():
            raise StoreRejected("a subject is a handle of letters and digits")
        with self._client() as client:
            client.delete_api().delete(_START, _STOP, f'subject="{subject}"', bucket=self._bucket, org=self._org)

    def set_retention(self, seconds: int | None) -> None:
        """Keep points for so long; none means for ever. The server takes no less than an hour."""
        with self._client() as client:
            bucket = self._find(client)
            if bucket is None:
                raise StoreRejected(f"bucket {self._bucket!r} does not exist, or the token may not read buckets")
            rule = _lib.BucketRetentionRules(type="expire", every_seconds=seconds or 0)
            client.buckets_api().update_bucket(_lib.Bucket(id=bucket.id, name=bucket.name, retention_rules=[rule]))

    def _find(self, client: Any) -> Any:
        found = client.buckets_api().find_buckets(name=self._bucket, org=self._org)
        return found.buckets[0] if found.buckets else None

    @contextmanager
    def _client(self) -> Iterator[Any]:
        address = self.address
        try:
            with _lib.InfluxDBClient(
                url=address.base, token=address.secret, org=self._org, timeout=_TIMEOUT_MS, retries=False
            ) as client:
                yield client
        except ApiException as error:
            # The library's text quotes headers; only status and reason are passed on.
            text = f"{address.name} answers HTTP {error.status} {error.reason}"
            if error.status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
                raise AuthError(text) from None
            if error.status in (HTTPStatus.BAD_REQUEST, HTTPStatus.NOT_FOUND, HTTPStatus.UNPROCESSABLE_ENTITY):
                raise StoreRejected(text) from None
            raise StoreBusy(text, retry_after_s=5.0) from None
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise StoreBusy(f"{address.name} cannot be reached: {type(error).__name__}", retry_after_s=5.0) from None
