"""All stores of the settings, read as one, each with a deadline; one that fails is left alone for a while."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Final

from cloud_ingest.stores.base import StoreAbsent
from cloud_ingest.stores.opening import open_store
from telemetry.errors import AuthError, CampusError, ConfigError, StoreBusy, StoreRejected

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from cloud_ingest.stores.base import Record, Selection, Store

_log = logging.getLogger(__name__)
_LONGEST_REST_S: Final = 30.0
_REST_S: Final = 5.0


class StoreReader:
    """One store, guarded."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._failed: CampusError | None = None
        self._rested_at = 0.0

    @property
    def problem(self) -> str | None:
        """Why it could not be read at the last try."""
        return None if self._failed is None else str(self._failed)

    async def read(self, work: Callable[[Store], Awaitable[list[Record]]], deadline_s: float) -> list[Record]:
        """Return what `work` reads; nothing from a store that does not exist yet. Raises CampusError."""
        if self._failed is not None and time.monotonic() < self._rested_at:
            raise self._failed
        try:
            async with asyncio.timeout(deadline_s):
                records = await work(self._store)
        except StoreAbsent:
            # Nothing was stored yet: as good as empty.
            records = []
        except TimeoutError:
            raise self._note(
                StoreBusy(f"{self._store.name} did not answer within {deadline_s:g} s", retry_after_s=_REST_S), _REST_S
            ) from None
        except ConfigError as error:
            # A page must go on, unlike a program that starts.
            raise self._note(StoreBusy(str(error), retry_after_s=_LONGEST_REST_S), _LONGEST_REST_S) from error
        except StoreRejected:
            # This question only: others may well be answered.
            raise
        except CampusError as error:
            rest_s = _LONGEST_REST_S if isinstance(error, AuthError) else getattr(error, "retry_after_s", _REST_S)
            self._note(error, rest_s)
            raise
        if self._failed is not None:
            _log.info("%s can be read again", self._store.name)
            self._failed = None
        return records

    async def close(self) -> None:
        """Release it."""
        await self._store.close()

    def _note(self, error: CampusError, rest_s: float) -> CampusError:
        if self._failed is None:
            _log.warning("%s cannot be read: %s", self._store.name, error)
        self._failed = error
        self._rested_at = time.monotonic() + min(rest_s, _LONGEST_REST_S)
        return error


class Reader:
    """Reads the same from every store, since a class of data may be routed to any of them."""

    def __init__(self, urls: Iterable[str]) -> None:
        self._stores = [StoreReader(open_store(url)) for url in urls]

    @property
    def problem(self) -> str | None:
        """Why some store could not be read at the last try; none if all could."""
        return "; ".join(one.problem for one in self._stores if one.problem is not None) or None

    async def latest(self, measurement: str, since_ns: int, deadline_s: float) -> list[Record]:
        """Return the newest row of each series that has one since then. Raises CampusError if no store answers."""
        return await self._read(lambda store: store.latest(measurement, since_ns=since_ns), deadline_s)

    async def query(self, selection: Selection, deadline_s: float) -> list[Record]:
        """Return the selected rows, by time within each store. Raises CampusError if no store answers."""
        return await self._read(lambda store: store.query(selection), deadline_s)

    async def close(self) -> None:
        """Release all stores."""
        for store in self._stores:
            await store.close()

    async def _read(self, work: Callable[[Store], Awaitable[list[Record]]], deadline_s: float) -> list[Record]:
        found = await asyncio.gather(*(store.read(work, deadline_s) for store in self._stores), return_exceptions=True)
        records: list[Record] = []
        failed: list[BaseException] = []
        for answer in found:
            if isinstance(answer, BaseException):
                failed.append(answer)
            else:
                records += answer
        others = [error for error in failed if not isinstance(error, CampusError)]
        if others or len(failed) == len(found):
            raise (others or failed)[0]
        return records
