"""The units are sound and closed, as systemd itself judges them."""

from __future__ import annotations

import re
import subprocess
from configparser import ConfigParser
from pathlib import Path

import pytest

from tests.coverage_report import require_server

SYSTEMD = Path(__file__).parent.parent.parent / "systemd"
UNITS = sorted(SYSTEMD.glob("*.service"))
MOST_EXPOSURE = 2.0

pytestmark = pytest.mark.server("systemd-analyze")


def analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [require_server("systemd-analyze"), "--no-pager", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def unit_sections(unit: Path) -> ConfigParser:
    parser = ConfigParser(strict=False, interpolation=None, delimiters=("=",))
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(unit.read_text(encoding="utf-8"))
    return parser


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_exposure(unit: Path) -> None:
    # The offline check wants a path with a slash, and judges the unit with no manager running.
    result = analyze("security", "--offline=true", str(unit))
    found = re.search(r"Overall exposure level for \S+: (\d+\.\d+)", result.stdout)
    assert found, result.stdout + result.stderr
    assert float(found[1]) <= MOST_EXPOSURE, result.stdout


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
@pytest.mark.parametrize("with_drop_in", [False, True], ids=["plain", "drop-in"])
def test_verify(unit: Path, with_drop_in: bool, tmp_path: Path) -> None:
    # The program is not installed where the tests run: a stand-in, so that every other complaint counts.
    text, replaced = re.subn(r"(?m)^ExecStart=\S+", "ExecStart=/bin/true", unit.read_text(encoding="utf-8"))
    assert replaced == 1
    (tmp_path / unit.name).write_text(text, encoding="utf-8")
    if with_drop_in:
        folder = tmp_path / f"{unit.name}.d"
        folder.mkdir()
        sample = SYSTEMD / "examples" / "drop-ins" / f"{unit.stem}.conf"
        (folder / "network.conf").write_text(sample.read_text(encoding="utf-8"), encoding="utf-8")
    result = analyze("verify", "--man=no", str(tmp_path / unit.name))
    # Complaints about this machine's own units are none of ours.
    ours = [line for line in result.stderr.splitlines() if unit.name in line or str(tmp_path) in line]
    assert not ours, result.stderr


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_supervision(unit: Path) -> None:
    service = unit_sections(unit)["Service"]
    assert service["Type"] == "notify"
    assert service["NotifyAccess"] == "main"
    assert float(service["WatchdogSec"]) > 0
    assert service["Restart"] == "always"
    assert float(service["RestartSec"]) > 0
    # A wrong configuration is for a person to mend; trying again would only fill the log.
    assert "78" in service["RestartPreventExitStatus"].split()


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_memory_never_reaches_the_disk_as_a_core_dump(unit: Path) -> None:
    # Card numbers and keys are in it. A limit of 0 also holds for systemd-coredump.
    assert unit_sections(unit)["Service"]["LimitCORE"] == "0"


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_user_and_folders_are_made(unit: Path) -> None:
    service = unit_sections(unit)["Service"]
    users = (SYSTEMD / "sysusers.d" / "campus-edge.conf").read_text(encoding="utf-8")
    folders = (SYSTEMD / "tmpfiles.d" / "campus-edge.conf").read_text(encoding="utf-8")
    assert re.search(rf"(?m)^u {service['User']} ", users)
    _, secrets = service["LoadCredential"].split(":", 1)
    assert re.search(rf"(?m)^d {secrets} +0700 root root\b", folders)
    config = Path(service["ExecStart"].partition("--config ")[2])
    assert re.search(rf"(?m)^d {config.parent} +0750 root {service['Group']}\b", folders)
    # The sample points at the credentials of this very unit.
    sample = (SYSTEMD / "examples" / config.name).read_text(encoding="utf-8")
    assert f"/run/credentials/{unit.name}/secret_" in sample
    assert f"/var/lib/{service['StateDirectory']}" in sample
