"""Rare work on an InfluxDB 2 through its own client library: bucket, mapping for InfluxQL, deletion, retention.

The library blocks: call from a thread. Its errors are translated here.
"""

from __future__ import annotations

import re
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
_TIMEOUT_MS: Final = 4_000
_DELETE_MS: Final = 55_000
_ID: Final = re.compile(r"[0-9a-f]{16}")
_START: Final = "1970-01-01T00:00:00Z"
_STOP: Final = "2200-01-01T00:00:00Z"


def mapped_by_name(bucket: str) -> tuple[str, str]:
    """Return database and policy that a server derives from a bucket's name."""
    database, cut, policy = bucket.partition("/")
    return (database, policy) if cut else (bucket, POLICY)


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

    def ensure_bucket(self) -> bool:
        """Create the bucket if it is missing and the token may; tells whether it did. A token may also not see it."""
        with self._client() as client:
            if self._find(client) is not None:
                return False
            found = client.organizations_api().find_organizations(**self._organisation)
            client.buckets_api().create_bucket(bucket_name=self._bucket, org=found[0].id)
            return True

    def mapping(self) -> tuple[str, str]:
        """Return database and policy by which InfluxQL finds the bucket; made if there are none.

        A server maps each bucket by its name as long as nobody maps it otherwise; an old one does not.
        """
        with self._client() as client:
            bucket = self._find(client)
            if bucket is None:
                return mapped_by_name(self._bucket)
            service = _Mappings(client.api_client)
            found = service.get_dbr_ps(org_id=bucket.org_id, bucket_id=bucket.id).content or ()
            ours = [m for m in found if m.bucket_id == bucket.id and not self._taken(service, m)]
            if ours:
                best = min(ours, key=lambda m: bool(m.virtual))
                return str(best.database), str(best.retention_policy)
            database, policy = mapped_by_name(self._bucket)
            mapping = _lib.DBRPCreate(
                org_id=bucket.org_id, bucket_id=bucket.id, database=database, retention_policy=policy, default=True
            )
            service.post_dbrp(dbrp_create=mapping)
            return database, policy

    @staticmethod
    def _taken(service: Any, mapping: Any) -> bool:
        """Tell whether the mapping is only by name, and somebody gave that name to another bucket."""
        if not mapping.virtual:
            return False
        same = service.get_dbr_ps(org_id=mapping.org_id, db=mapping.database, rp=mapping.retention_policy).content
        return any(other.bucket_id != mapping.bucket_id and not other.virtual for other in same or ())

    def delete_subject(self, subject: str) -> None:
        """Delete all points of a subject."""
        if not subject.isalnum():
            raise StoreRejected("a subject is a handle of letters and digits")
        with self._client(_DELETE_MS) as client:
            client.delete_api().delete(_START, _STOP, f'subject="{subject}"', bucket=self._bucket, org=self._org)

    def set_retention(self, seconds: int | None) -> None:
        """Keep points for so long; none means for ever. The server takes no less than an hour."""
        with self._client() as client:
            bucket = self._find(client)
            if bucket is None:
                raise StoreRejected(f"bucket {self._bucket!r} does not exist, or the token may not read buckets")
            rule = _lib.BucketRetentionRules(type="expire", every_seconds=seconds or 0)
            client.buckets_api().update_bucket(_lib.Bucket(id=bucket.id, name=bucket.name, retention_rules=[rule]))

    @property
    def _organisation(self) -> dict[str, str]:
        """The organisation as lists take it; writing and deleting take name or id alike."""
        return {"org_id" if _ID.fullmatch(self._org) else "org": self._org}

    def _find(self, client: Any) -> Any:
        """Return the bucket; none if it does not exist or the token may not see it: servers answer either alike."""
        try:
            found = client.buckets_api().find_buckets(name=self._bucket, **self._organisation)
        except ApiException as error:
            if error.status == HTTPStatus.NOT_FOUND:
                return None
            raise
        # Some versions list their system buckets beside, or instead of, the one that was asked for.
        return next((bucket for bucket in found.buckets or () if bucket.name == self._bucket), None)

    @contextmanager
    def _client(self, timeout_ms: int = _TIMEOUT_MS) -> Iterator[Any]:
        address = self.address
        try:
            with _lib.InfluxDBClient(
                url=address.base, token=address.secret, org=self._org, timeout=timeout_ms, retries=False
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
