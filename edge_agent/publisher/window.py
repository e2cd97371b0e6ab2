"""Which batch may be sent when: limits, probes, time-outs (rule 5). Pure: time is passed in, nothing is sent here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from edge_agent.publisher.pace import Pace
from telemetry.ranges import covers
from telemetry.topics import Flow

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from edge_agent.publisher.outbox import Outgoing
    from telemetry.ranges import Range

LIMITS: Final = {Flow.LIVE: 4, Flow.BACKFILL: 2}
TIMEOUT_S: Final = 30.0
MAX_TIMEOUT_S: Final = 600.0
MAX_PAUSE_S: Final = 600.0
HELLO_JITTER_S: Final = 1.0
"""The ingest greets all gateways at once; they must not answer at once."""
PAUSE_JITTER: Final = 0.25
"""Share of a pause that may be added to it: the ingest tells all gateways at once to wait equally long."""


@dataclass(slots=True, kw_only=True, eq=False)
class InFlight:
    """A batch that is unacknowledged, and how it stands."""

    batch: Outgoing
    flow: Flow
    sent_at: float | None = None
    """When it was sent last; none if it has to be sent (again)."""
    due: float = 0.0
    """When its acknowledgement is overdue."""
    sends: int = 0
    first_sent_at: float = 0.0
    timeouts: int = 0
    """Acknowledgements in a row that did not come in time, on this connection."""
    probes: int = 0


class Window:
    """Batches in flight: at most 4 live and 2 backfill; one alone after anything that looks like a broken path."""

    def __init__(
        self,
        *,
        random: Callable[[], float],
        pace: Pace | None = None,
        timeout_s: float = TIMEOUT_S,
        max_timeout_s: float = MAX_TIMEOUT_S,
    ) -> None:
        self.pace = pace or Pace()
        self._random = random
        self._timeout_s = timeout_s
        self._max_timeout_s = max_timeout_s
        self._flying: list[InFlight] = []
        self._connected = False
        self._probing = True
        self._silences = 0
        """Time-outs in a row without any acknowledgement."""
        self._probe_at = 0.0
        self._paused_until = 0.0
        self._refused_until = 0.0
        self._last_ack_at = float("-inf")

    @property
    def probing(self) -> bool:
        """Whether nothing but one probe may be on its way."""
        return self._probing

    @property
    def in_flight(self) -> Sequence[InFlight]:
        """All unacknowledged batches, oldest first."""
        return self._flying

    def count(self, flow: Flow) -> int:
        """Return how many batches of `flow` are unacknowledged."""
        return sum(one.flow is flow for one in self._flying)

    def connected(self, now: float) -> None:
        """Begin anew on a new connection: everything unacknowledged is sent again, the oldest first, alone.

        One that was probed in vain before comes after the others: it may be why the broker hung up.
        """
        self._connected = True
        self._silences = 0
        for one in self._flying:
            one.timeouts = 0
        self._probe(now)

    def disconnected(self) -> None:
        """Send nothing until connected again."""
        self._connected = False

    def ingest_here(self, now: float) -> None:
        """Probe within a second: the ingest has just started and may have lost what was on its way."""
        if self._flying:
            self._silences = 0
            for one in self._flying:
                one.timeouts = one.probes = 0
            self._probe(now + HELLO_JITTER_S * self._random())

    def pause(self, now: float, seconds: float) -> None:
        """Send nothing new for `seconds`, as the ingest asks; what is in flight stays so.

        It may have put a batch aside: the oldest is probed when the pause is over, not only after its time-out.
        """
        seconds = min(seconds, MAX_PAUSE_S) * (1 + PAUSE_JITTER * self._random())
        self._paused_until = max(self._paused_until, now + seconds)
        self.pace.slow_down(now)
        if not self._silences:
            for one in self._flying:
                one.due = min(one.due, self._paused_until)

    def resume(self, now: float) -> None:
        """End a long pause within a second: the ingest stores again."""
        if self._paused_until > now + HELLO_JITTER_S:
            self._paused_until = now + HELLO_JITTER_S * self._random()

    def refused(self, now: float, seconds: float) -> None:
        """Send nothing new for `seconds`: the broker did not take a message."""
        self._refused_until = max(self._refused_until, now + seconds)

    def expire(self, now: float) -> int:
        """Note acknowledgements that are overdue; return how many."""
        late = [one for one in self._flying if one.sent_at is not None and now >= one.due]
        if not late:
            return 0
        for one in late:
            one.timeouts += 1
        if all(one.sent_at is not None and self._last_ack_at > one.sent_at for one in late):
            # Others were acknowledged meanwhile: the path works, these alone are sent again.
            for one in late:
                one.sent_at = None
        else:
            self._silences += 1
            self._probe(now)
        return len(late)

    def next_resend(self, now: float) -> InFlight | None:
        """Return the batch that has to be sent now: the probe, or in an open window the oldest that waits."""
        if not self._connected:
            return None
        waiting = [one for one in self._flying if one.sent_at is None]
        if self._probing and (now < self._probe_at or len(waiting) < len(self._flying)):
            return None
        # The oldest first; when it was probed in vain the next has its turn: one poison batch must not block all.
        return min(waiting, key=lambda one: one.probes, default=None)

    def can_take(self, flow: Flow, now: float) -> bool:
        """Whether a new batch of `flow` may be sent now."""
        if (
            not self._connected
            or now < max(self._paused_until, self._refused_until)
            or (self._probing and (self._flying or now < self._probe_at))
        ):
            return False
        if flow is Flow.BACKFILL and now < self.pace.ready_at():
            return False
        return self.count(flow) < LIMITS[flow]

    def add(self, batch: Outgoing, flow: Flow) -> InFlight:
        """Take a new batch in; the caller has asked `can_take`, and sends it now, see `sent`, or by `next_resend`."""
        one = InFlight(batch=batch, flow=flow)
        self._flying.append(one)
        return one

    def sent(self, one: InFlight, now: float) -> None:
        """Note that `one` was just handed to the broker."""
        doublings = max(self._silences, one.timeouts)
        span = min(self._timeout_s * 2.0 ** min(doublings, 30), self._max_timeout_s)
        one.sent_at = now
        one.due = now + span * (0.8 + 0.2 * self._random())
        one.sends += 1
        if one.sends == 1:
            one.first_sent_at = now
        if self._probing:
            one.probes += 1
        if one.flow is Flow.BACKFILL:
            self.pace.sent(len(one.batch.payload), now)

    def acknowledged(self, epoch: str, spans: Sequence[Range], now: float) -> list[InFlight]:
        """Take out the batches of `epoch` in `spans` and return them; any open the window."""
        done = [one for one in self._flying if one.batch.epoch == epoch and covers(spans, one.batch.number)]
        if done:
            self._flying = [one for one in self._flying if one not in done]
            self._probing = False
            self._silences = 0
            self._last_ack_at = now
        for one in done:
            if one.sends == 1:
                self.pace.acknowledged(one.first_sent_at, now)
        return done

    def forget(self, keys: Collection[tuple[str, int]]) -> None:
        """Take out batches that must not be sent any more."""
        self._flying = [one for one in self._flying if (one.batch.epoch, one.batch.number) not in keys]

    def next_at(self, now: float) -> float | None:
        """Return when time alone changes what may be sent; none if only an acknowledgement or a new batch does."""
        times = [one.due for one in self._flying if one.sent_at is not None]
        holding = (self._probe_at, self._paused_until, self._refused_until, self.pace.ready_at())
        times += [at for at in holding if at > now]
        return min(times, default=None)

    def _probe(self, at: float) -> None:
        self._probing = True
        self._probe_at = at
        for one in self._flying:
            one.sent_at = None
