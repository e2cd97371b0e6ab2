"""What a store is, what it promises, and what it is asked."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from telemetry.errors import Problem, StoreBusy
from telemetry.sample import PERSON_CLASSES, DataClass

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cloud_ingest.series import Row

Record = dict[str, Any]
"""A row as it is read: `time_ns`, then tags, then fields, flat."""


class StoreAbsent(StoreBusy):
    """Nothing has been stored there yet, or the path is wrong."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What a store promises."""

    durable: bool
    """A write that returned survives kill -9 and power loss of the store."""
    idempotent: bool
    """The same series and time is the same point."""
    strings: bool
    precision: str
    """Finest time step, such as `ns`."""
    can_erase: bool
    """One subject's rows can be deleted."""

    def why_not(self, data_class: DataClass) -> str | None:
        """Return why rows of `data_class` must not be entrusted to the store; none if they may."""
        if not self.durable:
            return "it acknowledges rows before they are durable"
        if not self.idempotent:
            return "a row sent twice would be stored twice"
        if not self.strings:
            return "it cannot store the reasons of bad values"
        if self.precision != "ns":
            return "it rounds times, so two rows could become one"
        if data_class in PERSON_CLASSES and not self.can_erase:
            return "it cannot delete one subject's rows"
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of a write: all rows are durable but those in `refused`."""

    refused: Mapping[int, str] = field(default_factory=dict)
    """Index in the rows given → reason, where the store can tell; else it raises StoreRejected."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which rows are asked for; with `every_ns` the means of number fields by time bucket."""

    measurement: str
    since_ns: int | None = None
    until_ns: int | None = None
    """Exclusive."""
    every_ns: int | None = None
    fields: tuple[str, ...] = ()
    where: tuple[tuple[str, str], ...] = ()
    """Tags and their values; an empty one asks for the rows that do not have the tag."""


class Store(Protocol):
    """A database. Each method has its own deadline and raises StoreBusy, AuthError or ConfigError."""

    @property
    def name(self) -> str:
        """The URL without its secrets."""
        ...

    @property
    def capabilities(self) -> Capabilities:
        """What it promises; final after `prepare`."""
        ...

    async def prepare(self) -> None:
        """Connect and create what is missing (file, database, bucket mapping). May be called again."""
        ...

    async def write(self, rows: Sequence[Row]) -> Outcome:
        """Write `rows` durably. Raises StoreRejected if some can never be written and it is not told which."""
        ...

    async def query(self, selection: Selection) -> list[Record]:
        """Return the selected rows by time."""
        ...

    async def latest(self, measurement: str, *, since_ns: int | None = None) -> list[Record]:
        """Return the newest row of each series that has one since then; unbounded, an InfluxDB reads all shards."""
        ...

    async def delete_subject(self, subject: str) -> int:
        """Delete all rows of a pseudonymous handle; returns how many series it had. Verified before it returns."""
        ...

    async def set_retention(self, seconds: int | None) -> None:
        """Keep rows for so long from now on; none means for ever."""
        ...

    async def health(self) -> str:
        """Return what answers, such as `InfluxDB 1.6.7`. Raises if it does not."""
        ...

    async def close(self) -> None:
        """Release the connection or file."""
        ...


def refusal(store: Store, data_class: DataClass, reason: str) -> Problem:
    """Return why a store must not get a class, as a problem to show."""
    mirror = "" if store.capabilities.durable else ", and name this one in store.mirrors"
    return Problem(
        where=f"store {store.name}",
        what=f"cannot keep class {data_class}: {reason}",
        mend=f"set store.routes.{data_class} to a store that can, such as sqlite:///path{mirror}",
    )
