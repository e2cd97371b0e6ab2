"""What a file looks like to whoever rewrites it: what stays, what goes, and what is left of it. Changes nothing."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from edge_agent.buffer.record import frame
from edge_agent.buffer.rest import Purged, concerns, without

if TYPE_CHECKING:
    from edge_agent.buffer.record import EncodedBatch, Header
    from edge_agent.buffer.rest import Rest, Who
    from edge_agent.buffer.segment import Segment
    from telemetry.batch import Batch


@dataclass(slots=True, kw_only=True)
class Sorted:
    """A file's records, as a purge sees them."""

    clean: bool
    """Nothing lies between them: no damaged bytes, in which somebody's rows may stand."""
    found: Purged = field(default_factory=Purged)
    kept: list[bytes] = field(default_factory=list)
    """To stay as they are."""
    rests: list[tuple[Batch, EncodedBatch]] = field(default_factory=list)
    """What is left of a batch, and that batch."""

    def take(self, segment: Segment, header: Header, payload: bytes, rest: Rest, *, pending: bool, young: bool) -> None:
        """Take a batch out. The rest of a young one that was acknowledged is told again: the same points."""
        self.found.batches += 1
        if pending:
            self.found.gone.append((segment.epoch, header.number))
            self.found.samples += rest.samples
            self.found.values += rest.values
        batch = segment.batch_of(header, payload)
        if (pending or young) and rest.batch is not None and batch is not None:
            self.rests.append((rest.batch, batch))


def sort(segment: Segment, who: Who | None, *, young_ns: int | None) -> Sorted:
    """Read the whole file, which is loaded; without `who` only what is done with goes.

    What is younger than `young_ns` stays, acknowledged or not.
    """
    records, clean = segment.records()
    sorted_ = Sorted(clean=clean)
    numbers: set[int] = set()
    for header, payload in records:
        if header.number in numbers:
            continue  # written again after an error: the same bytes
        numbers.add(header.number)
        pending = header.number in (segment.entries or {})
        young = young_ns is not None and header.oldest_at_ns > young_ns
        rest = without(payload, who) if who is not None and concerns(header.data_class) else None
        if rest is not None:
            sorted_.take(segment, header, payload, rest, pending=pending, young=young)
        elif pending or young:
            sorted_.kept.append(frame(header, payload))
    return sorted_
