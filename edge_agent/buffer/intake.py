"""The way in: samples to open batches, open batches to closed ones with a number."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from edge_agent.buffer.rates import Incoming

if TYPE_CHECKING:
    from collections.abc import Callable

    from edge_agent.buffer.assembly import Assembler, OpenBatch
    from edge_agent.buffer.holding import Holding
    from edge_agent.buffer.identity import Identity
    from telemetry.counters import Counters
    from telemetry.sample import Admitted, DataClass

LINGER_SHARE: Final = 0.25
"""Share of the window that a batch waits for company."""
_TICK_S: Final = 0.001


class Intake:
    """Closes batches by time and size; `on_closed` hears of each batch of samples that may be sent."""

    def __init__(
        self,
        *,
        assembler: Assembler,
        identity: Identity,
        holding: Holding,
        window_s: float,
        counters: Counters,
        on_closed: Callable[[], None],
    ) -> None:
        self.wanted = True
        """Somebody takes batches, so they close early. Else they linger until they are spilled: a backlog has few."""
        self._assembler = assembler
        self._identity = identity
        self._holding = holding
        self._linger_s = window_s * LINGER_SHARE
        self._counters = counters
        self._on_closed = on_closed
        self._met: set[DataClass] = set()
        self._loop = asyncio.get_running_loop()
        self.rate = Incoming(self._loop.time())

    @property
    def memory_bytes(self) -> int:
        """Bytes of closed and open batches in memory."""
        return self._holding.bytes + self._assembler.plain_bytes

    @property
    def open_batches(self) -> list[OpenBatch]:
        """The batches that still wait for company."""
        return list(self._assembler.open.values())

    def add(self, admitted: Admitted, *, age_s: float) -> bool:
        """Put a sample into its open batch; true if it is the first there. Raises ConfigError for unknown devices."""
        batch, full = self._assembler.add(admitted, now=self._loop.time(), age_s=age_s)
        if full is not None:
            self._encode(full)
        if self._assembler.full(batch):
            self._close(batch)
        elif batch.samples == 1 and not batch.event:
            if admitted.data_class not in self._met:
                self._met.add(admitted.data_class)
                batch.opened -= self._linger_s  # whoever started the agent waits for the first of each class
            self._loop.call_at(batch.opened + self._linger_s, self.close_overdue)
        return batch.samples == 1

    def close_overdue(self) -> None:
        """Close batches of samples that waited long enough, if anybody wants them."""
        if not self.wanted:
            return
        before = self._loop.time() - self._linger_s + _TICK_S
        for batch in self.open_batches:
            if not batch.event and batch.opened <= before:
                self._close(batch)

    def forget(self, who: Callable[[str], bool]) -> tuple[int, int]:
        """Take these people's rows out of the open batches; return how many samples and values that were."""
        return self._assembler.forget(who)

    def number(self) -> tuple[str, int]:
        """Return a new identity: epoch and number."""
        number = self._identity.take()
        if number is None:
            # Better a new epoch than a number that may have been used: the disk did not let us reserve any.
            self._counters.add("buffer.identity_unsaved")
            number = self._identity.go_on_unsaved()
        return self._identity.epoch, number

    def close_all(self, *, event: bool) -> None:
        """Close all open batches, of events or of samples."""
        for batch in self.open_batches:
            if batch.event is event:
                self._close(batch)

    def _close(self, batch: OpenBatch) -> None:
        self._assembler.discard(batch)
        self._encode(batch)

    def _encode(self, batch: OpenBatch) -> None:
        closed = self._assembler.encode(batch, self.number)
        self.rate.add(self._loop.time(), closed.batch.priority, self._holding.add(closed))
        self._counters.add("buffer.batches")
        self._counters.add("buffer.values", closed.batch.values)
        if not closed.batch.event:
            self._on_closed()
