from __future__ import annotations

from typing import TYPE_CHECKING, Any

from simulators.demo import truth
from simulators.demo.scene import make_scene
from simulators.ledger import Journal, SaidBeat, SaidMeasurement, SaidPresence

if TYPE_CHECKING:
    from pathlib import Path

SCENE = make_scene("school", seed=1)


def said(seq: int, at_ns: int, values: dict[str, float], **change: Any) -> SaidMeasurement:
    fields = {"device": "hall-air", "delivered": True, "fault": None} | change
    return SaidMeasurement(seq=seq, at_ns=at_ns, values=values, **fields)


def test_several_replies_make_one_measurement() -> None:
    (reading,) = truth.measurements(
        [said(3, 10, {"sequence": 3.0, "co2": 500.0}), said(3, 20, {"sequence": 3.0, "noise": 40.0})], SCENE
    )
    assert reading.values == {"co2": 500.0, "noise": 40.0}
    assert (reading.sequence, reading.at_ns, reading.room, reading.unheard) == (3, 20, "hall", None)


def test_one_whole_delivery_is_enough_and_its_time_counts() -> None:
    lines = [
        said(3, 10, {"co2": 500.0}, delivered=False, fault="corruption"),
        said(3, 20, {"co2": 500.0}),
        said(3, 30, {"co2": 500.0}, fault="stall"),
    ]
    (reading,) = truth.measurements(lines, SCENE)
    assert (reading.unheard, reading.at_ns) == (None, 20)


def test_a_measurement_of_which_a_part_was_not_delivered_is_unheard() -> None:
    lines = [said(3, 10, {"co2": 500.0}), said(3, 20, {"noise": 40.0}, delivered=False, fault="unread")]
    (reading,) = truth.measurements(lines, SCENE)
    assert reading.unheard == "unread"


def test_taps_are_counted_by_card_and_know_who_refuses() -> None:
    reader = "gate-reader"
    common: dict[str, Any] = {"device": reader, "first_ns": 1, "last_ns": 9, "opened_ns": 2, "frames": 4, "fault": None}
    lines = [
        SaidPresence(n=1, card="A", confirmed_ns=5, delivered=True, refuses=False, **common),
        SaidPresence(n=2, card="B", confirmed_ns=5, delivered=True, refuses=True, **common),
        SaidPresence(n=3, card="A", confirmed_ns=None, delivered=False, refuses=False, **common),
    ]
    taps = truth.presences(lines, SCENE, handle=lambda card: f"handle-{card}")
    assert [(tap.handle, tap.ordinal, tap.withheld, tap.unheard) for tap in taps] == [
        ("handle-A", 1, None, None),
        ("handle-B", 1, "no_consent", None),
        ("handle-A", 2, None, "too short"),
    ]
    assert taps[2].confirmed_ns == 9


def test_each_life_of_a_device_has_its_own_sequences(tmp_path: Path) -> None:
    for folder, value in ((tmp_path, 500.0), (tmp_path / "life-2", 600.0)):
        journal = Journal(folder / "r101-air.jsonl")
        journal.write(said(1, 10, {"co2": value}, device="r101-air"))
        journal.close()
    assert sorted(reading.values["co2"] for reading in truth.readings(tmp_path, SCENE)) == [500.0, 600.0]
    assert truth.taps(tmp_path, SCENE, str) == truth.beats(tmp_path, SCENE, str) == []


def test_beats_know_their_wearers_and_what_was_not_delivered(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "gym-bands.jsonl")
    for wearer, fault in ((SCENE.bands[0], None), (SCENE.bands[45], None), (SCENE.bands[47], "hang")):
        journal.write(
            SaidBeat(
                device="gym-bands",
                band=wearer.band.name,
                identifier=wearer.identifier,
                n=3,
                at_ns=10,
                values={"heart_rate": 90.0},
                delivered=fault is None,
                fault=fault,
            )
        )
    journal.close()
    beats = truth.beats(tmp_path, SCENE, handle=lambda identifier: f"handle-{identifier}")
    assert [(beat.handle, beat.withheld, beat.unheard) for beat in beats] == [
        (f"handle-{SCENE.bands[0].identifier}", None, None),
        (f"handle-{SCENE.bands[45].identifier}", "no_consent", None),
        (f"handle-{SCENE.bands[47].identifier}", "unbound", "hang"),
    ]
    assert {(beat.device, beat.room, beat.number) for beat in beats} == {("gym-bands", "g1", 3)}
    assert truth.readings(tmp_path, SCENE) == []
