"""Judge: a value that cannot be believed is absent with its reason; one that is doubtful makes the sample suspect."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.derive import Judge
from telemetry.profile import Calibration, Point, Range
from telemetry.sample import Quality, Reason, Sample
from tests.edge_agent.pipeline_kit import profile

SECOND = 1_000_000_000
START = 1_700_000_000 * SECOND


def co2(**keys):
    return Point(name="co2", quantity="co2", **keys)


BEAT = Point(name="beat", quantity="counter")
PHYSICAL = Range(low=0, high=5000)


def at(seconds, bad=None, **values):
    return Sample(device="d", acquired_at_ns=START + int(seconds * SECOND), values=values, bad=bad or {})


def reasons(judge, *samples):
    """Return each sample's reason for co2, or its value."""
    return [judged.bad.get("co2", judged.values.get("co2")) for judged in map(judge.judge, samples)]


def test_a_value_outside_what_the_sensor_can_measure_is_absent():
    judge = Judge(profile(co2(physical=PHYSICAL)))
    found = reasons(judge, *(at(i, co2=v) for i, v in enumerate([0.0, 5000.0, -0.1, 5000.1, 65535.0])))
    assert found == [0.0, 5000.0, Reason.OUT_OF_RANGE, Reason.OUT_OF_RANGE, Reason.OUT_OF_RANGE]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("physical", [None, PHYSICAL])
def test_what_is_no_number_is_a_sensor_fault(value, physical):
    assert reasons(Judge(profile(co2(physical=physical))), at(0, co2=value)) == [Reason.SENSOR_FAULT]


numbers = st.floats(allow_nan=True, allow_infinity=True)
limits = st.floats(-1e4, 1e4)


@given(limits, limits, st.lists(numbers, max_size=6), numbers.filter(math.isfinite), numbers.filter(math.isfinite))
def test_no_value_from_outside_the_physical_range_comes_out_as_a_number(low, high, values, gain, offset):
    if low >= high:
        return
    judge = Judge(profile(co2(physical=Range(low=low, high=high), calibration=Calibration(gain=gain, offset=offset))))
    for index, value in enumerate(values):
        judged = judge.judge(at(index, co2=value))
        assert ("co2" in judged.values) != ("co2" in judged.bad)
        if not low <= value <= high:
            assert judged.values == {}
        if judged.values:
            assert math.isfinite(judged.values["co2"])


def test_the_other_points_of_the_sample_stay_good():
    judge = Judge(profile(co2(physical=PHYSICAL), Point(name="noise", quantity="noise")))
    judged = judge.judge(at(0, co2=-1.0, noise=40.0, bad={"power": Reason.DECODE}))
    assert judged.values == {"noise": 40.0}
    assert judged.bad == {"co2": Reason.OUT_OF_RANGE, "power": Reason.DECODE}
    assert judged.quality is Quality.GOOD


def test_calibration_is_applied_once_after_the_range():
    judge = Judge(profile(co2(physical=PHYSICAL, calibration=Calibration(gain=1.1, offset=-20.0))))
    assert reasons(judge, at(0, co2=1000.0), at(1, co2=5001.0)) == [pytest.approx(1080.0), Reason.OUT_OF_RANGE]


def test_a_calibration_that_overflows_gives_no_number():
    judge = Judge(profile(co2(calibration=Calibration(gain=1e10))))
    assert reasons(judge, at(0, co2=1e300)) == [Reason.OUT_OF_RANGE]


def test_what_a_room_cannot_have_is_suspect_but_kept():
    judge = Judge(profile(co2(plausible=Range(low=350, high=5000)), Point(name="noise", quantity="noise")))
    judged = [judge.judge(at(i, co2=v, noise=1.0)) for i, v in enumerate([400.0, 200.0, 6000.0, 500.0])]
    assert [sample.quality for sample in judged] == [Quality.GOOD, Quality.SUSPECT, Quality.SUSPECT, Quality.GOOD]
    assert [sample.values["co2"] for sample in judged] == [400.0, 200.0, 6000.0, 500.0]


def test_plausibility_is_about_the_calibrated_value():
    judge = Judge(profile(co2(plausible=Range(low=350, high=5000), calibration=Calibration(offset=100.0))))
    assert judge.judge(at(0, co2=300.0)).quality is Quality.GOOD


def test_a_step_faster_than_possible_is_suspect():
    judge = Judge(profile(co2(max_step_per_s=10.0)))
    steps = [(0, 400.0), (1, 410.0), (2, 421.0), (4, 441.0), (4, 900.0), (5, 400.0), (100, 900.0)]
    found = [judge.judge(at(t, co2=v)).quality for t, v in steps]
    good, suspect = Quality.GOOD, Quality.SUSPECT
    assert found == [good, good, suspect, good, good, suspect, good]


def test_a_bad_value_is_no_base_for_a_step():
    judge = Judge(profile(co2(max_step_per_s=10.0, physical=PHYSICAL)))
    found = [judge.judge(at(t, co2=v)).quality for t, v in [(0, 400.0), (1, 60000.0), (2, 410.0)]]
    assert found == [Quality.GOOD] * 3


def test_what_the_driver_called_suspect_stays_so():
    judge = Judge(profile(co2()))
    sample = Sample(device="d", acquired_at_ns=START, values={"co2": 400.0}, quality=Quality.SUSPECT)
    assert judge.judge(sample).quality is Quality.SUSPECT


def test_a_standing_heartbeat_makes_everything_stale_itself_too():
    judge = Judge(profile(co2(), BEAT, heartbeat="beat"))
    assert judge.judge(at(0, co2=400.0, beat=7.0)).bad == {}
    judged = judge.judge(at(1, co2=400.0, beat=7.0))
    assert judged.values == {}
    assert judged.bad == {"co2": Reason.STALE, "beat": Reason.STALE}
    assert judge.judge(at(2, co2=401.0, beat=8.0)).bad == {}


def test_a_heartbeat_that_wraps_or_restarts_is_no_standstill():
    judge = Judge(profile(co2(), BEAT, heartbeat="beat"))
    assert reasons(judge, *(at(i, co2=1.0, beat=b) for i, b in enumerate([4294967295.0, 0.0, 1.0, 0.0]))) == [1.0] * 4


def test_without_its_heartbeat_a_value_may_be_an_old_one():
    judge = Judge(profile(co2(), BEAT, heartbeat="beat"))
    judge.judge(at(0, co2=400.0, beat=1.0))
    assert reasons(judge, at(1, co2=400.0, bad={"beat": Reason.DECODE})) == [Reason.DECODE]
    assert reasons(judge, at(2, co2=402.0, beat=2.0)) == [402.0]


def test_a_failed_reading_passes_as_it_is():
    judge = Judge(profile(co2(), BEAT, heartbeat="beat", warmup_s=60))
    failed = at(0, bad={"co2": Reason.TIMEOUT, "beat": Reason.TIMEOUT})
    assert judge.judge(failed) == failed


def test_values_are_warming_up_after_each_appearance():
    judge = Judge(profile(co2(), warmup_s=60))
    warming = Reason.WARMING_UP
    assert reasons(judge, at(0, co2=1.0), at(59.9, co2=1.0), at(60, co2=1.0)) == [warming, warming, 1.0]
    judge.gone()
    assert reasons(judge, at(100, bad={"co2": Reason.TIMEOUT})) == [Reason.TIMEOUT]
    assert reasons(judge, at(200, co2=1.0), at(259, co2=1.0), at(260, co2=1.0)) == [warming, warming, 1.0]


def test_stale_comes_before_warming_up():
    judge = Judge(profile(co2(), BEAT, heartbeat="beat", warmup_s=60))
    found = reasons(judge, at(0, co2=1.0, beat=1.0), at(1, co2=1.0, beat=1.0))
    assert found == [Reason.WARMING_UP, Reason.STALE]


def test_a_clock_that_is_set_back_does_not_make_warming_up_last_for_hours():
    judge = Judge(profile(co2(), warmup_s=60))
    judge.judge(at(0, co2=1.0))
    assert reasons(judge, at(70, co2=1.0)) == [1.0]
    hour_back = [at(-3600 + s, co2=1.0) for s in (0, 59, 60, 100)]
    assert reasons(judge, *hour_back) == [Reason.WARMING_UP, Reason.WARMING_UP, 1.0, 1.0]


def test_a_flag_or_text_has_no_range():
    judge = Judge(profile(Point(name="door", quantity="presence"), Point(name="mode", quantity="state")))
    assert judge.judge(at(0, door=True, mode="auto")).values == {"door": True, "mode": "auto"}


def test_a_point_the_profile_does_not_know_is_the_gates_business():
    assert Judge(profile(co2())).judge(at(0, other=1.0)).values == {"other": 1.0}


def test_identity_time_and_subject_are_left_alone():
    sample = Sample(device="d", acquired_at_ns=5, values={"co2": 1.0}, resumed=True)
    judged = Judge(profile(co2())).judge(sample)
    assert (judged.device, judged.acquired_at_ns, judged.resumed) == ("d", 5, True)
