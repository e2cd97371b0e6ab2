"""What travels from the intake to a writer: a batch in hand, and who waits for its fate."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cloud_ingest.deadletter import Letter
    from cloud_ingest.decode import Identity
    from cloud_ingest.series import Row
    from telemetry.ack import Refused
    from telemetry.batch import Batch


class Delivery(Protocol):
    """One PUBLISH as it arrived, on one connection."""

    @property
    def topic(self) -> str:
        """Where it was published."""
        ...

    @property
    def payload(self) -> bytes:
        """Its bytes."""
        ...

    def release(self) -> None:
        """Let go of the bytes; what is in hand must not keep them in memory."""
        ...

    def acknowledge(self) -> None:
        """Send the PUBACK on the connection it came by; does nothing once that is gone."""
        ...


_BYTES_A_VALUE: Final = 32
"""More plain JSON than a value of an honest batch takes."""


def cost_of(values: int, size: int) -> int:
    """Return how many values a message weighs: a few megabytes without one value must not be free."""
    return max(values, size // _BYTES_A_VALUE)


@dataclass(slots=True, kw_only=True, eq=False)
class Parcel:
    """A message in hand. It is settled when its rows are durable and its letters filed."""

    topic: str
    identity: Identity | None
    """None: a poison message whose gateway cannot be told."""
    digest: bytes
    batch: Batch | None = None
    rows: Sequence[Row] = ()
    letters: list[Letter] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)
    values: int = 0
    cost: int = 0
    """What it counts against `writer.max_values`, see `cost_of`."""
    deliveries: list[Delivery] = field(default_factory=list)
    settles: bool = True
    """False for a conflict: the identity belongs to the batch that came first."""
    after: list[Parcel] = field(default_factory=list)
    """Conflicts with this batch; refused only once it is safe, since a refusal frees the gateway's copy."""
