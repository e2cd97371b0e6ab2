"""What the publisher needs of the buffer, and no more."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from telemetry.ack import Ack
    from telemetry.sample import DataClass


class Outgoing(Protocol):
    """A batch to be sent: its bytes are the same each time."""

    @property
    def epoch(self) -> str:
        """Epoch it was encoded with."""
        ...

    @property
    def number(self) -> int:
        """Its number in that epoch."""
        ...

    @property
    def data_class(self) -> DataClass:
        """Decides the topic."""
        ...

    @property
    def payload(self) -> bytes:
        """The encoded batch."""
        ...


class Outbox(Protocol):
    """Where batches wait. What was taken is the taker's to send until it is acknowledged; it is never given twice."""

    @property
    def epoch(self) -> str:
        """Epoch of new batches."""
        ...

    def on_ready(self, notify: Callable[[], None]) -> None:
        """Call `notify` whenever there may be something new to take."""
        ...

    def take_live(self) -> Outgoing | None:
        """Return the next batch that is younger than W, if there is one."""
        ...

    async def take_backfill(self) -> Outgoing | None:
        """Return the next older batch, if there is one; safe to cancel."""
        ...

    def acknowledge(self, ack: Ack) -> None:
        """Let go of what `ack` names."""
        ...
