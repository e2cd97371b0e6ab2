"""One class in a lesson: whole cells only, each pupil once, nobody moves, latecomers wait."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.groups.cells import draw
from edge_agent.groups.lesson import OPEN_MINUTES, START_MINUTES, ClassLesson, ClassMean

KEY = b"k" * 32


def names(count):
    return [f"{number:03d}" for number in range(count)]


def lesson(count, *, seen_from_start=True, first_minute=100, told_from=8):
    cells = draw(names(count), size=10, key=KEY, group="7-1")
    return ClassLesson(cells=cells, first_minute=first_minute, seen_from_start=seen_from_start, told_from=told_from)


def minute(state, number, rates):
    for member, rate in rates.items():
        assert state.note(member, number, rate, now_minute=number)
    return state.close(number)


def steady(members, rate=120.0):
    return dict.fromkeys(members, rate)


def test_the_mean_is_over_pupils_each_of_whom_counts_once():
    state = lesson(10)
    for member in names(10):
        for rate in (100.0,) * (9 if member == "000" else 1):
            state.note(member, 100, rate + 50 * (member != "000"), now_minute=100)
    assert state.close(100) == ClassMean(mean=145.0, pupils=10)


def test_a_cell_in_which_one_is_missing_is_left_out_as_a_whole():
    state = lesson(45)
    there = {member: 100.0 + int(member) for member in names(45)}
    everybody = minute(state, 100, there)
    assert everybody == ClassMean(mean=122.0, pupils=45)
    (cell,) = [cell for cell in state.cells if "007" in cell]
    rest = [member for member in names(45) if member not in cell]
    without = minute(state, 101, {member: rate for member, rate in there.items() if member != "007"})
    assert without == ClassMean(mean=round(sum(there[member] for member in rest) / len(rest)), pupils=45 - len(cell))


def test_one_missing_in_each_cell_leaves_nothing_to_tell():
    state = lesson(45)
    missing = {min(cell) for cell in state.cells}
    assert minute(state, 100, steady(set(names(45)) - missing)) is None
    assert minute(state, 101, steady(names(45))) is not None


def test_a_latecomer_waits_until_a_cell_is_whole_with_him():
    state = lesson(20)
    (cell,) = [cell for cell in state.cells if "000" in cell]
    assert minute(state, 100, steady(names(20)[1:])).pupils == 20 - len(cell)
    assert minute(state, 101, steady(names(20))).pupils == 20


@pytest.mark.parametrize("count", range(5, 8))
def test_fewer_than_eight_are_never_told(count):
    state = lesson(count)
    assert all(minute(state, number, steady(names(count))) is None for number in range(100, 115))


@pytest.mark.parametrize("count", range(8, 12))
def test_a_small_class_is_one_cell_of_those_who_came(count):
    state = lesson(count + 1)
    for number in range(100, 100 + START_MINUTES):
        assert minute(state, number, steady(names(count))) is None  # somebody may still come
    assert minute(state, 105, steady(names(count))).pupils == count
    assert minute(state, 106, steady(names(count + 1), 99.0)) == ClassMean(mean=99.0, pupils=count)  # he waits
    assert minute(state, 107, steady(names(count)[1:])) is None  # one has left: the difference would be he
    assert minute(state, 108, steady(names(count))).pupils == count


def test_a_small_class_that_is_complete_need_not_wait():
    assert minute(lesson(9), 100, steady(names(9))).pupils == 9


def test_a_small_class_is_not_told_after_a_restart_in_the_middle_of_the_lesson():
    state = lesson(12, seen_from_start=False, first_minute=80)
    assert minute(state, 100, steady(names(12))) is None
    assert minute(lesson(20, seen_from_start=False, first_minute=80), 100, steady(names(20))).pupils == 20


def test_readings_of_strangers_of_closed_and_of_coming_minutes_are_refused():
    state = lesson(10)
    assert not state.note("stranger", 100, 120.0, now_minute=100)
    assert not state.note("000", 101, 120.0, now_minute=100)
    assert not state.note("000", 100 - OPEN_MINUTES, 120.0, now_minute=100)
    assert minute(state, 100, steady(names(10))) is not None
    assert not state.note("000", 100, 200.0, now_minute=101)


@given(
    count=st.integers(0, 60),
    events=st.lists(st.tuples(st.integers(0, 59), st.integers(0, 40), st.floats(30, 240)), max_size=300),
)
def test_memory_is_two_minutes_of_the_class_whatever_comes(count, events):
    state = lesson(count)
    for pupil, later, rate in sorted(events, key=lambda event: event[1]):
        state.note(f"{pupil:03d}", 100 + later, rate, now_minute=100 + later)
        state.note(f"{pupil:03d}", 99 + later, rate, now_minute=100 + later)
        state.close(98 + later)
        assert len(state._minutes) <= OPEN_MINUTES
        assert all(len(members) <= count for members in state._minutes.values())


@given(count=st.integers(8, 60), there=st.lists(st.sets(st.integers(0, 59)), min_size=1, max_size=40))
def test_what_is_told_is_always_a_sum_of_whole_cells(count, there):
    """Why the attack fails, whoever comes and goes: the sets that are told are unions of the same cells."""
    state = lesson(count)
    rates = {member: 100.0 + int(member) for member in names(count)}
    seen = set()
    for number, pupils in enumerate(there, start=100):
        present = {f"{pupil:03d}" for pupil in set(range(count)) - pupils}
        answer = minute(state, number, {member: rates[member] for member in present})
        whole = [cell for cell in (state.cells if count >= 20 else [state._gathered or frozenset()]) if cell <= present]
        members = [member for cell in whole for member in cell]
        if answer is not None:
            seen.update(whole)
            assert answer == ClassMean(
                mean=round(sum(rates[member] for member in members) / len(members)), pupils=len(members)
            )
    assert all(len(cell) >= (10 if count >= 20 else 8) for cell in seen)
    assert sum(map(len, seen)) == len(frozenset().union(*seen))
