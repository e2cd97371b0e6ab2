from __future__ import annotations

import socket
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from simulators.launch import command, environment, launch, launch_all
from simulators.scenario import SCENARIOS
from simulators.spec import DeviceSpec, Ready, UnitSpec
from telemetry.errors import DeviceUnavailable

if TYPE_CHECKING:
    from simulators.held import Shelf

SENSOR = DeviceSpec(kind="modbus-rtu", name="bus", units=[UnitSpec(name="air", unit=1, model="multisensor_6in1")])


def outcome(spec: Any) -> tuple[int, str]:
    """Exit code and complaint of a device that is asked for by `spec`."""
    result = subprocess.run(
        command(),
        check=False,
        input=msgspec.json.encode(spec) + b"\n",
        env=environment(),
        capture_output=True,
        timeout=20,
    )
    return result.returncode, result.stderr.decode()


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"units": []}, "units: modbus-rtu needs at least one → give a unit"),
        ({"units": SENSOR.units * 2}, "there twice"),
        ({"units": [UnitSpec(name="air", unit=1, model="x")]}, "units.air: no model 'x' → choose one of multisensor"),
        ({"units": [UnitSpec(name="air", unit=0, model="multisensor_6in1")]}, "no unit 0 → choose 1 to 255"),
        ({"scenario": "war"}, "choose one of classroom"),
        ({"corrupt": 2.0}, "corrupt: 2.0 is out of range → choose 0 to 1"),
        ({"name": "a/b"}, "'a/b' is not a name"),
        ({"kind": "rdm6300"}, "rdm6300 has none"),
        ({"control": "/" + "x" * 150}, "longer than 100 bytes"),
        ({"link": "/etc/hostname"}, "/etc/hostname: is there and not a link of ours"),
    ],
)
def test_a_wrong_spec_is_refused_with_how_to_mend_it(change: dict[str, Any], complaint: str) -> None:
    code, said = outcome(msgspec.structs.replace(SENSOR, **change))
    assert (code, complaint in said) == (78, True), said
    assert "Traceback" not in said


def test_all_that_is_wrong_is_said_at_once() -> None:
    _, said = outcome(msgspec.structs.replace(SENSOR, units=[], seconds=-1, scenario="x"))
    assert said.count("→") == 3


def test_what_is_no_spec_is_refused() -> None:
    code, said = outcome({"kind": "toaster"})
    assert code == 78
    assert "toaster" in said


def test_an_address_that_is_taken() -> None:
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as taken:
        box = DeviceSpec(kind="modbus-tcp", name="box", units=SENSOR.units, port=taken.getsockname()[1])
        code, said = outcome(box)
    assert code == 69
    assert "address already in use" in said
    assert "Traceback" not in said


def test_a_journal_is_never_mixed_with_another(tmp_path: Path) -> None:
    (tmp_path / "air.jsonl").write_text("the truth of yesterday\n")
    code, said = outcome(msgspec.structs.replace(SENSOR, said=str(tmp_path)))
    assert code == 78
    assert "journal of another run" in said
    assert (tmp_path / "air.jsonl").read_text() == "the truth of yesterday\n"


def test_it_ends_with_whoever_started_it() -> None:
    code, said = outcome(SENSOR)
    assert (code, said) == (0, ""), "standard input closed after the spec"


def test_it_leaves_nothing_behind(device: Shelf, tmp_path: Path) -> None:
    (tmp_path / "dev").mkdir()
    sensor = device("modbus-rtu", name="r101", link=str(tmp_path / "dev"), said=str(tmp_path / "said"))
    assert sensor.link == str(tmp_path / "dev" / "usb-campus-sim-r101")
    private = Path(sensor.ready.control).parent
    assert private.is_dir()
    sensor.stop()
    assert not private.exists()
    assert list((tmp_path / "dev").iterdir()) == []
    assert (tmp_path / "said" / "r101.jsonl").exists()


def test_seconds(device: Shelf) -> None:
    sensor = device("modbus-rtu", seconds=0.2)
    assert sensor._process.wait(5) == 0


def test_ready_line(device: Shelf) -> None:
    box = device("modbus-tcp", name="hall", host="127.0.0.1")
    assert box.ready == Ready(
        kind="modbus-tcp",
        name="hall",
        endpoint=f"127.0.0.1:{box.port}",
        control=box.ready.control,
        pid=box._process.pid,
        devices=["hall"],
        host="127.0.0.1",
        port=box.port,
    )


async def test_launch(tmp_path: Path) -> None:
    process = await launch(msgspec.structs.replace(SENSOR, said=str(tmp_path)))
    try:
        assert process.endpoint == process.ready.link
        assert (await process.fault("silence", seconds=5))["faults"] == ["silence"]
        assert (await process.clear())["faults"] == []
        assert (await process.state())["devices"] == {"air": 0}
    finally:
        assert await process.stop() == 0
    assert not process.running


async def test_kill_is_sudden() -> None:
    process = await launch(SENSOR)
    assert await process.kill() == -9
    with pytest.raises(OSError, match=r"refused|No such"):
        await process.state()


async def test_launch_says_when_a_device_does_not_come() -> None:
    with pytest.raises(DeviceUnavailable, match="modbus-rtu 'bus' did not become ready"):
        await launch(msgspec.structs.replace(SENSOR, units=[]))


async def test_launching_several_is_all_or_nothing() -> None:
    with pytest.raises(DeviceUnavailable):
        await launch_all({"good": SENSOR, "bad": msgspec.structs.replace(SENSOR, units=[])})


def test_scenario_names_what_an_agent_needs(tmp_path: Path) -> None:
    scenario = SCENARIOS["classroom"]
    assert {(device.name, device.room, device.profile, device.unit) for device in scenario.devices} == {
        ("r101-air", "r101", "modbus/multisensor_6in1", 1),
        ("r102-air", "r102", "modbus/multisensor_6in1", 2),
        ("hall-air", "hall", "modbus/airbox_tcp", 1),
        ("gate-reader", "gate", "rfid/rdm6300", 0),
        ("r101-reader", "r101", "rfid/rdm6300", 0),
    }
    school = SCENARIOS["school"]
    assert school.devices[: len(scenario.devices)] == scenario.devices
    gym = school.specs(seed=7, data=tmp_path, hold=True)["gym-radio"]
    assert (gym.name, gym.bands, gym.hold, gym.link) == ("gym-bands", 48, True, "")
    specs = scenario.specs(seed=7, data=tmp_path, hold=True)
    assert [unit.name for unit in specs["bus-1"].units] == ["r101-air", "r102-air"]
    assert all(spec.hold and spec.pupils == 60 for spec in specs.values() if spec.kind == "rdm6300")
