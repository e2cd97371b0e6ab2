from __future__ import annotations

import os
import signal
import termios
import time
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulators.cards import presences
from simulators.control import Refusal
from simulators.ledger import read_presences
from simulators.rdm6300 import frame
from tests.simulators.conftest import opened, until

if TYPE_CHECKING:
    from pathlib import Path

    from simulators.held import HeldDevice, Shelf

CARD = "62E3086CED"
FRAME = bytes.fromhex("02 36 32 45 33 30 38 36 43 45 44 30 38 03")


def test_frame_of_the_data_sheet() -> None:
    assert frame(CARD) == FRAME


@given(st.binary(min_size=5, max_size=5))
def test_frames_have_fourteen_bytes_and_their_checksum(card: bytes) -> None:
    data = frame(card.hex())
    assert len(data) == 14
    digits = bytes.fromhex(data[1:-1].decode())
    assert digits[0] ^ digits[1] ^ digits[2] ^ digits[3] ^ digits[4] == digits[5]
    assert data == data.upper()


async def presented(reader: HeldDevice, card: str = CARD, frames: int = 4) -> dict[str, object]:
    """Lay a card on the reader and return its line in the journal."""
    number = reader.present(card, frames=frames)
    await until(lambda: any(line["n"] == number for line in reader.said()))
    return next(line for line in reader.said() if line["n"] == number)


async def test_a_card_repeats_every_65_ms(device: Shelf) -> None:
    reader = device("rdm6300", name="gate-reader")
    with opened(reader.endpoint) as port:
        began = time.time_ns()
        said = await presented(reader, frames=4)
        assert await port.read(100, within=0.1) == FRAME * 4
    # Three repetitions, and the 14 bytes of the last frame: 195 ms + 14.6 ms.
    assert said["last_ns"] - said["first_ns"] >= 205e6
    assert began <= said["first_ns"] < said["confirmed_ns"] < said["last_ns"]
    assert (said["device"], said["card"], said["frames"]) == ("gate-reader", CARD, 4)
    assert (said["delivered"], said["fault"], said["refuses"]) == (True, None, False)


async def test_a_card_that_nobody_hears_or_only_once_is_not_delivered(device: Shelf) -> None:
    reader = device("rdm6300")
    unheard = await presented(reader)
    assert (unheard["delivered"], unheard["fault"], unheard["confirmed_ns"]) == (False, "unheard", None)
    with opened(reader.endpoint):
        once = await presented(reader, frames=1)
        assert (once["delivered"], once["fault"]) == (False, None)
        assert (await presented(reader, frames=2))["delivered"]


async def test_two_clean_frames_must_reach_one_opening_of_the_port(device: Shelf) -> None:
    reader = device("rdm6300")
    with opened(reader.endpoint) as port:
        number = reader.present(CARD, frames=3)
        assert await port.read(14) == FRAME
    await until(reader.said)
    (said,) = reader.said()
    assert (said["n"], said["delivered"], said["fault"]) == (number, False, "unheard")


async def test_damage_makes_a_presence_undelivered(device: Shelf) -> None:
    reader = device("rdm6300", corrupt=1.0)
    with opened(reader.endpoint) as port:
        said = await presented(reader, frames=3)
        assert FRAME not in await port.read(42, within=0.1)
        assert (said["delivered"], said["fault"]) == (False, "corruption")
        reader.clear("corruption")
        reader.fault("drop", rate=1.0)
        assert (await presented(reader, frames=2))["fault"] == "drop"
        assert await port.read(1, within=0.05) == b""
        reader.clear()
        reader.fault("silence")
        silent = await presented(reader, frames=2)
        assert (silent["delivered"], silent["fault"], silent["frames"]) == (False, "silence", 0)


async def test_unplug(device: Shelf) -> None:
    reader = device("rdm6300")
    with opened(reader.endpoint) as port:
        reader.fault("unplug")
        assert await port.hung_up()
        assert (await presented(reader, frames=2))["fault"] == "unplug"
    reader.clear("unplug")
    with opened(reader.endpoint):
        assert (await presented(reader, frames=2))["delivered"]


async def test_the_seeded_schedule_is_played(device: Shelf) -> None:
    reader = device("rdm6300", name="gate-reader", seed=3, pupils=20, hold=True)
    planned = list(zip(presences(seed=3, reader="gate-reader", pupils=20), range(2), strict=False))
    with opened(reader.endpoint) as port:
        assert await port.read(1, within=0.05) == b"", "held until told to start"
        reader.begin()
        began = time.time_ns()
        for presence, _ in planned:
            assert await port.read(14 * presence.frames, within=6) == frame(presence.card) * presence.frames
        await until(lambda: len(reader.said()) == len(planned))
    for line, (presence, _) in zip(reader.said(), planned, strict=True):
        assert (line["n"], line["card"], line["refuses"]) == (presence.n, presence.card, presence.refuses)
        assert abs(line["first_ns"] - began - presence.offset_s * 1e9) < 0.3e9


async def test_a_presence_in_progress_is_journalled_when_the_reader_stops(device: Shelf, tmp_path: Path) -> None:
    reader = device("rdm6300", said=str(tmp_path / "said.jsonl"))
    with opened(reader.endpoint) as port:
        reader.present(CARD, frames=100)
        await port.read(14 * 3)
        reader.stop()
    (said,) = read_presences(tmp_path / "said.jsonl")
    assert said.delivered
    assert 3 <= said.frames < 100


def test_a_card_that_is_none_is_refused(device: Shelf) -> None:
    reader = device("rdm6300")
    for card in ("", "62E3", "62E3086CEDFF", "not a card"):
        with pytest.raises(Refusal):
            reader.present(card)
    with pytest.raises(Refusal, match="at least one frame"):
        reader.present(CARD, frames=0)


async def test_a_presence_in_progress_is_known_when_the_reader_is_killed(device: Shelf, tmp_path: Path) -> None:
    reader = device("rdm6300", said=str(tmp_path / "said.jsonl"))
    with opened(reader.endpoint) as port:
        ended = reader.present(CARD, frames=3)
        reader.present(CARD, frames=100)
        await port.read(14 * (3 + 3))
        os.kill(reader.ready.pid, signal.SIGKILL)
        await port.hung_up()
    first, killed = read_presences(tmp_path / "said.jsonl")
    assert (first.n, first.frames) == (ended, 3)
    assert killed.delivered
    assert 2 <= killed.frames < 100


async def test_frames_before_the_reader_threw_them_away_do_not_count(device: Shelf) -> None:
    reader = device("rdm6300")
    with opened(reader.endpoint) as port:
        number = reader.present(CARD, frames=3)
        await port.read(14, within=0.5)
        cleared_ns = time.time_ns()
        termios.tcflush(port.fd, termios.TCIFLUSH)
        await until(lambda: any(line["n"] == number for line in reader.said()))
    (said,) = reader.said()
    # One frame before; of the two after it the second confirms the card.
    assert said["opened_ns"] >= cleared_ns
    assert said["confirmed_ns"] == said["last_ns"]
