"""The live tables: at 80 by 24 nothing is cut off below, and every family is there."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from rich.console import Console

from simulators.demo.options import DemoOptions
from simulators.demo.processes import Usage
from simulators.demo.scene import make_scene
from simulators.demo.view import live
from simulators.ledger import Journal, SaidBeat, SaidMeasurement

if TYPE_CHECKING:
    from pathlib import Path

LONG = dict.fromkeys(("co2", "humidity", "illuminance", "noise", "pm2_5", "temperature"), 1234.5)
SCENE = make_scene("school", seed=1)


def shown(tmp_path: Path, latest: dict[str, Any]) -> list[str]:
    names = ["broker", *(f"device:{link}" for link in SCENE.scenario.links), "ingest", "agent"]
    stage: Any = SimpleNamespace(
        began=time.monotonic(),
        console_url="http://127.0.0.1:8080/",
        options=DemoOptions(data=tmp_path),
        scene=SCENE,
        said=tmp_path,
        tap=SimpleNamespace(
            published=dict.fromkeys(SCENE.families, 12345),
            acknowledged=dict.fromkeys(SCENE.families, 12344),
            latest=latest,
        ),
        processes={
            name: SimpleNamespace(running=name != "device:bus-1", usage=Usage(rss_mb=30.5, cpu_s=1.25), helpers=Usage())
            for name in names
        },
    )
    console = Console(width=80, force_terminal=False)
    with console.capture() as captured:
        console.print(live(stage))
    return captured.get().splitlines()


def test_everything_fits_a_small_terminal(tmp_path: Path) -> None:
    lines = shown(tmp_path, dict.fromkeys(SCENE.rooms, (time.time_ns(), LONG)))
    assert len(lines) <= 24
    assert max(map(len, lines)) <= 80
    text = "\n".join(lines)
    for word in (*SCENE.families, *SCENE.rooms, "broker", "agent", "ingest", "12344"):
        assert word in text


def test_simulated_devices_are_one_row(tmp_path: Path) -> None:
    (row,) = [line for line in shown(tmp_path, {}) if line.startswith("devices")]
    assert row.split() == ["devices", "6", "of", "7", "running", "213.5", "8.75"]


def test_what_the_devices_said_is_counted_by_family(tmp_path: Path) -> None:
    air = Journal(tmp_path / "r101-air.jsonl")
    for at_ns in (1, 2):
        air.write(SaidMeasurement(device="r101-air", seq=1, at_ns=at_ns, values={}, delivered=True, fault=None))
    bands = Journal(tmp_path / "gym-bands.jsonl")
    for number in range(3):
        bands.write(
            SaidBeat(
                device="gym-bands",
                band="x",
                identifier="00",
                n=number,
                at_ns=1,
                values={},
                delivered=True,
                fault=None,
            )
        )
    air.close()
    bands.close()
    said = {cells[0]: cells[1] for line in shown(tmp_path, {}) if len(cells := line.split()) == 4}
    assert {name: said[name] for name in SCENE.families} == {
        "attendance": "0",
        "environment": "1",
        "vitals": "3",
        "occupancy": "0",
    }
