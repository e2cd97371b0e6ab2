"""What a file of the log holds, and what of it is done with. Pure bookkeeping: the bytes are `segment.py`'s."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from edge_agent.buffer.record import Damage, Found, Header, Kind
from edge_agent.buffer.totals import Summary, Totals
from telemetry.batch import peek_identity
from telemetry.ranges import Range, merge, numbers_in, to_ranges

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from telemetry.sample import DataClass

REWRITTEN: Final = 1
"""In a file's first record: it holds less than the next file remembers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """Where an unacknowledged batch stands in its file, and what it holds."""

    at: int
    end: int
    header: Header


class Contents:
    """The batches of one file under one epoch; `entries` are the unacknowledged ones, known only while needed."""

    def __init__(self, *, epoch: str) -> None:
        self.pending = Totals()
        """Unacknowledged content that can be read."""
        self.settled = Totals()
        """Batches and values that are done with: acknowledged, too old, or counted as lost."""
        self.summary = Summary(epoch=epoch)
        self.sure = False
        """The summary's total was told by a seal or by the next file, not only by what was found."""
        self.entries: dict[int, Entry] | None = {}
        self.broken: dict[int, Header] = {}
        """Batches whose header can be read, and nothing more; counted when they are found, and then passed over."""
        self.acked: list[Range] = []
        self.writable = False
        self.rewritten = False
        """It holds less than the next file remembers: a purge took the rest out."""
        self.expired = False
        """It holds people's batches that were too old: their bytes still have to go."""
        self._oldest: dict[DataClass, int] | None = None
        """Oldest unacknowledged time by class when the entries were unloaded; none if they never were loaded."""

    @property
    def epoch(self) -> str:
        """The epoch of all batches in it; empty if nothing in it could say."""
        return self.summary.epoch

    @property
    def oldest_pending_at_ns(self) -> int:
        """Oldest time in the first unacknowledged batch; of the oldest at all while the entries are not loaded."""
        first = next(iter(self.entries.values()), None) if self.entries else None
        return first.header.oldest_at_ns if first else self.summary.oldest_at_ns

    @property
    def empty(self) -> bool:
        """Whether no batch was ever written to it."""
        return not self.summary.total.batches

    def settle(self, total: Totals, ranges: Sequence[Range]) -> None:
        """Take out what an earlier run was done with. The entries must be loaded."""
        self.settled.include(total)
        self.acked = merge(self.acked, ranges)
        self.drop(ranges)

    def believe(self, summary: Summary) -> None:
        """Take what the next file says about this one."""
        self.summary, self.sure = summary, True

    def lost(self) -> Totals:
        """Return what was written to it, is not done with and cannot be read; told once. It must be loaded."""
        lost = self.summary.total.without(self.settled, self.pending)
        # Of a file that was cut, more may be done with than anybody knows to have been written.
        broken = set(self.broken) - set(self.entries or ()) - set(numbers_in(self.acked, among=self.broken))
        lost.raise_to(len(broken), sum(self.broken[number].values for number in broken))
        self.broken = {}
        self.settled.include(lost)
        return lost

    def unload(self) -> None:
        """Forget the entries until they are needed again."""
        if not self.writable and self.entries is not None:
            self._oldest = self._oldest_by_class()
            self.entries = None

    def too_old(self, limits_ns: Mapping[DataClass, int]) -> bool:
        """Whether an unacknowledged batch may be older than its class may wait: certain once it was loaded."""
        if not self.pending.batches:
            return False
        oldest = self._oldest if self.entries is None else self._oldest_by_class()
        if oldest is None:
            return self.summary.oldest_at_ns < max(limits_ns.values(), default=0)
        return any(at_ns < limits_ns.get(data_class, at_ns) for data_class, at_ns in oldest.items())

    def _oldest_by_class(self) -> dict[DataClass, int]:
        oldest: dict[DataClass, int] = {}
        for header in (entry.header for entry in (self.entries or {}).values()):
            if (data_class := header.data_class) is not None:
                oldest[data_class] = min(header.oldest_at_ns, oldest.get(data_class, header.oldest_at_ns))
        return oldest

    def touches(self, ranges: Iterable[Range]) -> bool:
        """Whether `ranges` may name a batch in here that is not acknowledged yet."""
        first, last = self.summary.first, self.summary.last
        return self.pending.batches > 0 and any(low <= last and high >= first for low, high in ranges)

    def acknowledge(self, ranges: Sequence[Range]) -> tuple[list[int], Totals]:
        """Take the batches in `ranges` out; return their numbers and what they held. The entries must be loaded."""
        numbers, total = self.drop(ranges)
        self.settled.include(total)
        # Ranges that were known before stay known: the entries of a reloaded segment are filtered by them.
        if numbers:
            self.acked = merge(self.acked, to_ranges(numbers))
        return numbers, total

    def add(self, entry: Entry) -> None:
        """Count an unacknowledged batch in; the summary's total is the caller's."""
        self.summary.note(entry.header)
        self.pending.add(entry.header)
        if self.entries is not None:
            self.entries[entry.header.number] = entry

    def drop(self, ranges: Sequence[Range]) -> tuple[list[int], Totals]:
        """Take the batches in `ranges` out of the entries, and no more; return their numbers and what they held."""
        if self.entries is None:  # pragma: no cover - the stream loads first
            raise AssertionError(self.summary)
        numbers = list(numbers_in(ranges, among=list(self.entries)))
        total = Totals()
        for number in numbers:
            header = self.entries.pop(number).header
            total.add(header)
            self.pending.add(header, -1)
        return numbers, total

    def take(self, item: Found | Damage, data: bytes, counted: set[int]) -> None:
        """Count in one stretch of the file's `data`; a batch that stands in it twice counts once."""
        header, total = item.header, self.summary.total
        if header is None:
            return
        if header.kind == Kind.BATCH and header.number not in counted:
            counted.add(header.number)
            total.add(header)  # if it is damaged it is lost, and known what
        if isinstance(item, Damage):
            if header.kind == Kind.BATCH:
                self.broken[header.number] = header
            return
        if header.kind == Kind.SEGMENT:
            self.summary.epoch = data[item.payload_at : item.end].decode("ascii", "replace")
            self.rewritten = header.samples == REWRITTEN
        elif header.kind == Kind.SKIP:
            total.include(Totals(batches=header.number, values=header.values))
        elif header.kind == Kind.TALLY:
            total.raise_to(header.number, header.values)
        elif header.kind == Kind.BATCH and self.entries is not None and header.number not in self.entries:
            if not self.epoch:
                identity = peek_identity(data[item.payload_at : item.end])
                self.summary.epoch = identity[0] if identity else ""
            self.add(Entry(at=item.start, end=item.end, header=header))
