"""What acknowledgements say of the time: believed when three agree, never when absurd, slow or jumping about."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edge_agent.clock import EARLIEST_NS
from edge_agent.publisher.evidence import TimeEvidence
from telemetry.counters import Counters

SECOND = 1_000_000_000
OFFSET = EARLIEST_NS + 1000 * SECOND


def heard(evidence: TimeEvidence, at_s: float, *, there_s: float = 0.1, back_s: float = 0.1, off_s: float = 0) -> int:
    """Ask at boot time `at_s`; the ingest answers after `there_s`, by a clock that is `off_s` wrong."""
    sent = int(at_s * SECOND)
    answered = sent + int(there_s * SECOND)
    received = answered + int(back_s * SECOND)
    evidence.add(OFFSET + answered + int(off_s * SECOND), sent_boot_ns=sent, received_boot_ns=received)
    return received


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 0.99)), min_size=3, max_size=12))
def test_pain_15_the_time_is_known_to_within_a_second_when_three_answers_agree(ways: list[tuple[float, float]]) -> None:
    evidence, now = TimeEvidence(Counters()), 0
    for number, (there_s, back_s) in enumerate(ways):
        assert number >= 3 or evidence.offset_ns(now) is None
        now = heard(evidence, 10.0 * number, there_s=there_s, back_s=back_s)
    found = evidence.offset_ns(now)
    assert found is not None
    assert abs(found - OFFSET) <= SECOND


def test_a_one_way_delay_is_half_the_round_trip_wrong_at_most() -> None:
    evidence = TimeEvidence(Counters())
    for number in range(3):
        now = heard(evidence, number, there_s=0.0, back_s=1.0)
    assert abs((evidence.offset_ns(now) or 0) - OFFSET) <= 0.51 * SECOND
    now = heard(evidence, 4, there_s=0.02, back_s=0.02)  # a quick one narrows it
    assert abs((evidence.offset_ns(now) or 0) - OFFSET) <= 0.03 * SECOND


def test_absurd_and_slow_answers_count_for_nothing() -> None:
    counters = Counters()
    evidence = TimeEvidence(counters)
    for number in range(9):
        heard(evidence, number, off_s=-3 * 365 * 86_400)
        heard(evidence, number, off_s=200 * 365 * 86_400)
        now = heard(evidence, number, there_s=1.5, back_s=1.0)
    assert evidence.offset_ns(now) is None
    assert counters.get("clock.absurd_answers") == 18
    assert counters.get("clock.slow_answers") == 9


def test_a_clock_that_jumps_about_is_not_believed() -> None:
    counters = Counters()
    evidence = TimeEvidence(counters)
    for number in range(12):
        now = heard(evidence, number, off_s=(number % 3) * 100)
        assert evidence.offset_ns(now) is None
    asked = counters.get("clock.answers_disagree")
    assert 0 < asked <= 12
    assert evidence.offset_ns(now) is None
    assert counters.get("clock.answers_disagree") == asked, "each answer counts once, however often one looks"


def test_an_ingest_whose_clock_was_mended_is_believed_again_after_three_answers() -> None:
    evidence = TimeEvidence(Counters())
    for number in range(8):
        now = heard(evidence, number, off_s=50)
    assert abs((evidence.offset_ns(now) or 0) - OFFSET - 50 * SECOND) < SECOND
    for number in range(8, 11):
        now = heard(evidence, number)
    assert abs((evidence.offset_ns(now) or 0) - OFFSET) < SECOND
