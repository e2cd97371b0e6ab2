from __future__ import annotations

import importlib
import os
import subprocess
import sys
import tomllib
from pathlib import Path

from simulators.launch import environment

OTHERS_TESTS = """
import os

import pytest

def test_synchronous(campus_device):
    sensor = campus_device("modbus-rtu", seed=7, name="r101")
    fd = os.open(sensor.endpoint, os.O_RDWR | os.O_NOCTTY)
    os.write(fd, bytes.fromhex("01 03 0000 0009 85CC"))
    reply = b""
    while len(reply) < 23:
        reply += os.read(fd, 100)
    os.close(fd)
    (said,) = sensor.said()
    assert said["values"]["co2"] == int.from_bytes(reply[7:9], "big")
    sensor.fault("silence", seconds=1)
    assert sensor.state()["faults"] == ["silence"]
    assert os.path.islink(sensor.link)

async def test_asynchronous(campus_device):
    reader, box = campus_device("rdm6300"), campus_device("modbus-tcp", host="127.0.0.1")
    assert box.endpoint == f"127.0.0.1:{box.port}"
    assert reader.present("62E3086CED") > 0

def test_wrong(campus_device):
    with pytest.raises(Exception, match="no model 'x'"):
        campus_device("modbus-rtu", model="x")
    with pytest.raises(Exception, match="No module named .* → install the extra camera-sim"):
        campus_device("camera")

pids = []

def test_makes(campus_device):
    pids.append(campus_device("rdm6300").ready.pid)

def test_all_are_stopped(campus_device):
    assert not os.path.exists(f"/proc/{pids[0]}")
"""
# What a project that only wants a simulated sensor has not installed.
NOT_INSTALLED = """
import sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {
            "cv2", "onnxruntime", "paho", "aiomqtt", "amqtt", "aiohttp", "serialx", "pymodbus", "av", "numpy", "skimage"
        }:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Refuse())
"""


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    # Without autoload, since where campus-edge is installed the plugin would be there twice. sitecustomize.py is found
    # by the tests and by the devices they start.
    variables = environment() | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTEST_ADDOPTS": ""}
    variables["PYTHONPATH"] = f"{folder}{os.pathsep}{variables['PYTHONPATH']}"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "simulators.pytest_plugin", "-p", "no:cacheprovider"]
    return subprocess.run(
        [*command, *arguments], check=False, cwd=folder, env=variables, capture_output=True, text=True, timeout=60
    )


def test_in_another_project_without_our_other_libraries(tmp_path: Path) -> None:
    (tmp_path / "test_theirs.py").write_text(OTHERS_TESTS)
    (tmp_path / "sitecustomize.py").write_text(NOT_INSTALLED)
    (tmp_path / "pytest.ini").write_text(
        "[pytest]\nasyncio_mode = auto\nasyncio_default_fixture_loop_scope = function\nfilterwarnings = error\n"
    )
    result = run(tmp_path, "-p", "pytest_asyncio.plugin")
    assert result.returncode == 0, result.stdout + result.stderr
    assert "5 passed" in result.stdout


def test_the_check_above_can_fail(tmp_path: Path) -> None:
    (tmp_path / "test_theirs.py").write_text("def test_it():\n    import aiomqtt\n")
    (tmp_path / "sitecustomize.py").write_text(NOT_INSTALLED)
    assert "ModuleNotFoundError: No module named 'aiomqtt'" in run(tmp_path).stdout


def test_importing_it_costs_next_to_nothing() -> None:
    script = (
        "import sys, pytest; before = set(sys.modules); import simulators.pytest_plugin; "
        "print(*sorted({name.split('.')[0] for name in set(sys.modules) - before}))"
    )
    result = subprocess.run(
        [sys.executable, "-c", script], check=True, env=environment(), capture_output=True, text=True, timeout=30
    )
    assert result.stdout.split() == ["simulators"]


def test_the_entry_point_is_registered() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    module = importlib.import_module(project["entry-points"]["pytest11"]["campus_sim"])
    assert module.campus_device
    assert Path(module.__file__).name == "pytest_plugin.py"
