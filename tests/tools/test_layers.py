"""Each row of the layering table has a contract that goes red: tried on a small tree with the real contracts."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
TREE = (
    "telemetry",
    "telemetry.sample",
    "device_profiles",
    "device_profiles.loader",
    "drivers",
    "drivers.camera_people",
    "drivers.camera_people.driver",
    "drivers.camera_people.worker",
    "drivers.camera_people.worker.detector",
    "drivers.links",
    "drivers.modbus",
    "drivers.rdm6300",
    "edge_agent",
    "edge_agent.agent",
    "edge_agent.buffer",
    "edge_agent.catalogue",
    "edge_agent.cli",
    "edge_agent.clock",
    "edge_agent.collector",
    "edge_agent.publisher",
    "edge_agent.registry",
    "edge_agent.settings",
    "cloud_ingest",
    "cloud_ingest.console",
    "cloud_ingest.console.app",
    "cloud_ingest.stores",
    "cloud_ingest.writer",
    "simulators",
    "simulators.demo",
    "simulators.devices",
)
ALLOWED = (
    ("device_profiles.loader", "telemetry.sample"),
    ("drivers.links", "telemetry.sample"),
    ("drivers.camera_people.driver", "drivers.links"),
    ("drivers.camera_people.worker.detector", "cv2"),
    ("drivers.camera_people.worker.detector", "onnxruntime"),
    ("drivers.modbus", "drivers.links"),
    ("edge_agent.collector", "edge_agent.settings"),
    ("edge_agent.buffer", "edge_agent.clock"),
    ("edge_agent.registry", "drivers.modbus"),
    ("edge_agent.agent", "edge_agent.registry"),
    ("edge_agent.agent", "edge_agent.buffer"),
    ("edge_agent.catalogue", "device_profiles.loader"),
    ("edge_agent.cli", "edge_agent.agent"),
    ("cloud_ingest.writer", "device_profiles.loader"),
    ("cloud_ingest.console.app", "nicegui"),
    ("simulators.devices", "device_profiles.loader"),
)
FORBIDDEN = (
    ("telemetry.sample", "device_profiles.loader"),
    ("telemetry.sample", "asyncio"),
    ("device_profiles.loader", "drivers.modbus"),
    ("drivers.modbus", "drivers.rdm6300"),
    ("drivers.camera_people.driver", "drivers.camera_people.worker.detector"),
    ("drivers.camera_people.driver", "numpy"),
    ("edge_agent.agent", "cv2"),
    ("drivers.links", "drivers.modbus"),
    ("drivers.modbus", "edge_agent.clock"),
    ("drivers.modbus", "device_profiles.loader"),
    ("edge_agent.collector", "edge_agent.buffer"),
    ("edge_agent.publisher", "edge_agent.agent"),
    ("edge_agent.settings", "edge_agent.buffer"),
    ("edge_agent.collector", "drivers.modbus"),
    ("edge_agent.agent", "drivers.modbus"),
    ("edge_agent.buffer", "device_profiles.loader"),
    ("edge_agent.agent", "cloud_ingest.writer"),
    ("edge_agent.cli", "simulators.demo"),
    ("cloud_ingest.writer", "edge_agent.clock"),
    ("cloud_ingest.writer", "nicegui"),
    ("simulators.devices", "drivers.modbus"),
    ("simulators.demo", "edge_agent.agent"),
    ("simulators.demo", "cloud_ingest.writer"),
)


def lint(folder: Path, imports: tuple[tuple[str, str], ...]) -> subprocess.CompletedProcess[str]:
    """Run the real contracts on a tree with just these imports, all of them under TYPE_CHECKING."""
    for module in TREE:
        package = folder / module.replace(".", "/")
        package.mkdir(parents=True, exist_ok=True)
        lines = [f"    import {imported}" for importer, imported in imports if importer == module]
        head = ["from typing import TYPE_CHECKING", "if TYPE_CHECKING:"] if lines else []
        (package / "__init__.py").write_text("\n".join([*head, *lines, ""]), encoding="utf-8")
    code = "import sys; from importlinter.cli import lint_imports_command; lint_imports_command()"
    command = [sys.executable, "-c", code, "--config", str(ROOT / "pyproject.toml"), "--no-cache"]
    # Only the small tree: the real packages may be installed here.
    environment = os.environ | {"PYTHONPATH": str(folder)}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60, check=False)


def test_what_the_table_allows(tmp_path: Path) -> None:
    ended = lint(tmp_path, ALLOWED)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "0 broken" in ended.stdout


@pytest.mark.parametrize("sabotage", FORBIDDEN, ids=" → ".join)
def test_what_the_table_forbids(sabotage: tuple[str, str], tmp_path: Path) -> None:
    ended = lint(tmp_path, (*ALLOWED, sabotage))
    assert ended.returncode == 1, ended.stdout + ended.stderr
    assert "broken" in ended.stdout


def test_a_new_module_of_the_agent_must_be_placed(tmp_path: Path) -> None:
    (tmp_path / "edge_agent").mkdir()
    (tmp_path / "edge_agent" / "extra.py").touch()
    ended = lint(tmp_path, ALLOWED)
    assert ended.returncode == 1
    assert "extra" in ended.stdout
