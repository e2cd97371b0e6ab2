from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulators.demo.verdict import (
    AGAIN,
    SECOND_NS,
    Conditions,
    Family,
    Outage,
    Reading,
    ReportRule,
    Tap,
)
from simulators.demo.verdict_attendance import judge_attendance
from simulators.demo.verdict_environment import judge_environment

T = 1_763_760_000 * SECOND_NS
PLAIN = Conditions(window_s=2.0)
BY_EXCEPTION = Conditions(window_s=2.0, rules={("air", "co2"): ReportRule(deadband=5.0, at_least_every_s=10.0)})


def reading(number: int, **change: Any) -> Reading:
    said = Reading(
        device="air",
        room="r1",
        sequence=number,
        at_ns=T + number * SECOND_NS,
        values={"co2": 500.0 + number, "temperature": 21.5},
    )
    return replace(said, **change)


def row(said: Reading, **change: Any) -> dict[str, Any]:
    stored = {
        "time_ns": said.at_ns + 40_000_000,
        "site": "s",
        "room": said.room,
        "device": said.device,
        "simulated": True,
        "sequence": float(said.sequence),
        **said.values,
    }
    return {name: value for name, value in (stored | change).items() if value is not ...}


def counts(family: Family) -> dict[str, Any]:
    assert sum(family.excused.values()) == family.unobserved
    return {name: count for name, count in family.counts().items() if count and name not in {"said", "excused"}}


def killed(at_s: float, up_s: float) -> Conditions:
    down = Outage(from_ns=int(T + at_s * SECOND_NS), until_ns=int(T + up_s * SECOND_NS), killed=True)
    return Conditions(window_s=2.0, outages=[down])


READINGS = [reading(number) for number in range(1, 7)]
ROWS = [row(said) for said in READINGS]


def test_everything_stored_is_everything_said() -> None:
    family = judge_environment(READINGS, ROWS, PLAIN)
    assert family.said == 12
    assert counts(family) == {"stored": 12}


def test_a_missing_row_is_lost() -> None:
    family = judge_environment(READINGS, ROWS[:2] + ROWS[3:], PLAIN)
    assert counts(family) == {"stored": 10, "lost": 2}
    assert "sequence 3" in family.notes[0]


def test_a_missing_value_is_lost() -> None:
    rows = [*ROWS[:5], row(READINGS[5], temperature=...)]
    assert counts(judge_environment(READINGS, rows, PLAIN)) == {"stored": 11, "lost": 1}


def test_a_copy_at_another_time_is_duplicated() -> None:
    copy = row(READINGS[2], time_ns=ROWS[2]["time_ns"] + 3_000_000)
    assert counts(judge_environment(READINGS, [*ROWS, copy], PLAIN)) == {"stored": 12, "duplicated": 2}


def test_a_changed_value_is_altered_but_not_its_way_through_text() -> None:
    rows = [row(READINGS[0], co2=501.0 * (1 + 1e-12)), row(READINGS[1], co2=502.125), *ROWS[2:]]
    assert counts(judge_environment(READINGS, rows, PLAIN)) == {"stored": 11, "altered": 1}


@pytest.mark.parametrize(
    "change",
    [{"time_ns": T + 9 * SECOND_NS}, {"time_ns": T - SECOND_NS}, {"room": "r2"}, {"simulated": ...}],
    ids=["late", "early", "room", "unmarked"],
)
def test_a_wrong_time_room_or_mark_is_altered(change: dict[str, Any]) -> None:
    assert counts(judge_environment([reading(1)], [row(reading(1), **change)], PLAIN)) == {"altered": 2}


STANDS = reading(3, again_ns=[T + 5 * SECOND_NS, T + 7 * SECOND_NS])
"""The sensor stands still: what it said at 3 s it says again at 5 and at 7 s."""


def stands(*times_s: float, **change: Any) -> list[dict[str, Any]]:
    return [row(STANDS, time_ns=T + int(at_s * SECOND_NS), **change) for at_s in times_s]


def test_a_standing_sensor_may_repeat_itself_once_to_each_new_process_of_the_agent() -> None:
    anew = killed(3.5, 4.5)
    frozen = replace(anew, outages=[replace(anew.outages[0], frozen=True)])
    twice = replace(anew, outages=[*anew.outages, *killed(5.5, 6.5).outages])
    stored, again = {"stored": 2}, {"repeated": 2}
    assert counts(judge_environment([STANDS], stands(3.1, 5.1), anew)) == stored | again
    assert counts(judge_environment([STANDS], stands(3.1, 5.1, 7.1), twice)) == stored | {"repeated": 4}
    for conditions in (PLAIN, frozen, killed(1, 2)):
        assert counts(judge_environment([STANDS], stands(3.1, 5.1), conditions)) == stored | {"duplicated": 2}
    for second in (stands(5.1, co2=1.0), stands(5.1, room="r2"), stands(5.1, simulated=...), stands(9.1)):
        judged = counts(judge_environment([STANDS], [*stands(3.1), *second], anew))
        assert judged == stored | {"duplicated": 2}
    # One more row than there were new processes.
    assert counts(judge_environment([STANDS], stands(3.1, 5.1, 7.1), anew)) == stored | again | {"duplicated": 2}


def test_a_standing_sensor_may_be_heard_only_when_it_repeats_itself() -> None:
    assert counts(judge_environment([STANDS], stands(7.1), killed(3.5, 4.5))) == {"stored": 2}
    assert counts(judge_environment([STANDS], stands(7.1), PLAIN)) == {"altered": 2}


def test_what_was_never_said_is_altered() -> None:
    strangers = [row(reading(99)), row(reading(1), device="other"), row(READINGS[0], sequence=...)]
    assert counts(judge_environment(READINGS, [*ROWS, *strangers], PLAIN)) == {"stored": 12, "altered": 6}
    assert counts(judge_environment(READINGS, [row(READINGS[0], pm10=3.0), *ROWS[1:]], PLAIN)) == {
        "stored": 12,
        "altered": 1,
    }


def test_what_nobody_heard_is_unobserved() -> None:
    said = [reading(1), reading(2, unheard="corruption"), reading(3)]
    family = judge_environment(said, [row(said[0]), row(said[2])], PLAIN)
    assert counts(family) == {"stored": 4, "unobserved": 2}


def test_a_reading_asked_for_again_at_once_is_unobserved() -> None:
    said = [reading(1), reading(2), reading(3, at_ns=T + int(2.4 * SECOND_NS))]
    rows = [row(said[0]), row(said[2])]
    second_ns = said[1].at_ns
    reasons = [
        {"sick": {"air": [(second_ns - 1, second_ns + 1)]}},
        {"outages": [Outage(from_ns=second_ns - SECOND_NS, until_ns=second_ns - 1, killed=False)]},
        {"outages": [Outage(from_ns=second_ns + 1, until_ns=second_ns + 2, killed=False, frozen=True)]},
    ]
    for reason in reasons:
        family = judge_environment(said, rows, Conditions(window_s=2.0, **reason))
        assert counts(family) == {"stored": 4, "unobserved": 2}
        assert family.excused == {AGAIN: 2}


def test_a_neighbour_that_spoke_too_late_is_a_reason_to_ask_again() -> None:
    said = [reading(1), reading(2), reading(3, at_ns=T + int(2.4 * SECOND_NS))]
    failed = {"time_ns": said[1].at_ns - SECOND_NS // 10, "device": "other", "co2_bad": "timeout"}
    family = judge_environment(said, [row(said[0]), row(said[2]), failed], PLAIN)
    assert (counts(family), family.excused) == ({"stored": 4, "unobserved": 2}, {AGAIN: 2})


@pytest.mark.parametrize(
    "conditions",
    [
        {},
        {"sick": {"other": [(0, 2 * T)]}},
        {"sick": {"air": [(0, T)]}},
        {"outages": [Outage(from_ns=T - 9 * SECOND_NS, until_ns=T, killed=False)]},
    ],
)
def test_who_was_well_is_not_asked_again(conditions: dict[str, Any]) -> None:
    """A reading that is followed soon by another one is lost, unless something went wrong there and then."""
    said = [reading(1), reading(2), reading(3, at_ns=T + int(2.4 * SECOND_NS))]
    family = judge_environment(said, [row(said[0]), row(said[2])], Conditions(window_s=2.0, **conditions))
    assert counts(family) == {"stored": 4, "lost": 2}


def test_a_card_laid_down_while_the_agent_is_frozen_is_no_excuse() -> None:
    """The kernel keeps what the reader says; who was killed cannot have it, who was frozen reads it later."""
    said = tap(1)
    down = Outage(from_ns=said.confirmed_ns - 1, until_ns=said.confirmed_ns + SECOND_NS, killed=False, frozen=True)
    frozen = Conditions(window_s=2.0, outages=[down])
    assert counts(judge_attendance([said], [], frozen)) == {"lost": 1}


def test_a_failed_reading_is_bad_and_each_bad_row_excuses_two_tries_only() -> None:
    bad = {"time_ns": T + 3 * SECOND_NS, "device": "air", "co2_bad": "timeout", "temperature_bad": "timeout"}
    said = [reading(number) for number in range(1, 6)]
    rows = [row(said[0]), bad, row(said[4])]
    assert counts(judge_environment(said, rows, PLAIN)) == {"stored": 4, "bad": 4, "lost": 2}


def test_a_bad_row_excuses_neither_what_was_said_after_it_nor_the_last_of_all() -> None:
    bad = {"time_ns": T + 3 * SECOND_NS, "device": "air", "co2_bad": "timeout", "temperature_bad": "timeout"}
    said = [reading(1), reading(4), reading(5)]
    assert counts(judge_environment(said, [row(said[0]), bad, row(said[2])], PLAIN)) == {"stored": 4, "lost": 2}
    assert counts(judge_environment([reading(1), reading(2)], [row(reading(1)), bad], PLAIN)) == {
        "stored": 2,
        "lost": 2,
    }


@pytest.mark.parametrize(("before_ms", "category"), [(100, "unobserved"), (-300, "unobserved"), (200, "lost")])
def test_bytes_in_a_port_that_is_unplugged_may_reach_nobody(before_ms: int, category: str) -> None:
    ends = {"air": [reading(2).at_ns + before_ms * 1_000_000], "door": [tap(1).confirmed_ns + before_ms * 1_000_000]}
    conditions = Conditions(window_s=2.0, ends=ends)
    said = [reading(1), reading(2)]
    assert counts(judge_environment(said, [row(said[0])], conditions)) == {"stored": 2, category: 2}
    assert counts(judge_attendance([tap(1)], [], conditions)) == {category: 1}


def test_a_single_bad_value_is_bad() -> None:
    rows = [row(READINGS[0], co2=..., co2_bad="out_of_range"), *ROWS[1:]]
    assert counts(judge_environment(READINGS, rows, PLAIN)) == {"stored": 11, "bad": 1}


def test_younger_than_the_window_at_the_kill_is_excused_and_no_more() -> None:
    conditions = killed(5.5, 7.0)  # the window reaches back to 3.5
    rows = [*ROWS[:2]]
    family = judge_environment(READINGS, rows, conditions)
    assert counts(family) == {"stored": 4, "lost": 2, "younger_than_w": 4, "unobserved": 2}


def test_a_stopped_agent_may_not_lose_what_is_young() -> None:
    down = Outage(from_ns=T + 5 * SECOND_NS + 1, until_ns=T + 7 * SECOND_NS, killed=False)
    conditions = Conditions(window_s=2.0, outages=[down])
    assert counts(judge_environment(READINGS, ROWS[:3], conditions)) == {"stored": 6, "lost": 4, "unobserved": 2}


def test_a_value_within_the_deadband_may_stay_out_for_a_while() -> None:
    said = [reading(number) for number in range(1, 14)]
    rows = [row(item) if number in {0, 6, 11} else row(item, co2=...) for number, item in enumerate(said)]
    family = judge_environment(said, rows, BY_EXCEPTION)
    # 1 reported; 2..6 within 5; 7 reported; 8..11 within 5; 12 reported; 13 within 5.
    assert counts(family) == {"stored": 13 + 3, "suppressed": 10}


@pytest.mark.parametrize(
    ("value", "at_s", "category"), [(505.0, 5, "suppressed"), (505.1, 5, "lost"), (500.0, 11, "lost")]
)
def test_beyond_deadband_or_time_a_missing_value_is_lost(value: float, at_s: int, category: str) -> None:
    said = [reading(1, values={"co2": 500.0}), reading(2, at_ns=T + (1 + at_s) * SECOND_NS, values={"co2": value})]
    rows = [row(said[0]), row(said[1], co2=...)]
    assert counts(judge_environment(said, rows, BY_EXCEPTION)) == {"stored": 1, category: 1}
    assert counts(judge_environment(said, rows, PLAIN)) == {"stored": 1, "lost": 1}


def test_after_a_bad_value_the_next_must_be_reported() -> None:
    said = [reading(number, values={"co2": 500.0}) for number in range(1, 4)]
    rows = [row(said[0]), row(said[1], co2=..., co2_bad="out_of_range"), row(said[2], co2=...)]
    assert counts(judge_environment(said, rows, BY_EXCEPTION)) == {"stored": 1, "bad": 1, "lost": 1}


def test_a_device_that_starts_again_counts_from_one_again() -> None:
    again = [reading(number, at_ns=T + (60 + number) * SECOND_NS, values={"co2": 700.0}) for number in (1, 2)]
    said = [reading(1), reading(2), *again]
    assert counts(judge_environment(said, [row(item) for item in said], PLAIN)) == {"stored": 6}


@given(st.sets(st.integers(1, 6)), st.sets(st.integers(1, 6)))
def test_every_value_said_is_in_exactly_one_category(missing: set[int], doubled: set[int]) -> None:
    rows = [row(said) for said in READINGS if said.sequence not in missing]
    copies = [row(said, time_ns=said.at_ns + 50_000_000) for said in READINGS if said.sequence in doubled - missing]
    family = judge_environment(READINGS, rows + copies, PLAIN)
    assert family.said == family.stored + family.lost
    assert family.lost == 2 * len(missing)
    assert family.duplicated == 2 * len(doubled - missing)


def tap(number: int, **change: Any) -> Tap:
    at_ns = T + number * 40 * SECOND_NS
    said = Tap(
        device="door",
        room="r1",
        handle="aa" * 16,
        ordinal=number,
        at_ns=at_ns,
        until_ns=at_ns + SECOND_NS // 2,
        confirmed_ns=at_ns + 80_000_000,
    )
    return replace(said, **change)


def event(said: Tap, **change: Any) -> dict[str, Any]:
    stored = {
        "time_ns": said.at_ns + 20_000_000,
        "site": "s",
        "room": said.room,
        "device": said.device,
        "subject": said.handle,
        "presence": True,
        "simulated": True,
    }
    return stored | change


TAPS = [tap(1), tap(2), tap(1, handle="bb" * 16)]


def test_every_tap_stored() -> None:
    family = judge_attendance(TAPS, [event(said) for said in TAPS], PLAIN)
    assert family.said == 3
    assert counts(family) == {"stored": 3}


def test_a_missing_doubled_altered_or_invented_tap_is_seen() -> None:
    events = [event(said) for said in TAPS]
    assert counts(judge_attendance(TAPS, events[1:], PLAIN)) == {"stored": 2, "lost": 1}
    twice = [*events, event(TAPS[0], time_ns=events[0]["time_ns"] + 3_000_000)]
    assert counts(judge_attendance(TAPS, twice, PLAIN)) == {"stored": 3, "duplicated": 1}
    other = [*events[:2], event(TAPS[2], subject="cc" * 16)]
    assert counts(judge_attendance(TAPS, other, PLAIN)) == {"stored": 2, "lost": 1, "altered": 1}
    late = [*events[:2], event(TAPS[2], time_ns=TAPS[2].at_ns + 5 * SECOND_NS)]
    assert counts(judge_attendance(TAPS, late, PLAIN)) == {"stored": 2, "lost": 1, "altered": 1}
    assert counts(judge_attendance(TAPS, [*events[:2], event(TAPS[2], presence=None)], PLAIN)) == {
        "stored": 2,
        "altered": 1,
    }


def test_a_refusing_persons_taps_are_withheld_and_a_row_of_him_is_a_leak() -> None:
    refusing = [tap(1, handle="dd" * 16, withheld="no_consent"), tap(2, handle="dd" * 16, withheld="no_consent")]
    events = [event(said) for said in TAPS]
    family = judge_attendance(TAPS + refusing, events, PLAIN)
    assert counts(family) == {"stored": 3, "withheld": {"no_consent": 2}}
    family = judge_attendance(TAPS + refusing, [*events, event(refusing[0])], PLAIN)
    assert family.leaked == 1
    assert family.broken == 1


def test_an_unconfirmed_tap_is_unobserved() -> None:
    assert counts(judge_attendance([tap(1, unheard="too short")], [], PLAIN)) == {"unobserved": 1}


@pytest.mark.parametrize(
    ("killed_after_ms", "category"), [(90, "younger_than_w"), (140, "lost"), (60, "unobserved"), (-500, "unobserved")]
)
def test_a_tap_is_safe_fifty_milliseconds_after_its_confirmation(killed_after_ms: int, category: str) -> None:
    said = tap(1)
    down_ns = said.at_ns + killed_after_ms * 1_000_000
    conditions = Conditions(
        window_s=2.0, outages=[Outage(from_ns=down_ns, until_ns=down_ns + 5 * SECOND_NS, killed=True)]
    )
    family = judge_attendance([said], [], conditions)
    assert counts(family) == {category: 1}


@pytest.mark.parametrize(
    ("opened_ms", "category"), [(-1000, "lost"), (-30, "lost"), (-29, "unobserved"), (250, "unobserved")]
)
def test_a_card_taken_away_as_the_port_was_opened_may_be_missed(opened_ms: int, category: str) -> None:
    said = tap(1)
    said = replace(said, until_ns=said.at_ns + 300_000_000, opened_ns=said.at_ns + opened_ms * 1_000_000)
    assert counts(judge_attendance([said], [], PLAIN)) == {category: 1}


@pytest.mark.parametrize(
    ("opened_s", "again_s", "category"),
    [(1.4, 20, "unobserved"), (-0.1, 30, "unobserved"), (1.6, 20, "lost"), (1.4, 31, "lost"), (None, 20, "lost")],
)
def test_a_card_laid_again_as_the_port_was_opened_may_be_taken_for_one_that_lay_there(
    opened_s: float | None, again_s: int, category: str
) -> None:
    first, again = tap(1), tap(2, at_ns=tap(1).at_ns + again_s * SECOND_NS)
    opened_ns = None if opened_s is None else int(again.at_ns - opened_s * SECOND_NS)
    again = replace(again, confirmed_ns=again.at_ns + 1, until_ns=again.at_ns + SECOND_NS, opened_ns=opened_ns)
    assert counts(judge_attendance([first, again], [event(first)], PLAIN)) == {"stored": 1, category: 1}
    assert counts(judge_attendance([first, again], [], PLAIN))["lost"] >= 1


def test_what_lies_in_the_port_of_a_frozen_agent_goes_with_the_plug() -> None:
    frozen = Outage(from_ns=tap(1).at_ns, until_ns=tap(1).at_ns + 3 * SECOND_NS, killed=False, frozen=True)
    for pulled_s, category in ((2.0, "unobserved"), (3.1, "unobserved"), (3.2, "lost")):
        ends = {"door": [int(tap(1).at_ns + pulled_s * SECOND_NS)]}
        conditions = Conditions(window_s=2.0, outages=[frozen], ends=ends)
        assert counts(judge_attendance([tap(1)], [], conditions)) == {category: 1}


def test_a_card_still_lying_there_when_the_agent_is_back_is_stored_late() -> None:
    said = tap(1, until_ns=tap(1).at_ns + 8 * SECOND_NS)
    conditions = Conditions(
        window_s=2.0, outages=[Outage(from_ns=said.at_ns, until_ns=said.at_ns + 5 * SECOND_NS, killed=True)]
    )
    late = event(said, time_ns=said.at_ns + 6 * SECOND_NS)
    assert counts(judge_attendance([said], [late], conditions)) == {"stored": 1}
    assert counts(judge_attendance([said], [late], PLAIN)) == {"lost": 1, "altered": 1}
