from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulators.demo.verdict import SECOND_NS, Beat, Conditions, Family, Outage
from simulators.demo.verdict_vitals import judge_vitals

T = 1_763_760_000 * SECOND_NS
PLAIN = Conditions(window_s=2.0)
BANDS = ["aa" * 16, "bb" * 16]
REFUSES, NOBODY = "cc" * 16, "dd" * 16


def beat(number: int, **change: Any) -> Beat:
    said = Beat(
        device="gym",
        room="g1",
        handle=BANDS[0],
        number=number,
        at_ns=T + number * SECOND_NS,
        values={"heart_rate": 90.0 + number, "rr_interval": 0.625, "energy": number / 3600},
    )
    return replace(said, **change)


def row(said: Beat, **change: Any) -> dict[str, Any]:
    stored = {
        "time_ns": said.at_ns + 3_000_000,
        "site": "s",
        "room": said.room,
        "device": said.device,
        "subject": said.handle,
        "simulated": True,
        **said.values,
    }
    return {name: value for name, value in (stored | change).items() if value is not ...}


def counts(family: Family) -> dict[str, Any]:
    assert sum(family.excused.values()) == family.unobserved
    return {name: count for name, count in family.counts().items() if count and name not in {"said", "excused"}}


def killed(at_s: float, up_s: float, *, killed: bool = True) -> Conditions:
    down = Outage(from_ns=int(T + at_s * SECOND_NS), until_ns=int(T + up_s * SECOND_NS), killed=killed)
    return Conditions(window_s=2.0, outages=[down])


BEATS = [beat(number, handle=handle) for handle in BANDS for number in range(1, 5)]
ROWS = [row(said) for said in BEATS]


def test_everything_stored_is_everything_said() -> None:
    family = judge_vitals(BEATS, ROWS, PLAIN)
    assert family.said == 8
    assert counts(family) == {"stored": 8}


def test_a_missing_doubled_or_invented_reading_is_seen() -> None:
    assert counts(judge_vitals(BEATS, ROWS[1:], PLAIN)) == {"stored": 7, "lost": 1}
    copy = row(BEATS[0], time_ns=ROWS[0]["time_ns"] + 3_000_000)
    assert counts(judge_vitals(BEATS, [*ROWS, copy], PLAIN)) == {"stored": 8, "duplicated": 1}
    stranger = row(beat(99))
    assert counts(judge_vitals(BEATS, [*ROWS, stranger], PLAIN)) == {"stored": 8, "altered": 1}
    other = row(BEATS[0], subject="ee" * 16)
    assert counts(judge_vitals(BEATS, [other, *ROWS[1:]], PLAIN)) == {"stored": 7, "altered": 1, "lost": 1}


@pytest.mark.parametrize(
    "change",
    [
        {"heart_rate": 91.125},
        {"rr_interval": ..., "rr_interval_bad": "out_of_range"},
        {"battery": 87.0},
        {"time_ns": T + 9 * SECOND_NS},
        {"time_ns": T - SECOND_NS},
        {"room": "g2"},
        {"simulated": ...},
    ],
    ids=["value", "bad", "stranger", "late", "early", "room", "unmarked"],
)
def test_another_value_time_room_or_mark_is_altered(change: dict[str, Any]) -> None:
    family = judge_vitals([beat(1)], [row(beat(1), **change)], PLAIN)
    assert counts(family) == {"altered": 1}
    assert BANDS[0] not in repr(family.notes)


def test_a_row_without_a_number_was_never_said() -> None:
    assert counts(judge_vitals([beat(1)], [row(beat(1), energy=...)], PLAIN)) == {"altered": 1, "lost": 1}


def test_a_float_through_text_is_the_same() -> None:
    assert counts(judge_vitals([beat(7)], [row(beat(7), energy=7 / 3600 * (1 + 1e-12))], PLAIN)) == {"stored": 1}


def test_the_counter_may_wrap_and_a_radio_may_start_again() -> None:
    late = beat(0x10000 + 5, values={"heart_rate": 70.0, "rr_interval": 0.5, "energy": 5 / 3600})
    again = beat(5, at_ns=T + 60 * SECOND_NS)
    for said in ([beat(5), late], [beat(5), again]):
        assert counts(judge_vitals(said, [row(item) for item in said], PLAIN)) == {"stored": 2}


def test_what_was_not_delivered_is_unobserved() -> None:
    said = [beat(1), beat(2, unheard="hang"), beat(3, unheard="vanish")]
    assert counts(judge_vitals(said, [row(said[0])], PLAIN)) == {"stored": 1, "unobserved": 2}


def test_who_refuses_is_withheld_and_nobodys_bands_are_kept_apart() -> None:
    people = [beat(1, handle=REFUSES, withheld="no_consent"), beat(2, handle=REFUSES, withheld="no_consent")]
    nobody = [beat(1, handle=NOBODY, withheld="unbound")]
    family = judge_vitals([*BEATS, *people, *nobody], ROWS, PLAIN)
    assert counts(family) == {"stored": 8, "withheld": {"no_consent": 2, "unbound": 1}}
    for leaked in (people[0], nobody[0]):
        family = judge_vitals([*BEATS, *people, *nobody], [*ROWS, row(leaked)], PLAIN)
        assert (family.leaked, family.broken) == (1, 1)
        assert family.withheld == {"no_consent": 2, "unbound": 1}


def test_without_a_rule_everything_is_withheld_and_every_row_a_leak() -> None:
    nobody = beat(1, handle=NOBODY, withheld="unbound")
    refuses = beat(1, handle=REFUSES, withheld="no_consent")
    family = judge_vitals([*BEATS, nobody, refuses], [], PLAIN, closed=True)
    assert counts(family) == {"withheld": {"class_not_allowed": 9, "unbound": 1}}
    seen = {"time_ns": T, "device": "gym", "room": "g1", "simulated": True, "bands_seen": 4.0}
    family = judge_vitals(BEATS, [ROWS[0], seen, row(beat(1, handle="ee" * 16))], PLAIN, closed=True)
    assert family.leaked == 3


def test_younger_than_the_window_at_the_kill_is_excused_and_no_more() -> None:
    said = [beat(number) for number in range(1, 9)]
    rows = [row(said[number]) for number in (0, 1, 7)]
    family = judge_vitals(said, rows, killed(5.5, 7.0))  # the window reaches back to 3.5
    assert counts(family) == {"stored": 3, "lost": 1, "younger_than_w": 2, "unobserved": 2}
    family = judge_vitals(said, rows, killed(5.5, 7.0, killed=False))
    assert counts(family) == {"stored": 3, "lost": 3, "unobserved": 2}


def test_a_wrong_clock_excuses_nothing() -> None:
    """What is said then waits until the time is known, and is judged by the documents that are in force by it."""
    wrong = Conditions(window_s=2.0, wrong_clock=[(T, T + 9 * SECOND_NS)])
    assert counts(judge_vitals([beat(5)], [], wrong)) == {"lost": 1}


@pytest.mark.parametrize(("before_ms", "category"), [(40, "unobserved"), (60, "lost")])
def test_an_advert_in_the_air_when_the_agent_is_stopped(before_ms: int, category: str) -> None:
    said = beat(5, at_ns=T + 5 * SECOND_NS - before_ms * 1_000_000)
    assert counts(judge_vitals([said], [], killed(5, 7, killed=False))) == {category: 1}


def test_what_is_said_as_the_plug_is_pulled_may_or_may_not_be_withheld() -> None:
    said = beat(1, handle=REFUSES, withheld="no_consent")
    family = judge_vitals([said], [], Conditions(window_s=2.0, ends={"gym": [said.at_ns + 100_000_000]}))
    assert (counts(family), family.uncertain) == ({"unobserved": 1}, {"no_consent": 1})


@given(st.sets(st.integers(1, 4)), st.sets(st.integers(1, 4)))
def test_every_reading_is_in_exactly_one_category(missing: set[int], doubled: set[int]) -> None:
    rows = [row(said) for said in BEATS if said.number not in missing]
    copies = [row(said, time_ns=said.at_ns + 50_000_000) for said in BEATS if said.number in doubled - missing]
    family = judge_vitals(BEATS, rows + copies, PLAIN)
    assert family.said == family.stored + family.lost
    assert family.lost == 2 * len(missing)
    assert family.duplicated == 2 * len(doubled - missing)


def hall(bands: int, seconds: int, *, from_s: int = 0) -> list[Beat]:
    return [
        beat(number, handle=f"{band:032x}", at_ns=T + number * SECOND_NS + band * 20_000_000)
        for band in range(bands)
        for number in range(from_s, seconds)
    ]


def seen(at_s: float, count: float, **change: Any) -> dict[str, Any]:
    stored = {"time_ns": int(T + at_s * SECOND_NS), "device": "gym", "room": "g1", "simulated": True}
    return stored | {"bands_seen": count} | change


def judged(beats: list[Beat], counted: list[dict[str, Any]], conditions: Conditions = PLAIN) -> dict[str, Any]:
    return counts(judge_vitals(beats, [*(row(said) for said in beats if not said.unheard), *counted], conditions))


@pytest.mark.parametrize(("bands", "told"), [(1, 4), (4, 4), (5, 5), (48, 48)])
def test_how_many_bands_were_seen_is_told_right(bands: int, told: float) -> None:
    beats = hall(bands, 25)
    assert judged(beats, [seen(10, told), seen(20, told)]) == {"stored": len(beats), "aggregates": 2}
    assert judged(beats, [seen(10, told), seen(20, told + 1)]) == {"stored": len(beats), "aggregates": 1, "altered": 1}


def test_a_count_is_of_the_last_ten_seconds() -> None:
    beats = [*hall(9, 5), *hall(6, 25, from_s=5)]
    first, second = seen(10, 9), seen(20, 6)
    assert judged(beats, [first, second]) == {"stored": len(beats), "aggregates": 2}
    assert judged(beats, [seen(10, 6), seen(20, 9)]) == {"stored": len(beats), "altered": 2}


def test_bands_that_are_not_delivered_are_not_seen() -> None:
    beats = [*hall(5, 25), *(replace(said, handle=NOBODY, unheard="vanish") for said in hall(1, 25))]
    unobserved = {"stored": 125, "unobserved": 25}
    assert judged(beats, [seen(10, 5), seen(20, 5)]) == unobserved | {"aggregates": 2}
    assert judged(beats, [seen(10, 6), seen(20, 5)]) == unobserved | {"aggregates": 1, "altered": 1}


def test_missing_doubled_or_odd_counts_are_seen() -> None:
    beats = hall(5, 25)
    right = {"stored": 125}
    assert judged(beats, [seen(10, 5)]) == right | {"aggregates": 1, "lost": 1}
    assert judged(beats, [seen(10, 5), seen(10.003, 5), seen(20, 5)]) == right | {"aggregates": 2, "duplicated": 1}
    for change in ({"room": "g2"}, {"simulated": False}, {"heart_rate": 90.0}):
        assert judged(beats, [seen(10, 5), seen(20, 5, **change)]) == right | {"aggregates": 1, "altered": 1}


def test_an_agent_that_was_away_for_a_moment_counts_anew() -> None:
    beats = [said for said in hall(5, 30) if not 11 <= (said.at_ns - T) / SECOND_NS < 11.8]
    away = killed(11.0, 11.7, killed=False)
    stored = {"stored": len(beats)}
    assert judged(beats, [seen(10, 5), seen(21.8, 5)], away) == stored | {"aggregates": 2}
    assert judged(beats, [seen(10, 5)], away) == stored | {"aggregates": 1, "lost": 1}
    assert judged(beats, [seen(21.8, 5)], away) == stored | {"aggregates": 1}


def test_in_an_empty_hall_none_are_seen() -> None:
    silent = [replace(said, unheard="vanish") for said in hall(5, 25)]
    assert judged(silent, [seen(10, 0), seen(20, 0)]) == {"unobserved": 125, "aggregates": 2}
    assert judged(silent, [seen(10, 4), seen(20, 0)]) == {"unobserved": 125, "aggregates": 1, "altered": 1}
