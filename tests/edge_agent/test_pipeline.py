"""The pipeline: judged, thinned, gated; stamped with UTC once, whatever is done to the clock."""

import asyncio
import itertools

import pytest

from edge_agent import clock as clock_module
from edge_agent.clock import Clock
from telemetry.profile import Point, Report
from telemetry.sample import Quality, Reason, Sample, Subject
from tests.edge_agent import pipeline_kit
from tests.edge_agent.pipeline_kit import BASE_NS, CARD, HOUR, SECOND, Now, air, card, profile

build = pipeline_kit.build


async def test_a_sample_is_judged_then_thinned_then_gated(build):
    clock = Now(synced=True)
    pipeline, sink, counters = await build(clock)
    for co2 in (400.0, 401.0, 9000.0, 401.0):
        await pipeline.emit(air(clock, co2))
    assert [(sample.values, sample.bad) for sample in sink.taken] == [
        ({"co2": 400.0, "noise": 40.0}, {}),
        ({"noise": 40.0}, {}),
        ({"noise": 40.0}, {"co2": Reason.OUT_OF_RANGE}),
        ({"co2": 401.0, "noise": 40.0}, {}),
    ]
    assert counters.get("report.suppressed_values") == 1


async def test_with_a_right_clock_times_are_not_touched(build):
    clock = Now(synced=True)
    pipeline, sink, _ = await build(clock)
    sample = card(clock)
    await pipeline.emit(sample)
    assert [taken.acquired_at_ns for taken in sink.taken] == [sample.acquired_at_ns // 1000 * 1000]
    assert pipeline.waiting == 0


async def test_a_suppressed_sample_goes_nowhere(build):
    clock = Now(synced=True)
    only = profile(Point(name="co2", quantity="co2", report=Report(deadband=5, at_least_every_s=60)))
    pipeline, sink, _ = await build(clock, air=only)
    for _ in range(3):
        await pipeline.emit(Sample(device="air", acquired_at_ns=clock.even_ns(), values={"co2": 1.0}))
    assert len(sink.taken) == 1


async def test_what_the_gate_keeps_never_reaches_the_sink(build):
    clock = Now(synced=True)
    pipeline, sink, counters = await build(clock)
    stranger = Subject(kind="card", identifier="FFFFFFFFFF")
    await pipeline.emit(
        Sample(device="gate", acquired_at_ns=clock.even_ns(), values={"presence": True}, subject=stranger)
    )
    assert sink.taken == []
    assert counters.get("gate.withheld.personal.no_consent") == 1


async def test_a_device_that_was_gone_warms_up_again(build):
    clock = Now(synced=True)
    pipeline, sink, _ = await build(clock, air=profile(Point(name="co2", quantity="co2"), warmup_s=60))
    sample = Sample(device="air", acquired_at_ns=clock.even_ns(), values={"co2": 400.0})
    await pipeline.emit(sample)
    clock.slept_ns += 61 * SECOND
    await pipeline.emit(Sample(device="air", acquired_at_ns=clock.even_ns(), values={"co2": 400.0}))
    pipeline.gone("air")
    await pipeline.emit(Sample(device="air", acquired_at_ns=clock.even_ns(), values={"co2": 400.0}))
    warming = {"co2": Reason.WARMING_UP}
    assert [taken.bad for taken in sink.taken] == [warming, {}, warming]


@pytest.mark.parametrize("wrong_by_ns", [-50 * 365 * 24 * HOUR, -HOUR, HOUR])
async def test_a_reading_under_way_when_the_clock_is_set_gets_the_right_time(build, wrong_by_ns):
    clock = Now(wrong_by_ns=wrong_by_ns)
    pipeline, sink, _ = await build(clock)
    right_ns = clock.true_ns()
    reading = air(clock)
    clock.is_synced = True
    await pipeline.emit(reading)
    await pipeline.emit(air(clock, 900.0))
    assert len(sink.taken) == 2
    assert all(abs(sample.acquired_at_ns - right_ns) < 0.25 * SECOND for sample in sink.taken)


async def test_setting_the_clock_ends_no_warm_up(build):
    clock = Now(wrong_by_ns=-HOUR)
    pipeline, sink, _ = await build(clock, air=profile(Point(name="co2", quantity="co2"), warmup_s=60))
    await pipeline.emit(Sample(device="air", acquired_at_ns=clock.even_ns(), values={"co2": 400.0}))
    clock.is_synced = True
    await pipeline.emit(Sample(device="air", acquired_at_ns=clock.even_ns(), values={"co2": 400.0}))
    clock.slept_ns += 61 * SECOND
    await pipeline.emit(Sample(device="air", acquired_at_ns=clock.even_ns(), values={"co2": 400.0}))
    await pipeline.tend()
    warming = {"co2": Reason.WARMING_UP}
    assert [taken.bad for taken in sink.taken] == [warming, {}, warming]


BOTH = profile(
    Point(name="presence", quantity="presence", purpose="attendance", **{"class": "personal"}),
    Point(name="co2", quantity="co2"),
    warmup_s=0,
)


@pytest.mark.parametrize("synced", [False, True])
async def test_stopping_while_half_of_a_sample_is_appended_loses_nothing_of_it(build, synced):
    """SIGTERM while a card's event waits for its fsync."""
    clock = Now(synced=synced, wrong_by_ns=-HOUR)
    pipeline, sink, _ = await build(clock, both=BOTH)
    sink.gate.clear()
    values = {"presence": True, "co2": 500.0}
    emitting = asyncio.create_task(
        pipeline.emit(Sample(device="both", acquired_at_ns=clock.even_ns(), values=values, subject=CARD))
    )
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    emitting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await emitting
    sink.gate.set()
    await pipeline.finish()
    if not synced:
        assert sink.taken == []
        clock.is_synced = True
        pipeline, sink, _ = await build(clock, both=BOTH)
        await pipeline.tend()
    assert sorted(map(str, (sample.values for sample in sink.taken))) == ["{'co2': 500.0}", "{'presence': True}"]


async def test_pain_12_two_samples_of_a_series_at_the_same_time_are_both_kept(build):
    clock = Now(synced=True)
    pipeline, sink, _ = await build(clock)
    at_ns = clock.even_ns()
    for co2 in (400.0, 500.0, 600.0):
        await pipeline.emit(Sample(device="air", acquired_at_ns=at_ns, values={"co2": co2}))
    times = [sample.acquired_at_ns for sample in sink.taken]
    assert len(set(times)) == 3
    assert max(times) - min(times) < 10_000


@pytest.mark.parametrize("step_ns", [-HOUR, HOUR, -SECOND])
async def test_a_step_after_synchronisation_overwrites_nothing_and_misfires_no_rate(build, monkeypatch, step_ns):
    quick = profile(Point(name="co2", quantity="co2", max_step_per_s=10.0), warmup_s=0)
    system = {"moved_ns": 0}
    monkeypatch.setattr(clock_module, "_system_offset_ns", lambda: BASE_NS + system["moved_ns"])
    clock = Clock(assume_synced=True)
    pipeline, sink, _ = await build(clock, air=quick)
    start_ns = clock.even_ns()
    for number in range(600):
        at_ns = start_ns + number * SECOND
        await pipeline.emit(Sample(device="air", acquired_at_ns=at_ns, values={"co2": 400.0 + 5 * (number % 2)}))
        if number == 300:
            system["moved_ns"] = step_ns
    assert len(sink.taken) == 600
    assert len({sample.acquired_at_ns for sample in sink.taken}) == 600
    assert {sample.quality for sample in sink.taken} == {Quality.GOOD}
    assert clock.steps == 1
    gaps = [after.acquired_at_ns - one.acquired_at_ns for one, after in itertools.pairwise(sink.taken)]
    assert abs(gaps[300] - SECOND - step_ns) < 2000
    assert all(abs(gap - SECOND) < 2000 for number, gap in enumerate(gaps) if number != 300)
