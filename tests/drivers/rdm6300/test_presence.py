"""Presences: repeats are one arrival, a gap ends it, a card there at opening is `resumed`."""

from drivers.rdm6300.presence import Presences

A, B = "0A00000001", "0A00000002"


def presences(**changes):
    return Presences(**({"confirm_frames": 2, "gap_s": 1.0, "opened_s": -100.0} | changes))


def see(watch, card, *times):
    found = (watch.sighting(card, now_s=t, now_ns=int(t * 1e9)) for t in times)
    return [arrival for arrival in found if arrival is not None]


def test_repeats_are_one_presence_and_its_time_is_the_first_frame():
    (arrival,) = see(presences(), A, *(10 + 0.065 * i for i in range(20)))
    assert (arrival.card, arrival.first_ns, arrival.resumed) == (A, 10_000_000_000, False)


def test_a_gap_ends_a_presence():
    assert len(see(presences(), A, 10.0, 10.1, 10.9, 11.8, 13.0, 13.1)) == 2


def test_one_frame_is_no_arrival_and_is_counted():
    watch = presences()
    assert see(watch, A, 10.0) == []
    assert see(watch, B, 12.0, 12.1) != []
    assert watch.unconfirmed == 1


def test_two_cards_side_by_side_are_two_presences():
    watch = presences()
    found = [a for i in range(10) for card in (A, B) for a in see(watch, card, 10 + 0.1 * i)]
    assert [arrival.card for arrival in found] == [A, B]


def test_a_card_that_lay_there_at_opening_is_resumed():
    watch = presences(opened_s=10.0)
    assert see(watch, A, 10.1, 10.2)[0].resumed
    assert not see(watch, B, 11.3, 11.4)[0].resumed


def test_a_card_that_lay_there_at_opening_is_resumed_also_when_it_is_confirmed_late():
    (arrival,) = see(presences(opened_s=10.0), A, 10.5, 11.2)
    assert arrival.resumed


def test_a_reader_that_sends_each_card_once_needs_no_second_frame():
    assert len(see(presences(confirm_frames=1), A, 10.0)) == 1
