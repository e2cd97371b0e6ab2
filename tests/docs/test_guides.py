"""The guides, followed to the letter: every file they show is pasted into a copy of the repository and put to work."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from edge_agent.configuration import load_configuration

ROOT = Path(__file__).parent.parent.parent
GUIDES = ROOT / "docs" / "guides"
PARTS = ("telemetry", "drivers", "device_profiles", "edge_agent", "simulators", "tests")
REGISTERED = '    "rdm6300": "drivers.rdm6300",\n'
AGENT = """
site = "s"
gateway = "g"
[mqtt]
url = "mqtt://[::1]:1883"
[buffer]
path = "buffer"
[[link]]
name = "bus-1"
kind = "serial"
path = "/dev/ttyX"
"""


def run(folder: Path, *command: str) -> str:
    result = subprocess.run(
        [sys.executable, "-m", *command], cwd=folder, capture_output=True, text=True, timeout=110, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def followed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of the repository with the files of "write a driver"."""
    folder = tmp_path_factory.mktemp("clone")
    for part in PARTS:
        shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    text = (GUIDES / "write-a-driver.md").read_text(encoding="utf-8")
    files = re.findall(r"^`([\w/.]+)`:\n\n```\w+\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert len(files) == len(re.findall(r"^```", text, re.MULTILINE)) / 2 - 2, "two blocks are no files"
    for path, body in files:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(body, encoding="utf-8")
    (folder / "tests" / "drivers" / "pms5003" / "__init__.py").touch()
    (line,) = re.findall(r'^```python\n( +"pms5003": .*\n)```$', text, re.MULTILINE)
    registry = folder / "edge_agent" / "registry.py"
    known = registry.read_text(encoding="utf-8")
    assert known.count(REGISTERED) == 1
    registry.write_text(known.replace(REGISTERED, line + REGISTERED), encoding="utf-8")
    return folder


def test_the_drivers_own_tests_pass(followed: Path) -> None:
    run(followed, "pytest", "-q", "-p", "no:cacheprovider", "tests/drivers/pms5003", "tests/device_profiles")


def test_its_sample_passes_the_check(followed: Path) -> None:
    sample = (followed / "drivers" / "pms5003" / "sample.toml").read_text(encoding="utf-8")
    (followed / "agent.toml").write_text(AGENT + sample, encoding="utf-8")
    code = "from pathlib import Path; from edge_agent.configuration import load_configuration as load; "
    code += "print(*load(Path('agent.toml')).devices)"
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=followed, capture_output=True, text=True, timeout=60, check=False
    )
    assert result.stdout == "hall-dust\n", result.stderr


def test_its_style_is_ours(followed: Path) -> None:
    added = ("drivers/pms5003", "tests/drivers/pms5003", "edge_agent/registry.py")
    run(followed, "ruff", "check", "--no-cache", *added)
    run(followed, "ruff", "format", "--no-cache", "--check", *added)


@pytest.mark.long
def test_its_types_are_strict(followed: Path) -> None:
    run(followed, "mypy", "--cache-dir", str(followed / "types"), "-p", "drivers.pms5003")


def test_the_agent_toml_beside_the_simulators_is_sound(tmp_path: Path) -> None:
    text = (ROOT / "simulators" / "README.md").read_text(encoding="utf-8")
    (table,) = re.findall(r"^```toml\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    (tmp_path / "agent.toml").write_text(table, encoding="utf-8")
    assert set(load_configuration(tmp_path / "agent.toml").devices) == {"r101-air", "hall-air"}


def test_the_model_of_the_other_guide_passes_the_check(tmp_path: Path) -> None:
    text = (GUIDES / "add-a-device-model.md").read_text(encoding="utf-8")
    folders, profile, device = re.findall(r"^```toml\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    place = Path(re.findall(r"`(/etc/campus-edge/profiles/\S+\.toml)`", text)[0])
    (named,) = re.findall(r'\["(.*)"\]', folders)
    mine = tmp_path / place.relative_to(named)
    mine.parent.mkdir(parents=True)
    mine.write_text(profile, encoding="utf-8")
    (tmp_path / "agent.toml").write_text(folders.replace(named, str(tmp_path)) + AGENT + device, encoding="utf-8")
    found = load_configuration(tmp_path / "agent.toml").devices
    assert [point.name for point in found["r203-co2"].profile.points] == ["co2", "temperature"]
