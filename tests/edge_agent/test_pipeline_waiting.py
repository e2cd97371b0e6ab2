"""What waits for the clock: on disk, told once and at the right time; persons not for long, and never uncertain."""

import os
import time

import pytest

from edge_agent.clock import EARLIEST_NS
from telemetry.sample import DataClass, Quality
from tests.edge_agent import pipeline_kit
from tests.edge_agent.pipeline_kit import ALLOWED, HOUR, SECOND, Now, air, card
from tests.edge_agent.privacy.test_gate import ATTENDANCE, CONSENTED, policy

build = pipeline_kit.build


@pytest.mark.parametrize("wrong_by_ns", [-50 * 365 * 24 * HOUR, -HOUR, HOUR, 0])
async def test_samples_taken_before_synchronisation_wait_and_are_stamped_right(build, wrong_by_ns):
    clock = Now(wrong_by_ns=wrong_by_ns)
    pipeline, sink, counters = await build(clock)
    truth = []
    for _ in range(3):
        truth.append(clock.true_ns())
        await pipeline.emit(air(clock, co2=len(truth) * 100.0))
        clock.slept_ns += 60 * SECOND
    assert (sink.taken, pipeline.waiting) == ([], 3)
    clock.is_synced = True
    await pipeline.tend()
    assert pipeline.waiting == 0
    assert [sample.values["co2"] for sample in sink.taken] == [100.0, 200.0, 300.0]
    for sample, right_ns in zip(sink.taken, truth, strict=True):
        assert abs(sample.acquired_at_ns - right_ns) < 0.25 * SECOND
        assert sample.quality is Quality.GOOD
    assert counters.get("clock.waited_samples") == 3


async def test_a_time_between_acquisition_and_arrival_is_kept(build):
    clock = Now(wrong_by_ns=-HOUR)
    pipeline, sink, _ = await build(clock)
    early = air(clock)
    clock.slept_ns += 5 * SECOND
    arrived_ns = clock.true_ns()
    await pipeline.emit(early)
    clock.is_synced = True
    await pipeline.tend()
    assert sink.taken[0].acquired_at_ns == pytest.approx(arrived_ns - 5 * SECOND, abs=0.25 * SECOND)


async def test_a_person_waits_a_quarter_of_an_hour_at_most_also_behind_older_air(build):
    clock = Now(wrong_by_ns=-HOUR)
    pipeline, sink, counters = await build(clock)
    await pipeline.emit(air(clock))
    await pipeline.emit(card(clock))
    clock.slept_ns += 16 * 60 * SECOND
    await pipeline.emit(card(clock))
    await pipeline.tend()
    assert counters.get("gate.withheld.personal.clock_unsynced") == 1
    assert pipeline.waiting == 2
    clock.is_synced = True
    await pipeline.tend()
    assert sorted(str(sample.data_class) for sample in sink.taken) == ["open", "personal"]


async def test_a_person_who_waited_too_long_is_withheld_also_when_nothing_else_happened(build):
    clock = Now(wrong_by_ns=-HOUR)
    pipeline, sink, counters = await build(clock)
    await pipeline.emit(card(clock))
    clock.slept_ns += 16 * 60 * SECOND
    clock.is_synced = True
    await pipeline.tend()
    assert sink.taken == []
    assert counters.get("gate.withheld.personal.clock_unsynced") == 1


async def test_who_withdraws_while_he_waits_for_the_clock_is_let_go(build):
    clock = Now(wrong_by_ns=-HOUR)
    pipeline, sink, counters = await build(clock)
    await pipeline.emit(air(clock))
    await pipeline.emit(card(clock))
    await pipeline.forget(lambda _: False)
    assert pipeline.waiting == 2
    await pipeline.forget(lambda _: True)
    assert (pipeline.waiting, counters.get("clock.purged_samples")) == (1, 1)
    clock.is_synced = True
    await pipeline.tend()
    assert [str(sample.data_class) for sample in sink.taken] == ["open"]


async def test_a_person_within_the_quarter_of_an_hour_is_stamped(build):
    clock = Now(wrong_by_ns=-HOUR)
    pipeline, sink, _ = await build(clock)
    right_ns = clock.true_ns()
    await pipeline.emit(card(clock))
    clock.slept_ns += 14 * 60 * SECOND
    clock.is_synced = True
    await pipeline.tend()
    (sample,) = sink.taken
    assert sample.data_class is DataClass.PERSONAL
    assert abs(sample.acquired_at_ns - right_ns) < 0.25 * SECOND


async def test_a_policy_that_was_in_force_by_a_wrong_clock_only_lets_nobody_out(build):
    clock = Now(wrong_by_ns=-365 * 24 * HOUR)
    ended = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - 24 * 3600))
    expired = policy(ATTENDANCE, consents=CONSENTED, first="2000-01-01T00:00:00Z", last=ended)
    pipeline, sink, counters = await build(clock, rules=lambda: expired)
    await pipeline.emit(card(clock))
    await pipeline.emit(air(clock))
    clock.is_synced = True
    await pipeline.tend()
    assert [sample.data_class for sample in sink.taken] == [DataClass.OPEN]
    assert counters.get("gate.withheld.personal.policy_expired") == 1


async def test_a_consent_withdrawn_while_waiting_for_the_clock_counts(build):
    clock, rules = Now(wrong_by_ns=-HOUR), [ALLOWED]
    pipeline, sink, counters = await build(clock, rules=lambda: rules[0])
    await pipeline.emit(card(clock))
    rules[0] = policy(ATTENDANCE, first="2000-01-01T00:00:00Z", last="2100-01-01T00:00:00Z")
    clock.is_synced = True
    await pipeline.tend()
    assert sink.taken == []
    assert counters.get("gate.withheld.personal.no_consent") == 1


async def test_a_boot_that_ends_unsynchronised_leaves_all_on_disk_and_the_next_one_marks_air_and_withholds_persons(
    build,
):
    clock = Now(wrong_by_ns=-HOUR)
    pipeline, sink, counters = await build(clock, boot="first")
    sample = air(clock)
    await pipeline.emit(sample)
    await pipeline.emit(card(clock))
    await pipeline.finish()
    assert (sink.taken, counters.get("clock.uncertain_samples")) == ([], 0)

    clock = Now(synced=True, uptime_ns=SECOND)
    pipeline, sink, counters = await build(clock, boot="second")
    await pipeline.tend()
    (taken,) = sink.taken
    assert (taken.quality, taken.values) == (Quality.CLOCK_UNCERTAIN, sample.values)
    assert abs(taken.acquired_at_ns - sample.acquired_at_ns) < 1000
    assert pipeline.waiting == 0
    assert counters.get("clock.uncertain_samples") == 1
    assert counters.get("gate.withheld.personal.clock_unsynced") == 1


async def test_a_restart_in_the_same_boot_waits_on(build):
    clock = Now(wrong_by_ns=-HOUR)
    truth = []
    for co2 in (100.0, 200.0, 300.0):
        pipeline, sink, _ = await build(clock)
        assert pipeline.waiting == len(truth)
        truth.append(clock.true_ns())
        await pipeline.emit(air(clock, co2))
        await pipeline.emit(card(clock))
        await pipeline.finish()
        assert sink.taken == []
        clock.slept_ns += 60 * SECOND
        truth.append(0)
    clock.is_synced = True
    pipeline, sink, _ = await build(clock)
    await pipeline.tend()
    told = {sample.values["co2"]: sample.acquired_at_ns for sample in sink.taken if "co2" in sample.values}
    assert sorted(told) == [100.0, 200.0, 300.0]
    assert all(abs(told[co2] - at) < 0.25 * SECOND for co2, at in zip(sorted(told), truth[::2], strict=True))
    assert sum(sample.data_class is DataClass.PERSONAL for sample in sink.taken) == 3
    assert {sample.quality for sample in sink.taken} == {Quality.GOOD}


async def test_a_room_that_is_full_tells_the_oldest_air_as_uncertain_and_keeps_people_waiting(build):
    clock = Now(wrong_by_ns=-20 * 365 * 24 * HOUR)
    pipeline, sink, counters = await build(clock, window_s=0.5, max_bytes=100_000)
    await pipeline.emit(card(clock))
    for number in range(400):
        clock.slept_ns += 600_000_000
        await pipeline.emit(air(clock, number * 10.0))
        await pipeline._room._write()
        if number % 20 == 0:
            await pipeline.tend()
    uncertain = counters.get("clock.uncertain_samples")
    assert 0 < uncertain == len(sink.taken) < 400
    assert {sample.quality for sample in sink.taken} == {Quality.CLOCK_UNCERTAIN}
    assert pipeline.waiting == 401 - uncertain
    assert [sample.values["co2"] for sample in sink.taken] == [number * 10.0 for number in range(uncertain)]
    assert min(sample.acquired_at_ns for sample in sink.taken) >= EARLIEST_NS
    assert counters.get("clock.dropped_samples") == 0
    clock.is_synced = True
    await pipeline.tend()
    assert len(sink.taken) == 401
    assert sum(sample.data_class is DataClass.PERSONAL for sample in sink.taken) == 1
    assert len({(sample.device, sample.acquired_at_ns) for sample in sink.taken}) == 401


async def test_what_a_disk_does_not_take_waits_in_memory_and_is_told_at_the_end(build, monkeypatch):
    clock = Now(wrong_by_ns=-HOUR)
    pipeline, sink, counters = await build(clock)

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(os, "posix_fallocate", full)
        await pipeline.emit(air(clock, 100.0))
        await pipeline._room._write()
        assert pipeline.waiting == 1
        assert counters.get("clock.waiting_disk_errors") > 0
    await pipeline.emit(air(clock, 200.0))
    clock.is_synced = True
    await pipeline.tend()
    assert [sample.values["co2"] for sample in sink.taken] == [100.0, 200.0]
