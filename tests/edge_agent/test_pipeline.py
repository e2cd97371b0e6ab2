"""The pipeline: judged, thinned, gated; samples taken before the clock is right wait for it, persons not for long."""

import asyncio
import time

import pytest

from edge_agent import pipeline as pipeline_module
from edge_agent.pipeline import Pipeline
from edge_agent.privacy import Gate
from telemetry.counters import Counters
from telemetry.profile import DeviceProfile, Point, Range, Report, Text
from telemetry.sample import Admitted, DataClass, Quality, Reason, Sample, Subject
from tests.edge_agent.privacy.test_gate import ATTENDANCE, CONSENTED, keys_for, policy

SECOND = 1_000_000_000
HOUR = 3600 * SECOND
ALLOWED = policy(ATTENDANCE, consents=CONSENTED, first="2000-01-01T00:00:00Z", last="2100-01-01T00:00:00Z")
CARD = Subject(kind="card", identifier="0A0012ABCD")


def profile(*points, **keys):
    fields = {
        "id": "test/device",
        "version": "1.0.0",
        "name": Text(zh="测", en="test"),
        "manufacturer": "m",
        "model": "m",
        "driver": "modbus",
        "measurement": "environment",
        "point": points,
    }
    return DeviceProfile(**(fields | keys))


AIR = profile(
    Point(name="co2", quantity="co2", physical=Range(low=0, high=5000), report=Report(deadband=5, at_least_every_s=60)),
    Point(name="noise", quantity="noise"),
    warmup_s=0,
)
GATE = profile(Point(name="presence", quantity="presence", purpose="attendance", **{"class": "personal"}))


class Now:
    """A gateway's clocks: UTC, wrong by `wrong_by_ns` until it is synchronised, and the boot's own, moved by hand."""

    def __init__(self, *, wrong_by_ns=0, synced=False):
        self.wrong_by_ns = wrong_by_ns
        self.is_synced = synced
        self.slept_ns = 0

    def now_ns(self):
        return time.time_ns() + self.slept_ns + (0 if self.is_synced else self.wrong_by_ns)

    def synced(self):
        return self.is_synced

    def boottime_ns(self):
        return time.clock_gettime_ns(time.CLOCK_BOOTTIME) + self.slept_ns

    @property
    def step_ns(self):
        return -self.wrong_by_ns if self.is_synced else 0

    def boottime_of(self, at_ns):
        return at_ns - self.wrong_by_ns - (time.time_ns() - time.clock_gettime_ns(time.CLOCK_BOOTTIME))

    def right_ns(self, at_ns):
        return min((at_ns, at_ns + self.step_ns), key=lambda candidate: abs(self.now_ns() - candidate))


class Sink:
    def __init__(self):
        self.taken: list[Admitted] = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def append(self, admitted):
        self.taken.append(admitted)
        await self.gate.wait()


@pytest.fixture
def build(monkeypatch):
    def made(clock, rules=None, **profiles):
        rules = rules or (lambda: ALLOWED)
        counters, sink = Counters(), Sink()
        monkeypatch.setattr(pipeline_module, "boottime_ns", clock.boottime_ns)
        profiles = profiles or {"air": AIR, "gate": GATE}
        gate = Gate(
            profiles, rooms={}, keys=keys_for("attendance"), in_force=rules, now_ns=clock.now_ns, counters=counters
        )
        return Pipeline(profiles, gate=gate, sink=sink, clock=clock, counters=counters), sink, counters

    return made


def air(clock, co2=400.0, **keys):
    return Sample(device="air", acquired_at_ns=clock.now_ns(), values={"co2": co2, "noise": 40.0}, **keys)


def card(clock):
    return Sample(device="gate", acquired_at_ns=clock.now_ns(), values={"presence": True}, subject=CARD)


async def test_a_sample_is_judged_then_thinned_then_gated(build):
    clock = Now(synced=True)
    pipeline, sink, counters = build(clock)
    for co2 in (400.0, 401.0, 9000.0, 401.0):
        await pipeline.emit(air(clock, co2))
    assert [(sample.values, sample.bad) for sample in sink.taken] == [
        ({"co2": 400.0, "noise": 40.0}, {}),
        ({"noise": 40.0}, {}),
        ({"noise": 40.0}, {"co2": Reason.OUT_OF_RANGE}),
        ({"co2": 401.0, "noise": 40.0}, {}),
    ]
    assert pipeline.passed == 4
    assert counters.get("report.suppressed_values") == 1


async def test_with_a_right_clock_times_are_not_touched(build):
    clock = Now(synced=True)
    pipeline, sink, _ = build(clock)
    sample = card(clock)
    await pipeline.emit(sample)
    assert [taken.acquired_at_ns for taken in sink.taken] == [sample.acquired_at_ns]
    assert pipeline.waiting == 0


async def test_a_suppressed_sample_goes_nowhere_but_counts_as_progress(build):
    clock = Now(synced=True)
    only = profile(Point(name="co2", quantity="co2", report=Report(deadband=5, at_least_every_s=60)))
    pipeline, sink, _ = build(clock, air=only)
    for _ in range(3):
        await pipeline.emit(Sample(device="air", acquired_at_ns=clock.now_ns(), values={"co2": 1.0}))
    assert (len(sink.taken), pipeline.passed) == (1, 3)


@pytest.mark.parametrize("wrong_by_ns", [-50 * 365 * 24 * HOUR, -HOUR, HOUR, 0])
async def test_samples_taken_before_synchronisation_wait_and_are_stamped_right(build, wrong_by_ns):
    clock = Now(wrong_by_ns=wrong_by_ns)
    pipeline, sink, counters = build(clock)
    truth = []
    for _ in range(3):
        truth.append(time.time_ns() + clock.slept_ns)
        await pipeline.emit(air(clock, co2=len(truth) * 100.0))
        clock.slept_ns += 60 * SECOND
    assert (sink.taken, pipeline.waiting) == ([], 3)
    clock.is_synced = True
    await pipeline.stamp_waiting()
    assert pipeline.waiting == 0
    assert [sample.values["co2"] for sample in sink.taken] == [100.0, 200.0, 300.0]
    for sample, right_ns in zip(sink.taken, truth, strict=True):
        assert abs(sample.acquired_at_ns - right_ns) < 0.25 * SECOND
        assert sample.quality is Quality.GOOD
    assert counters.get("clock.waited_samples") == 3


async def test_the_next_sample_after_synchronisation_takes_the_waiting_ones_along_before_it(build):
    clock = Now(wrong_by_ns=-HOUR)
    pipeline, sink, _ = build(clock)
    await pipeline.emit(air(clock, 100.0))
    clock.is_synced = True
    await pipeline.emit(air(clock, 200.0))
    assert [sample.values["co2"] for sample in sink.taken] == [100.0, 200.0]
    assert sink.taken[0].acquired_at_ns < sink.taken[1].acquired_at_ns


async def test_a_time_between_acquisition_and_arrival_is_kept(build):
    clock = Now(wrong_by_ns=-HOUR)
    pipeline, sink, _ = build(clock)
    early = air(clock)
    clock.slept_ns += 5 * SECOND
    arrived_ns = time.time_ns() + clock.slept_ns
    await pipeline.emit(early)
    clock.is_synced = True
    await pipeline.stamp_waiting()
    assert sink.taken[0].acquired_at_ns == pytest.approx(arrived_ns - 5 * SECOND, abs=0.25 * SECOND)


async def test_a_person_waits_a_quarter_of_an_hour_at_most_also_behind_older_air(build):
    clock = Now(wrong_by_ns=-HOUR)
    pipeline, sink, counters = build(clock)
    await pipeline.emit(air(clock))
    await pipeline.emit(card(clock))
    clock.slept_ns += 16 * 60 * SECOND
    await pipeline.emit(card(clock))
    assert counters.get("gate.withheld.personal.clock_unsynced") == 1
    assert pipeline.waiting == 2
    clock.is_synced = True
    await pipeline.stamp_waiting()
    assert sorted(str(sample.data_class) for sample in sink.taken) == ["open", "personal"]


async def test_a_person_who_waited_too_long_is_withheld_also_when_nothing_else_happened(build):
    clock = Now(wrong_by_ns=-HOUR)
    pipeline, sink, counters = build(clock)
    await pipeline.emit(card(clock))
    clock.slept_ns += 16 * 60 * SECOND
    clock.is_synced = True
    await pipeline.stamp_waiting()
    assert sink.taken == []
    assert counters.get("gate.withheld.personal.clock_unsynced") == 1


async def test_who_withdraws_while_he_waits_for_the_clock_is_let_go(build):
    clock = Now(wrong_by_ns=-HOUR)
    pipeline, sink, counters = build(clock)
    await pipeline.emit(air(clock))
    await pipeline.emit(card(clock))
    pipeline.forget(lambda _: False)
    assert pipeline.waiting == 2
    pipeline.forget(lambda _: True)
    assert (pipeline.waiting, counters.get("clock.purged_samples")) == (1, 1)
    clock.is_synced = True
    await pipeline.stamp_waiting()
    assert [str(sample.data_class) for sample in sink.taken] == ["open"]


async def test_a_person_within_the_quarter_of_an_hour_is_stamped(build):
    clock = Now(wrong_by_ns=-HOUR)
    pipeline, sink, _ = build(clock)
    right_ns = time.time_ns()
    await pipeline.emit(card(clock))
    clock.slept_ns += 14 * 60 * SECOND
    clock.is_synced = True
    await pipeline.stamp_waiting()
    (sample,) = sink.taken
    assert sample.data_class is DataClass.PERSONAL
    assert abs(sample.acquired_at_ns - right_ns) < 0.25 * SECOND


async def test_a_boot_that_ends_unsynchronised_marks_air_and_withholds_persons(build):
    clock = Now(wrong_by_ns=-HOUR)
    pipeline, sink, counters = build(clock)
    sample = air(clock)
    await pipeline.emit(sample)
    await pipeline.emit(card(clock))
    await pipeline.give_up_waiting()
    (taken,) = sink.taken
    assert (taken.quality, taken.acquired_at_ns) == (Quality.CLOCK_UNCERTAIN, sample.acquired_at_ns)
    assert pipeline.waiting == 0
    assert counters.get("clock.uncertain_samples") == 1
    assert counters.get("gate.withheld.personal.clock_unsynced") == 1


async def test_a_boot_that_ends_just_after_synchronisation_still_stamps(build):
    clock = Now(wrong_by_ns=-HOUR)
    pipeline, sink, counters = build(clock)
    right_ns = time.time_ns()
    await pipeline.emit(air(clock))
    await pipeline.emit(card(clock))
    clock.is_synced = True
    await pipeline.give_up_waiting()
    assert {sample.quality for sample in sink.taken} == {Quality.GOOD}
    assert len(sink.taken) == 2
    assert all(abs(sample.acquired_at_ns - right_ns) < 0.25 * SECOND for sample in sink.taken)
    assert counters.get("clock.uncertain_samples") == 0


async def test_what_waits_is_bounded_and_nothing_is_dropped_silently(build, monkeypatch):
    monkeypatch.setattr(pipeline_module, "MAX_WAITING", 10)
    clock = Now(wrong_by_ns=-HOUR)
    pipeline, sink, counters = build(clock)
    for number in range(20):
        await pipeline.emit(card(clock) if number % 4 == 0 else air(clock, number * 100.0))
        assert pipeline.waiting <= 10
    withheld = counters.get("gate.withheld.personal.clock_unsynced")
    assert len(sink.taken) + withheld == 10
    assert withheld > 0
    assert {sample.quality for sample in sink.taken} == {Quality.CLOCK_UNCERTAIN}
    assert counters.get("clock.uncertain_samples") == len(sink.taken)


async def test_stopping_in_the_middle_of_stamping_loses_nothing(build):
    clock = Now(wrong_by_ns=-HOUR)
    pipeline, sink, _ = build(clock)
    for number in range(5):
        await pipeline.emit(air(clock, number * 100.0))
    clock.is_synced = True
    sink.gate.clear()
    stamping = asyncio.create_task(pipeline.stamp_waiting())
    await asyncio.sleep(0)
    stamping.cancel()
    with pytest.raises(asyncio.CancelledError):
        await stamping
    sink.gate.set()
    await pipeline.give_up_waiting()
    assert [sample.values["co2"] for sample in sink.taken] == [0.0, 100.0, 200.0, 300.0, 400.0]
    assert {sample.quality for sample in sink.taken} == {Quality.GOOD}


async def test_what_the_gate_keeps_never_reaches_the_sink(build):
    clock = Now(synced=True)
    pipeline, sink, counters = build(clock)
    stranger = Subject(kind="card", identifier="FFFFFFFFFF")
    await pipeline.emit(
        Sample(device="gate", acquired_at_ns=clock.now_ns(), values={"presence": True}, subject=stranger)
    )
    assert sink.taken == []
    assert counters.get("gate.withheld.personal.no_consent") == 1


async def test_a_device_that_was_gone_warms_up_again(build):
    clock = Now(synced=True)
    pipeline, sink, _ = build(clock, air=profile(Point(name="co2", quantity="co2"), warmup_s=60))
    sample = Sample(device="air", acquired_at_ns=clock.now_ns(), values={"co2": 400.0})
    await pipeline.emit(sample)
    clock.slept_ns += 61 * SECOND
    await pipeline.emit(Sample(device="air", acquired_at_ns=clock.now_ns(), values={"co2": 400.0}))
    pipeline.gone("air")
    await pipeline.emit(Sample(device="air", acquired_at_ns=clock.now_ns(), values={"co2": 400.0}))
    warming = {"co2": Reason.WARMING_UP}
    assert [taken.bad for taken in sink.taken] == [warming, {}, warming]


@pytest.mark.parametrize("wrong_by_ns", [-50 * 365 * 24 * HOUR, -HOUR, HOUR])
async def test_a_reading_under_way_when_the_clock_is_set_gets_the_right_time(build, wrong_by_ns):
    clock = Now(wrong_by_ns=wrong_by_ns)
    pipeline, sink, _ = build(clock)
    right_ns = time.time_ns()
    reading = air(clock)
    clock.is_synced = True
    await pipeline.emit(reading)
    await pipeline.emit(air(clock, 900.0))
    assert len(sink.taken) == 2
    assert all(abs(sample.acquired_at_ns - right_ns) < 0.25 * SECOND for sample in sink.taken)


async def test_setting_the_clock_ends_no_warm_up(build):
    clock = Now(wrong_by_ns=-HOUR)
    pipeline, sink, _ = build(clock, air=profile(Point(name="co2", quantity="co2"), warmup_s=60))
    await pipeline.emit(Sample(device="air", acquired_at_ns=clock.now_ns(), values={"co2": 400.0}))
    clock.is_synced = True
    await pipeline.emit(Sample(device="air", acquired_at_ns=clock.now_ns(), values={"co2": 400.0}))
    clock.slept_ns += 61 * SECOND
    await pipeline.emit(Sample(device="air", acquired_at_ns=clock.now_ns(), values={"co2": 400.0}))
    warming = {"co2": Reason.WARMING_UP}
    assert [taken.bad for taken in sink.taken] == [warming, warming, {}]


async def test_a_policy_that_was_in_force_by_a_wrong_clock_only_lets_nobody_out(build):
    clock = Now(wrong_by_ns=-365 * 24 * HOUR)
    ended = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - 24 * 3600))
    expired = policy(ATTENDANCE, consents=CONSENTED, first="2000-01-01T00:00:00Z", last=ended)
    pipeline, sink, counters = build(clock, rules=lambda: expired)
    await pipeline.emit(card(clock))
    await pipeline.emit(air(clock))
    clock.is_synced = True
    await pipeline.stamp_waiting()
    assert [sample.data_class for sample in sink.taken] == [DataClass.OPEN]
    assert counters.get("gate.withheld.personal.policy_expired") == 1


async def test_a_consent_withdrawn_while_waiting_for_the_clock_counts(build):
    clock, rules = Now(wrong_by_ns=-HOUR), [ALLOWED]
    pipeline, sink, counters = build(clock, rules=lambda: rules[0])
    await pipeline.emit(card(clock))
    rules[0] = policy(ATTENDANCE, first="2000-01-01T00:00:00Z", last="2100-01-01T00:00:00Z")
    clock.is_synced = True
    await pipeline.stamp_waiting()
    assert sink.taken == []
    assert counters.get("gate.withheld.personal.no_consent") == 1


BOTH = profile(
    Point(name="presence", quantity="presence", purpose="attendance", **{"class": "personal"}),
    Point(name="co2", quantity="co2"),
    warmup_s=0,
)


@pytest.mark.parametrize("waited", [False, True])
async def test_stopping_while_half_of_a_sample_is_appended_loses_nothing_of_it(build, waited):
    """SIGTERM while a card's event waits for its fsync, and while what waited for the clock goes before it."""
    clock = Now(synced=not waited, wrong_by_ns=-HOUR)
    pipeline, sink, _ = build(clock, both=BOTH)
    if waited:
        await pipeline.emit(Sample(device="both", acquired_at_ns=clock.now_ns(), values={"co2": 1.0}))
        clock.is_synced = True
    sink.gate.clear()
    values = {"presence": True, "co2": 500.0}
    emitting = asyncio.create_task(
        pipeline.emit(Sample(device="both", acquired_at_ns=clock.now_ns(), values=values, subject=CARD))
    )
    await asyncio.sleep(0.01)
    emitting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await emitting
    sink.gate.set()
    await pipeline.give_up_waiting()
    assert [sample.values for sample in sink.taken] == [
        *([{"co2": 1.0}] if waited else []),
        {"presence": True},
        {"co2": 500.0},
    ]
