"""The reader on a real pty, against the simulated one: each presence once, no card that was not there."""

import asyncio
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from device_profiles import load_profile
from drivers.rdm6300 import create, problems
from edge_agent.collector import DeviceState, listen
from telemetry.counters import Counters
from telemetry.driver import PollDriver, PushDriver
from telemetry.errors import ConfigError
from tests.drivers.helpers import context, running, serial
from tests.waiting import until

if TYPE_CHECKING:
    from telemetry.sample import Sample

PROFILE = "rfid/rdm6300"
CARDS = ["0A00000001", "0A00000002", "62E3086CED", "FFFFFFFFFF", "0000000000"]


@asynccontextmanager
async def listening(reader, counters=None, **options):
    """Yield (samples, state) of the reader, listened to as the agent does, once the port is open."""
    samples: list[Sample] = []
    state = DeviceState(device="gate")
    described = context("gate", PROFILE, counters, **options)

    async def emit(sample):
        samples.append(sample)

    async with (
        serial(reader.link, counters=counters) as link,
        running(listen(lambda: create(described, link), emit, state)),
    ):
        await until(lambda: link.is_open)
        yield samples, state, link


def cards_of(samples):
    return [sample.subject.identifier for sample in samples]


def ended(reader):
    return {said["n"] for said in reader.said()}


async def test_repeats_of_a_card_are_one_sample_with_the_time_of_its_first_frame(campus_device):
    reader = campus_device("rdm6300")
    async with listening(reader, gap_s=0.5, confirm_frames=8) as (samples, state, _):
        opened = time.monotonic()
        await until(lambda: time.monotonic() - opened > 0.55)  # until no card can be one that lay there before
        first = reader.present(CARDS[0], frames=12)
        await until(lambda: first in ended(reader))
        assert len(samples) == 1
        assert state.state == "up"
    (said,) = reader.said()
    (sample,) = samples
    assert (sample.device, sample.values, sample.bad, sample.resumed) == ("gate", {"presence": True}, {}, False)
    assert (sample.subject.kind, sample.subject.identifier) == ("card", CARDS[0])
    assert abs(sample.acquired_at_ns - said["first_ns"]) < 0.3e9  # the eighth frame came 0.45 s later


async def test_a_card_that_lies_there_while_the_agent_is_frozen_is_one_sample(campus_device):
    reader = campus_device("rdm6300")
    async with listening(reader, gap_s=0.4) as (samples, *_):
        opened = time.monotonic()
        await until(lambda: time.monotonic() - opened > 0.45)
        first = reader.present(CARDS[0], frames=8)
        await until(lambda: samples)
        time.sleep(0.6)  # noqa: ASYNC251 - this is the fault: nothing of this process runs, the rest of the tap waits
        await until(lambda: first in ended(reader))
        woken = time.monotonic()
        await until(lambda: time.monotonic() - woken > 0.5)
        assert len(samples) == 1
        again = reader.present(CARDS[0], frames=4)
        await until(lambda: again in ended(reader))
        await until(lambda: len(samples) >= 2)
    assert cards_of(samples) == [CARDS[0]] * 2
    assert abs(samples[1].acquired_at_ns - reader.said()[1]["first_ns"]) < 0.2e9


async def test_every_card_of_a_queue_is_one_sample(campus_device):
    reader = campus_device("rdm6300")
    async with listening(reader, gap_s=0.2) as (samples, *_):
        given = [reader.present(card, frames=3) for card in [*CARDS, CARDS[0]]]
        await until(lambda: set(given) <= ended(reader))
        await until(lambda: len(samples) == len(given))
    assert cards_of(samples) == [*CARDS, CARDS[0]]
    assert [said["card"] for said in reader.said()] == cards_of(samples)


async def test_a_tap_too_quick_for_two_frames_is_counted_not_stored(campus_device):
    reader, counters = campus_device("rdm6300"), Counters()
    async with listening(reader, counters, gap_s=0.2) as (samples, *_):
        reader.present(CARDS[0], frames=1)
        await until(lambda: len(ended(reader)) == 1)
        last = reader.present(CARDS[1], frames=6)
        await until(lambda: last in ended(reader))
        await until(lambda: counters.get("device.gate.unconfirmed_cards") == 1)
    assert cards_of(samples) == [CARDS[1]]


async def test_a_reader_that_sends_each_card_once_needs_one_frame(campus_device):
    reader = campus_device("rdm6300")
    async with listening(reader, confirm_frames=1) as (samples, *_):
        reader.present(CARDS[0], frames=1)
        await until(lambda: samples)
    assert cards_of(samples) == [CARDS[0]]


async def test_corrupted_bytes_make_no_card_that_was_not_there(campus_device):
    reader, counters = campus_device("rdm6300", corrupt=0.05, seed=4), Counters()
    async with listening(reader, counters, gap_s=0.3) as (samples, *_):
        given = [reader.present(card, frames=10) for card in CARDS]
        await until(lambda: set(given) <= ended(reader), within_s=15)
    assert set(cards_of(samples)) <= set(CARDS)
    assert len(cards_of(samples)) >= 3
    assert counters.get("device.gate.garbage_bytes") + counters.get("device.gate.checksum_errors") > 0


async def test_unplugged_in_the_middle_and_plugged_in_again_is_marked_as_resumed(campus_device):
    reader = campus_device("rdm6300")
    async with listening(reader, gap_s=0.2) as (samples, state, link):
        opened = time.monotonic()
        await until(lambda: time.monotonic() - opened > 0.25)
        given = reader.present(CARDS[0], frames=60)
        await until(lambda: samples)
        reader.fault("unplug")
        await until(lambda: state.state == "down")
        reader.clear()
        replugged = time.monotonic()
        await until(lambda: len(samples) == 2)
        assert time.monotonic() - replugged < 2
        assert link.opened == 2
        assert given not in ended(reader)  # it lay there all the time
    assert cards_of(samples) == [CARDS[0], CARDS[0]]
    assert [sample.resumed for sample in samples] == [False, True]


async def test_a_reader_nobody_uses_is_up_while_its_port_is_open(campus_device):
    reader = campus_device("rdm6300")
    async with listening(reader) as (samples, state, link):
        assert state.document()["state"] == "starting"
        state.link_open = lambda: link.is_open
        assert state.document() == {"state": "up", "last_sample_age_s": None, "error": None}
        reader.fault("unplug")
        await until(lambda: state.document()["state"] == "down")
        assert "bus" in state.document()["error"]
        reader.clear()
        await until(lambda: state.document()["state"] == "up")
    assert samples == []


async def test_the_driver_gives_its_port_back_when_it_is_cancelled(campus_device):
    reader = campus_device("rdm6300")
    async with serial(reader.link) as link:
        driver = create(context("gate", PROFILE), link)
        assert isinstance(driver, PushDriver)
        assert not isinstance(driver, PollDriver)
        waiting = asyncio.create_task(anext(driver.samples()))
        await until(lambda: link.is_open)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        async with asyncio.timeout(5), link.turn() as port:
            assert port.is_open


async def test_a_slow_disk_makes_no_second_presence_and_keeps_the_times(campus_device):
    """While a flash card takes its time over one event, the reader's frames wait; they were not late on the wire."""
    reader = campus_device("rdm6300")
    described = context("gate", PROFILE, gap_s=0.3)
    samples = []

    async def emit(sample):
        samples.append(sample)
        if len(samples) == 1:
            await asyncio.sleep(1.2)

    async with (
        serial(reader.link) as link,
        running(listen(lambda: create(described, link), emit, DeviceState(device="gate"))),
    ):
        await until(lambda: link.is_open)
        reader.present(CARDS[0], frames=10)
        second = reader.present(CARDS[2], frames=4)
        await until(lambda: second in ended(reader), within_s=8)
        await until(lambda: len(samples) >= 2)
        await asyncio.sleep(0.3)
    assert cards_of(samples) == [CARDS[0], CARDS[2]]
    said = {one["card"]: one["first_ns"] for one in reader.said()}
    assert all(abs(one.acquired_at_ns - said[one.subject.identifier]) < 0.5e9 for one in samples)


async def test_no_card_number_stands_in_a_log_or_a_counter(campus_device, caplog):
    caplog.set_level("DEBUG")
    reader, counters = campus_device("rdm6300"), Counters()
    async with listening(reader, counters) as (samples, *_):
        reader.present(CARDS[2], frames=4)
        await until(lambda: samples)
        reader.fault("unplug")
    assert CARDS[2] not in caplog.text
    assert CARDS[2] not in str(counters.snapshot())
    assert CARDS[2] not in repr(samples)


def test_options_and_points_are_checked():
    profile = load_profile(PROFILE)
    found = problems(profile, {"confirm_frames": 0, "gap": 1}, "[[device]] gate: options")
    assert {problem.where for problem in found} == {
        "[[device]] gate: options.confirm_frames",
        "[[device]] gate: options.gap",
    }
    wrong = problems(load_profile("modbus/senseair_s8"), {}, "x")
    assert ["presence" in problem.mend for problem in wrong] == [True]
    assert problems(profile, dict(profile.options), "x") == []
    with pytest.raises(ConfigError, match="gap_s"):
        create(context("gate", PROFILE, gap_s=-1), None)
