"""Reporter: against a naive model, and the rule's edges."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.derive import Reporter
from telemetry.counters import Counters
from telemetry.profile import Point, Report
from telemetry.sample import Reason, Sample
from tests.edge_agent import pipeline_kit

SECOND = 1_000_000_000


def profile(rules):
    return pipeline_kit.profile(*(Point(name=name, quantity="counter", report=rule) for name, rule in rules.items()))


RULES = {
    "slow": Report(deadband=5.0, at_least_every_s=10),
    "exact": Report(at_least_every_s=3),
    "free": None,
}


def at(seconds, bad=None, **values):
    return Sample(device="d", acquired_at_ns=int(seconds * SECOND), values=values, bad=bad or {})


def naive(samples):
    """Return what leaves: for each sample its (values, bad), or none; by looking back over all that left before."""
    left = []
    for index, sample in enumerate(samples):
        values = {}
        for name, value in sample.values.items():
            rule = RULES[name]
            # The last time the point was there, good or bad or absent.
            previous = samples[index - 1] if index else None
            reported = [(s.acquired_at_ns, out[0][name]) for s, out in left if out and name in out[0]]
            fresh = previous is None or name not in previous.values or not reported
            if (
                rule is None
                or fresh
                or abs(value - reported[-1][1]) > rule.deadband
                or not 0 <= sample.acquired_at_ns - reported[-1][0] < rule.at_least_every_s * SECOND
            ):
                values[name] = value
        left.append((sample, (values, sample.bad) if values or sample.bad else None))
    return [out for _, out in left]


point = st.none() | st.integers(0, 20).map(float) | st.just(Reason.DECODE)


@st.composite
def histories(draw):
    now, samples = 0.0, []
    for _ in range(draw(st.integers(0, 12))):
        now += draw(st.sampled_from([0.5, 1, 3, 9.5, 10, -2]))
        given_points = {name: draw(point) for name in RULES}
        samples.append(
            at(
                now,
                {name: v for name, v in given_points.items() if isinstance(v, Reason)},
                **{name: v for name, v in given_points.items() if isinstance(v, float)},
            )
        )
    return samples


@given(histories())
def test_what_leaves_is_what_a_naive_model_lets_out_and_the_rest_is_counted(samples):
    counters = Counters()
    reporter = Reporter(profile(RULES), counters)
    left = [reporter.report(sample) for sample in samples]
    expected = [out for sample, out in zip(samples, naive(samples), strict=True) if sample.values or sample.bad]
    found = [
        (out.values, out.bad) if out else None
        for sample, out in zip(samples, left, strict=True)
        if sample.values or sample.bad
    ]
    assert found == expected
    kept = sum(len(out.values) for out in left if out)
    assert counters.get("report.suppressed_values") == sum(len(sample.values) for sample in samples) - kept


def reported(*samples, rules=RULES):
    reporter = Reporter(profile(rules), Counters())
    return [out and out.values for out in map(reporter.report, samples)]


def test_a_value_within_the_deadband_stays_out_until_it_is_due():
    found = reported(*(at(t, slow=v) for t, v in [(0, 10.0), (1, 15.0), (2, 5.0), (9.9, 10.0), (10, 10.0), (19, 10.1)]))
    assert found == [{"slow": 10.0}, None, None, None, {"slow": 10.0}, None]


def test_slow_drift_is_measured_from_what_was_reported_not_from_the_last_value():
    found = reported(*(at(t, slow=float(t * 2)) for t in range(5)))
    assert found == [{"slow": 0.0}, None, None, {"slow": 6.0}, None]


def test_bad_always_leaves_and_good_after_bad_is_news():
    reporter = Reporter(profile(RULES), Counters())
    reporter.report(at(0, slow=10.0))
    bad = reporter.report(at(1, {"slow": Reason.TIMEOUT}))
    assert bad.bad == {"slow": Reason.TIMEOUT}
    assert reporter.report(at(2, {"slow": Reason.TIMEOUT})).bad == {"slow": Reason.TIMEOUT}
    assert reporter.report(at(3, slow=10.0)).values == {"slow": 10.0}


def test_a_clock_that_is_set_back_reports_at_once():
    assert reported(at(100, slow=1.0), at(0, slow=1.0)) == [{"slow": 1.0}, {"slow": 1.0}]


@pytest.mark.parametrize("rules", [{"free": None}, RULES])
def test_a_point_without_a_rule_always_leaves(rules):
    assert reported(at(0, free=1.0), at(1, free=1.0), rules=rules) == [{"free": 1.0}] * 2
