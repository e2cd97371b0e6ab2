from __future__ import annotations

import random
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from edge_agent.publisher.backoff import CAP_S, Backoff
from edge_agent.publisher.latency import ENOUGH, Latency
from edge_agent.publisher.pace import OVERHEAD_BYTES, Pace
from edge_agent.publisher.window import HELLO_JITTER_S, LIMITS, MAX_PAUSE_S, PAUSE_JITTER, InFlight, Window
from telemetry.topics import Flow
from tests.edge_agent.publisher.helpers import EPOCH, FakeBatch


def window(value: float = 0.5) -> Window:
    return Window(random=lambda: value)


def send_all(window: Window, now: float, waiting: dict[Flow, list[int]]) -> list[int]:
    """What a session does in one turn; returns the numbers sent."""
    numbers = []

    def send(one: InFlight) -> None:
        window.sent(one, now)
        numbers.append(one.batch.number)

    while (again := window.next_resend(now)) is not None:
        send(again)
    for flow in (Flow.LIVE, Flow.BACKFILL):
        while waiting[flow] and window.can_take(flow, now):
            send(window.add(FakeBatch(number=waiting[flow].pop(0)), flow))
    return numbers


def ack(window: Window, now: float, *numbers: int, epoch: str = EPOCH) -> list[InFlight]:
    return window.acknowledged(epoch, [(number, number) for number in numbers], now)


def opened(live: int = 0, backfill: int = 0) -> tuple[Window, dict[Flow, list[int]]]:
    """An open window in which batch 0 was just acknowledged."""
    it = window()
    waiting = {Flow.LIVE: [0], Flow.BACKFILL: []}
    it.connected(0)
    send_all(it, 0, waiting)
    ack(it, 0, 0)
    waiting[Flow.LIVE] = list(range(1, 1 + live))
    waiting[Flow.BACKFILL] = list(range(101, 101 + backfill))
    return it, waiting


def test_the_first_batch_of_a_connection_is_a_probe() -> None:
    it = window()
    waiting: dict[Flow, list[int]] = {Flow.LIVE: [1, 2, 3], Flow.BACKFILL: [9]}
    assert send_all(it, 0, waiting) == []
    it.connected(0)
    assert send_all(it, 0, waiting) == [1]
    assert it.probing
    ack(it, 1, 1)
    assert send_all(it, 1, waiting) == [2, 3, 9]


def test_limits_of_live_and_backfill() -> None:
    it, waiting = opened(live=9, backfill=9)
    assert send_all(it, 1, waiting) == [1, 2, 3, 4, 101]
    assert send_all(it, 2, waiting) == [102]
    assert send_all(it, 3, waiting) == []
    ack(it, 3, 2, 101)
    assert send_all(it, 3, waiting) == [5, 103]


def test_timeouts_double_up_to_the_limit_and_probe_the_oldest_alone() -> None:
    it, waiting = opened(live=3)
    assert send_all(it, 0, waiting) == [1, 2, 3]
    now, spans, probed = 0.0, [], []
    for _ in range(8):
        due = it.next_at(now)
        assert due is not None
        spans.append(due - now)
        now = due
        assert it.expire(now) >= 1
        probed += send_all(it, now, waiting)
    assert spans == sorted(spans)
    assert 24 <= spans[0] <= 30
    assert 48 <= spans[1] <= 60
    assert 480 <= spans[-1] <= 600
    # Each has its turn: one batch that is never acknowledged must not stand in the others' way.
    assert probed[:4] == [1, 2, 3, 1]
    ack(it, now, 2)
    assert send_all(it, now, waiting) == [3] or send_all(it, now, waiting) == []
    assert not it.probing


def test_one_lost_batch_does_not_close_the_window() -> None:
    it, waiting = opened(live=20)
    send_all(it, 0, waiting)
    ack(it, 20, 2, 3, 4)
    assert it.expire(29.9) == 1
    assert not it.probing
    assert send_all(it, 29.9, waiting) == [1, 5, 6, 7]


def test_a_greeting_brings_a_probe_after_its_jitter() -> None:
    it, waiting = opened(live=2)
    send_all(it, 0, waiting)
    it.ingest_here(10)
    assert send_all(it, 10, waiting) == []
    assert it.next_at(10) == 10 + HELLO_JITTER_S / 2
    assert send_all(it, 10 + HELLO_JITTER_S / 2, waiting) == [1]
    ack(it, 11, 1)
    assert send_all(it, 11, waiting) == [2]
    it = window()
    it.connected(0)
    it.ingest_here(0)
    assert it.can_take(Flow.LIVE, 0)


def test_a_pause_holds_back_what_is_new_only() -> None:
    it, waiting = opened(live=2)
    send_all(it, 0, waiting)
    waiting[Flow.LIVE] = [5]
    it.pause(0, 3)
    assert send_all(it, 1, waiting) == []
    until = 3 * (1 + PAUSE_JITTER / 2)
    assert it.next_at(1) == until, "all gateways are told to wait equally long: each waits a little longer"
    it.disconnected()
    it.connected(2)
    assert send_all(it, 2, waiting) == [1]
    ack(it, 2, 1)
    assert send_all(it, 2, waiting) == [2]
    assert send_all(it, until, waiting) == [5]
    it.pause(until, 1e9)
    assert not it.can_take(Flow.LIVE, until + MAX_PAUSE_S)
    assert it.can_take(Flow.LIVE, until + MAX_PAUSE_S * (1 + PAUSE_JITTER))


def test_what_the_ingest_put_aside_is_probed_when_its_pause_is_over() -> None:
    it, waiting = opened(live=2)
    assert send_all(it, 0, waiting) == [1, 2]
    it.pause(0, 2)
    assert send_all(it, 1, waiting) == []
    until = it.next_at(1)
    assert until == 2 * (1 + PAUSE_JITTER / 2)
    assert it.expire(until) == 2
    assert send_all(it, until, waiting) == [1], "the oldest alone"
    it.pause(until, 2)
    assert it.expire(until + 3) == 0, "a store that is away is not asked at every pause's end"


def test_a_store_that_is_back_ends_a_long_pause_within_a_second() -> None:
    it, waiting = opened(live=1)
    send_all(it, 0, waiting)
    waiting[Flow.LIVE] = [2]
    it.pause(0, 60)
    ack(it, 10, 1)
    it.resume(10)
    assert send_all(it, 10, waiting) == []
    assert send_all(it, 10 + HELLO_JITTER_S, waiting) == [2]
    it.refused(20, 60)
    it.resume(20)
    assert not it.can_take(Flow.LIVE, 21), "what the broker refuses is another matter"


def test_backfill_is_paced_by_its_bytes_and_live_is_not() -> None:
    it, waiting = opened(live=1, backfill=1)
    it.pace = Pace(bytes_per_s=1000)
    assert send_all(it, 0, waiting) == [1, 101]
    size = len(FakeBatch(number=101).payload) + OVERHEAD_BYTES
    waiting[Flow.LIVE], waiting[Flow.BACKFILL] = [2], [102]
    assert send_all(it, 0.01, waiting) == [2]
    assert it.next_at(0.01) == size / 1000
    assert send_all(it, size / 1000, waiting) == [102]


def test_the_pace_halves_when_acknowledgements_are_late_and_recovers_with_quick_ones() -> None:
    pace = Pace(bytes_per_s=64_000, late_s=1.0)
    pace.acknowledged(10.0, 12.0)
    assert pace.share == 0.5
    pace.acknowledged(11.5, 13.0)
    assert pace.share == 0.5, "it was on its way when we slowed down"
    for second in range(10):
        pace.acknowledged(14.0 + second, 15.5 + second)
    assert pace.share == 1 / 32, "a backlog shrinks also where the store is slow"
    for second in range(31):
        pace.acknowledged(30.0 + second, 30.1 + second)
    assert pace.share == 1.0


def test_what_was_purged_is_not_sent_again_and_holds_nobody_up() -> None:
    it, waiting = opened(live=3, backfill=1)
    assert send_all(it, 1, waiting) == [1, 2, 3, 101]
    it.disconnected()
    it.connected(2)
    assert send_all(it, 2, waiting) == [1]
    it.forget({(EPOCH, 1), (EPOCH, 101), ("another", 2)})
    assert send_all(it, 3, waiting) == [2], "the next is the probe"
    it.forget({(EPOCH, 2), (EPOCH, 3)})
    assert not it.in_flight
    waiting[Flow.LIVE] = [7]
    assert send_all(it, 4, waiting) == [7]


def test_another_epoch_changes_nothing() -> None:
    it, waiting = opened(live=1)
    send_all(it, 0, waiting)
    assert ack(it, 1, 1, epoch="f" * 16) == []
    assert it.count(Flow.LIVE) == 1


class Path(RuleBasedStateMachine):
    """Random outages, losses, greetings: limits hold, nothing is forgotten, all arrives when the path works again."""

    @initialize(seed=st.integers(0, 1000))
    def start(self, seed: int) -> None:
        self.window = Window(random=random.Random(seed).random)  # noqa: S311
        self.now = 0.0
        self.next = 0
        self.waiting: dict[Flow, list[int]] = {Flow.LIVE: [], Flow.BACKFILL: []}
        self.made: set[int] = set()
        self.acked: set[int] = set()
        self.up = False

    def turn(self) -> None:
        self.window.expire(self.now)
        send_all(self.window, self.now, self.waiting)

    @rule(flow=st.sampled_from(list(Flow)), count=st.integers(1, 8))
    def make(self, flow: Flow, count: int) -> None:
        numbers = range(self.next, self.next + count)
        self.next += count
        self.made.update(numbers)
        self.waiting[flow].extend(numbers)
        self.turn()

    @rule()
    def connect(self) -> None:
        self.up = True
        self.window.connected(self.now)
        self.turn()

    @rule()
    def lose(self) -> None:
        self.up = False
        self.window.disconnected()

    @rule(seconds=st.floats(0.001, 700))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        if self.up:
            self.turn()

    @rule()
    def greet(self) -> None:
        self.window.ingest_here(self.now)
        self.turn()

    @rule(seconds=st.floats(0, 100))
    def pause(self, seconds: float) -> None:
        self.window.pause(self.now, seconds)

    @rule()
    def resume(self) -> None:
        self.window.resume(self.now)

    @precondition(lambda self: self.window.in_flight)
    @rule(data=st.data())
    def acknowledge(self, data: Any) -> None:
        one = data.draw(st.sampled_from(list(self.window.in_flight)))
        if one.sends:
            self.acked.update(done.batch.number for done in ack(self.window, self.now, one.batch.number))
            self.turn()

    @invariant()
    def keeps_the_limits_and_forgets_nothing(self) -> None:
        flying = [one.batch.number for one in self.window.in_flight]
        assert all(self.window.count(flow) <= LIMITS[flow] for flow in Flow)
        waiting = {number for numbers in self.waiting.values() for number in numbers}
        assert sorted([*flying, *waiting, *self.acked]) == sorted(self.made)
        if self.window.probing:
            assert sum(one.sent_at is not None for one in self.window.in_flight) <= 1

    def teardown(self) -> None:
        if not hasattr(self, "window"):
            return
        self.window.connected(self.now)
        for _ in range(20 * len(self.made) + 20):
            self.turn()
            sent = [one.batch.number for one in self.window.in_flight if one.sent_at is not None]
            self.acked.update(done.batch.number for done in ack(self.window, self.now, *sent))
            self.turn()
            at = self.window.next_at(self.now)
            self.now = max(self.now + 0.001, at if at is not None else 0.0)
        assert self.acked == self.made


TestPath = Path.TestCase


@given(st.floats(0, 1), st.integers(0, 100))
def test_backoff_is_quick_at_first_and_capped(value: float, failures: int) -> None:
    backoff = Backoff(random=lambda: value)
    assert sum(backoff.after_failure() for _ in range(3)) <= 3.5
    assert all(0 <= backoff.after_failure() <= CAP_S for _ in range(failures))
    assert CAP_S / 2 <= backoff.after_refusal() <= CAP_S
    backoff.worked()
    assert backoff.after_failure() <= 0.5
    backoff.worked()
    assert backoff.after_failure(unanswered=True) <= 8
    assert backoff.after_failure() <= 16


def test_latency_is_the_95th_percentile() -> None:
    latency = Latency()
    for seconds in range(ENOUGH - 1):
        latency.add(seconds)
    assert latency.p95_s is None
    latency.add(100)
    assert latency.p95_s == ENOUGH - 2
