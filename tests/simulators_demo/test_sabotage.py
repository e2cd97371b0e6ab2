from __future__ import annotations

import json
from typing import Any

import pytest

from simulators.demo.frames import Publish
from simulators.demo.sabotage import Sabotage, Saboteur
from telemetry.batch import decode_batch, pack, unpack

CARDS = ["3F00123456", "0A0B0C0D0E"]


def publish(number: int, *, samples: int = 3, data_class: str = "open") -> Publish:
    device: dict[str, Any] = {
        "device": "r101-air",
        "room": "r101",
        "profile": "modbus/multisensor_6in1@1.0.0",
        "measurement": "environment",
        "quantities": {"co2": "co2", "sequence": "counter"},
        "samples": [
            {"acquired_at_ns": 1_000 + index, "values": {"sequence": 7.0 + index, "co2": 500.0}}
            for index in range(samples)
        ],
    }
    if data_class == "personal":
        device["samples"] = [{"acquired_at_ns": 1_000, "values": {"presence": True}, "subject": "ab" * 16}]
    batch = {
        "schema": "campus.batch/1",
        "site": "demo",
        "gateway": "gw",
        "epoch": "0123456789abcdef",
        "batch": number,
        "class": data_class,
        "devices": [device],
    }
    topic = f"campus/v1/demo/gw/telemetry/{data_class}/live"
    return Publish(head=0x32, topic=topic, middle=b"\x00\x01", payload=pack(json.dumps(batch).encode()))


def samples(packet: Publish) -> list[Any]:
    return [sample for block in decode_batch(unpack(packet.payload)).devices for sample in block.samples]


def test_drop_removes_a_sample_and_keeps_the_batch() -> None:
    harmed = Saboteur(Sabotage.DROP, numbers=CARDS)(publish(1))
    assert [sample.acquired_at_ns for sample in samples(harmed)] == [1_001, 1_002]
    assert decode_batch(unpack(harmed.payload)).number == 1


def test_drop_leaves_a_batch_of_one_sample_alone() -> None:
    packet = publish(1, samples=1)
    assert Saboteur(Sabotage.DROP, numbers=CARDS)(packet) is packet


def test_dup_adds_a_copy_a_little_later() -> None:
    harmed = samples(Saboteur(Sabotage.DUP, numbers=CARDS)(publish(1)))
    assert len(harmed) == 4
    assert harmed[-1].values == harmed[0].values
    assert harmed[-1].acquired_at_ns - harmed[0].acquired_at_ns == 3_000_000


def test_alter_changes_a_value_but_not_the_sequence() -> None:
    harmed = samples(Saboteur(Sabotage.ALTER, numbers=CARDS)(publish(1)))
    assert harmed[0].values == {"sequence": 7.0, "co2": 500.125}


def test_alter_changes_a_handle_where_there_is_no_number() -> None:
    harmed = samples(Saboteur(Sabotage.ALTER, numbers=CARDS)(publish(1, data_class="personal")))
    assert harmed[0].subject not in {None, "ab" * 16}


def test_leak_puts_a_card_number_into_a_field_that_the_ingest_ignores() -> None:
    harmed = Saboteur(Sabotage.LEAK, numbers=CARDS)(publish(1))
    assert any(card.encode() in unpack(harmed.payload) for card in CARDS)
    assert len(samples(harmed)) == 3


def test_each_class_has_its_turn() -> None:
    saboteur = Saboteur(Sabotage.ALTER, numbers=CARDS)
    packets = [publish(number, data_class=("open", "sensitive", "group")[number % 3]) for number in range(18)]
    harmed = [packet.topic.split("/")[-2] for packet in packets if saboteur(packet) is not packet]
    assert {name: harmed.count(name) for name in harmed} == {"open": 2, "sensitive": 2, "group": 2}


@pytest.mark.parametrize("kind", list(Sabotage))
def test_a_repeated_batch_is_harmed_in_the_same_way(kind: Sabotage) -> None:
    saboteur = Saboteur(kind, numbers=CARDS)
    first = [saboteur(publish(number)) for number in range(1, 8)]
    again = [saboteur(publish(number)) for number in range(1, 8)]
    assert [packet.payload for packet in again] == [packet.payload for packet in first]
    assert 0 < sum(a.payload != publish(n).payload for n, a in enumerate(first, 1)) < 7


def test_other_packets_pass_untouched() -> None:
    saboteur = Saboteur(Sabotage.ALTER, numbers=CARDS)
    for topic, payload in (
        ("campus/v1/demo/gw/status", b"{}"),
        ("other", b"x"),
        ("campus/v1/demo/gw/telemetry/open/live", b"not json"),
    ):
        packet = Publish(head=0x32, topic=topic, middle=b"\x00\x01", payload=payload)
        assert saboteur(packet) is packet
    assert saboteur.harmed == 0
