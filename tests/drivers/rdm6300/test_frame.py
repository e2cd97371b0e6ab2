"""RDM6300 frames: the data sheet's card, the ID-12's ending, and garbage that never becomes a card."""

import random

from hypothesis import given
from hypothesis import strategies as st

from drivers.rdm6300.frame import FrameDecoder
from drivers.rdm6300.presence import Presences

DATA_SHEET = bytes.fromhex("02 36 32 45 33 30 38 36 43 45 44 30 38 03")
"""RDM6300 data sheet: card 62E3086CED, checksum 62^E3^08^6C^ED = 08."""


def frame_of(card: bytes) -> bytes:
    checksum = 0
    for byte in card:
        checksum ^= byte
    return b"\x02" + card.hex().upper().encode() + b"%02X" % checksum + b"\x03"


def test_golden_frame_of_the_data_sheet():
    assert FrameDecoder().feed(DATA_SHEET) == ["62E3086CED"]


def test_golden_frame_of_an_id_12():
    assert FrameDecoder().feed(DATA_SHEET[:-1] + b"\r\n\x03") == ["62E3086CED"]


def test_a_wrong_checksum_is_counted_not_read():
    decoder = FrameDecoder()
    assert decoder.feed(DATA_SHEET.replace(b"ED08", b"ED09")) == []
    assert decoder.checksum_errors == 1


def test_lower_case_and_short_frames_are_garbage():
    decoder = FrameDecoder()
    assert decoder.feed(DATA_SHEET.lower()) == []
    assert decoder.feed(b"\x02" + b"0" * 11 + b"\x03") == []
    assert decoder.garbage_bytes == 14 + 13


@given(st.lists(st.binary(min_size=5, max_size=5), max_size=8), st.data())
def test_any_cutting_into_pieces_gives_the_same_cards(cards, data):
    wire = b"".join(frame_of(card) for card in cards)
    decoder, found = FrameDecoder(), []
    while wire:
        size = data.draw(st.integers(1, len(wire)))
        found += decoder.feed(wire[:size])
        wire = wire[size:]
    assert found == [card.hex().upper() for card in cards]


@given(st.binary(max_size=200))
def test_garbage_never_crashes_and_every_byte_is_accounted_for(data):
    decoder = FrameDecoder()
    cards = decoder.feed(data + b"\x02")  # the STX ends whatever was unfinished
    read = sum(len(b) for b in data.split(b"\x02")) + data.count(b"\x02")
    taken = 14 * (len(cards) + decoder.checksum_errors)
    assert taken <= decoder.garbage_bytes + taken <= read + 2 * (len(cards) + decoder.checksum_errors)


@given(st.binary(min_size=5, max_size=5), st.binary(max_size=30))
def test_a_good_frame_after_garbage_is_read(card, noise):
    assert FrameDecoder().feed(noise + b"\x03" + frame_of(card))[-1:] == [card.hex().upper()]


def test_five_percent_corrupted_bytes_never_make_a_wrong_card_arrive():
    """The XOR alone lets some corrupted frames pass; two equal frames do not."""
    chance = random.Random(20)  # noqa: S311 - noise, repeatable
    decoder = FrameDecoder()
    presences = Presences(confirm_frames=2, gap_s=1.0, opened_s=-10.0)
    arrived, sightings, now_s = [], 0, 0.0
    for number in range(4000):
        card = number.to_bytes(5, "big")
        for _ in range(8):
            now_s += 0.065
            wire = frame_of(card)
            noisy = bytes(byte ^ chance.randrange(1, 256) if chance.random() < 0.05 else byte for byte in wire)
            for seen in decoder.feed(noisy):
                sightings += 1
                arrival = presences.sighting(seen, now_s=now_s, now_ns=int(now_s * 1e9))
                if arrival is not None:
                    arrived.append((number, arrival.card))
        now_s += 2.0
    assert all(int(card, 16) == number for number, card in arrived)
    assert len(arrived) > 3700  # two of eight frames whole: 96 %
    assert sightings < 4000 * 8 * 0.6
