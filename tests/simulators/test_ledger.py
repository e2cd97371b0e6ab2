from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest

from simulators.ledger import (
    Journal,
    PlanHead,
    PlannedMeasurement,
    PlannedPresence,
    PlannedScene,
    SaidAudioSetup,
    SaidMeasurement,
    SaidScene,
    plan,
    read_camera,
    read_measurements,
    read_plan,
    write_plan,
)
from simulators.scenario import SCENARIOS
from simulators.spec import DeviceSpec

if TYPE_CHECKING:
    from pathlib import Path


def lines(seed: int, data: Path | None = None, seconds: float = 30) -> list[bytes]:
    specs = SCENARIOS["classroom"].specs(seed=seed, data=data)
    return list(plan(specs.values(), scenario="classroom", seed=seed, seconds=seconds))


def test_the_plan_is_equal_byte_for_byte_for_the_same_seed(tmp_path: Path) -> None:
    assert lines(1) == lines(1, tmp_path)
    assert lines(1) != lines(2)


def test_a_longer_plan_begins_like_a_shorter_one() -> None:
    shorter, longer = lines(1, seconds=20), lines(1, seconds=40)
    assert set(shorter[1:]) <= set(longer)


def test_the_plan_holds_every_device(tmp_path: Path) -> None:
    specs = SCENARIOS["classroom"].specs(seed=4)
    write_plan(tmp_path / "ledger.jsonl", specs.values(), scenario="classroom", seed=4, seconds=60)
    head, *records = read_plan(tmp_path / "ledger.jsonl")
    assert head == PlanHead(schema="campus.ledger/1", scenario="classroom", seed=4, seconds=60)
    measured = {item.device for item in records if isinstance(item, PlannedMeasurement)}
    tapped = {item.device for item in records if isinstance(item, PlannedPresence)}
    assert measured == {"r101-air", "r102-air", "hall-air"}
    assert tapped == {"gate-reader", "r101-reader"}
    for reader in tapped:
        refused = [item for item in records if isinstance(item, PlannedPresence) and item.device == reader]
        assert sum(item.refuses for item in refused) == 2


def test_a_plan_is_never_written_over(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    path.write_text("another run")
    with pytest.raises(FileExistsError):
        write_plan(path, [], scenario="classroom", seed=1, seconds=1)


def test_a_camera_s_journal_holds_scenes_and_who_set_up_sound(tmp_path: Path) -> None:
    path = tmp_path / "camera.jsonl"
    scene = SaidScene(device="camera", n=3, people=8, dark=True, fault="dark", at_ns=5)
    said = [scene, SaidAudioSetup(device="camera", at_ns=7)]
    with contextlib.closing(Journal(path)) as journal:
        for line in said:
            journal.write(line)
    assert read_camera(path) == said
    assert path.read_text().splitlines()[1] == '{"type":"audio_setup","device":"camera","at_ns":7}'


def test_the_plan_of_a_camera_can_be_read(tmp_path: Path) -> None:
    camera = DeviceSpec(kind="camera", name="camera")
    write_plan(tmp_path / "ledger.jsonl", [camera], scenario="x", seed=1, seconds=13)
    scenes = [item for item in read_plan(tmp_path / "ledger.jsonl") if isinstance(item, PlannedScene)]
    assert [item.n for item in scenes] == [1, 2, 3]


def test_the_journal_is_readable_line_by_line_while_it_is_written(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "air.jsonl"
    said = SaidMeasurement(device="air", seq=1, at_ns=2, values={"co2": 800.0}, delivered=True, fault=None)
    with contextlib.closing(Journal(path)) as journal:
        assert read_measurements(path) == []
        journal.write(said)
        assert read_measurements(path) == [said]
    with path.open("ab") as file:
        file.write(b'{"device":"air","se')
    assert read_measurements(path) == [said]
