from __future__ import annotations

import re
from itertools import islice, pairwise, takewhile

from hypothesis import given
from hypothesis import strategies as st

from simulators.cards import APART_S, FRAME_PERIOD_S, Presence, presences, pupil_cards, refusing_card

SEEDS = st.integers(0, 2**32)


def end(presence: Presence) -> float:
    return presence.offset_s + presence.frames * FRAME_PERIOD_S


def within(seconds: float, seed: int, reader: str = "gate-reader", pupils: int = 60) -> list[Presence]:
    return list(takewhile(lambda item: item.offset_s < seconds, presences(seed=seed, reader=reader, pupils=pupils)))


@given(SEEDS)
def test_schedule(seed: int) -> None:
    planned = within(150, seed)
    assert [item.n for item in planned] == list(range(1, len(planned) + 1))
    assert 2.0 <= planned[0].offset_s < 3.0
    assert all(3 <= item.frames <= 8 and re.fullmatch("[0-9A-F]{10}", item.card) for item in planned)
    assert all(end(first) + 0.05 < second.offset_s for first, second in pairwise(planned)), "they do not overlap"
    assert 1.0 < 150 / len(planned) < 1.6
    ended: dict[str, float] = {}
    for item in planned:
        assert item.offset_s - ended.get(item.card, -1000.0) >= 35
        ended[item.card] = end(item)
    assert len(ended) < len(planned), "some come again"


@given(SEEDS, st.integers(2, 80))
def test_the_one_who_refuses_taps_twice_in_a_minute(seed: int, pupils: int) -> None:
    planned = within(60, seed, pupils=pupils)
    refused = [item for item in planned if item.refuses]
    assert len(refused) == 2
    assert {item.card for item in refused} == {refusing_card(seed, pupils)}
    assert all(item.refuses == (item.card == refusing_card(seed, pupils)) for item in planned)


def test_two_cards_may_follow_each_other_quickly() -> None:
    gaps = [second.offset_s - end(first) for first, second in pairwise(within(120, 1))]
    assert min(gaps) < 0.2


def test_it_depends_on_seed_and_reader_and_not_on_the_length() -> None:
    assert within(60, 1) == within(90, 1)[: len(within(60, 1))]
    assert within(60, 1) != within(60, 2)
    assert within(60, 1, "gate-reader") != within(60, 1, "r101-reader")


def test_few_pupils_go_on_for_ever_and_none_never_begin() -> None:
    alone = list(islice(presences(seed=1, reader="x", pupils=1), 5))
    assert all(second.offset_s - end(first) >= APART_S for first, second in pairwise(alone))
    assert list(presences(seed=1, reader="x", pupils=0)) == []


def test_cards_are_different() -> None:
    assert len(set(pupil_cards(3, 500))) == 500
