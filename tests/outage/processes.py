"""The processes of an outage, and what each of them takes: resident memory and disk."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.outage.truth import Phase, devices_of, load

SITE = "school"
CONFIG = """
site = "{site}"
gateway = "{gateway}"
[mqtt]
url = "mqtt://{broker}"
backfill_bytes_per_s = {backfill_bytes_per_s}
[buffer]
path = "{folder}/buffer"
max_bytes = {max_bytes}
[health]
period_s = 0.5
[log]
level = "warning"
[[link]]
name = "bus"
kind = "serial"
path = "/dev/null"
"""
DEVICE = """
[[device]]
name = "{name}"
room = "r101"
profile = "modbus/multisensor_6in1"
link = "bus"
options = {{ unit = {unit} }}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How large the outage is."""

    gateways: int
    devices: int
    """Of each gateway; each says seven values a tick."""
    hours: float
    step_s: float
    """Between two ticks, by the accelerated clock."""
    fast_s: float
    """How long the hours take, if the machine is quick enough."""
    max_bytes: int
    """Cap of each buffer."""
    backfill_bytes_per_s: int = 64 * 1024

    @property
    def values(self) -> int:
        """Said in the outage."""
        return int(self.gateways * self.devices * 7 * self.hours * 3600 / self.step_s)


@dataclass(slots=True)
class Watched:
    """A process, and the most that it ever took."""

    name: str
    command: list[str]
    folder: Path
    process: subprocess.Popen[bytes] | None = None
    at_rest: int = 0
    peak: int = 0

    @property
    def log(self) -> str:
        """What it printed."""
        return (self.folder / "log").read_text(errors="replace")[-3000:]

    def start(self) -> None:
        """Start it in its folder."""
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                self.command, stdout=log, stderr=log, cwd=self.folder, env=os.environ | {"PYTHONPATH": str(Path.cwd())}
            )

    def look(self) -> None:
        """Note its memory; a process that ended by itself is an error."""
        if self.process is None:
            return
        assert self.process.poll() is None, f"{self.name} ended: {self.log}"
        rss = _rss_bytes(self.process.pid)
        self.peak = max(self.peak, rss)

    def rest(self) -> None:
        """Take what it has now for what it needs anyway."""
        assert self.process is not None
        self.at_rest = self.peak = _rss_bytes(self.process.pid)

    @property
    def grown(self) -> int:
        """By how many bytes it grew at most."""
        return self.peak - self.at_rest

    @property
    def cpu_s(self) -> float:
        """CPU that it took so far."""
        assert self.process is not None
        fields = Path(f"/proc/{self.process.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def kill(self) -> None:
        """Kill -9."""
        process, self.process = self.process, None
        assert process is not None
        process.kill()
        process.wait()

    def stop(self) -> None:
        """End it as the system would; it has 10 s."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


@dataclass(slots=True)
class Gateway(Watched):
    """An agent with its buffer."""

    devices: list[str] = field(default_factory=list)
    max_bytes: int = 0
    disk_peak: int = 0

    @classmethod
    def make(cls, folder: Path, number: int, plan: Plan, broker: str) -> Gateway:
        """Write its files."""
        folder.mkdir()
        name, devices = f"gw-{number:02d}", devices_of(number, plan.devices)
        # The first has the usual cap, and with it the largest files.
        max_bytes = plan.max_bytes if number else 2_000_000_000
        config = CONFIG.format(
            site=SITE,
            gateway=name,
            broker=broker,
            folder=folder,
            max_bytes=max_bytes,
            backfill_bytes_per_s=plan.backfill_bytes_per_s,
        )
        config += "".join(DEVICE.format(name=device, unit=unit) for unit, device in enumerate(devices, 1))
        (folder / "agent.toml").write_text(config, encoding="utf-8")
        told = {
            "devices": devices,
            "lag_s": plan.hours * 3600,
            "step_s": plan.step_s,
            "fast_s": plan.fast_s,
            "real_step_s": 0.5,
        }
        (folder / "plan.json").write_text(json.dumps(told), encoding="utf-8")
        command = [sys.executable, "-m", "tests.outage.agent", "run", "--config", str(folder / "agent.toml")]
        return cls(name, command, folder, devices=devices, max_bytes=max_bytes)

    def look(self) -> None:
        """Note memory and disk."""
        Watched.look(self)
        self.disk_peak = max(self.disk_peak, _disk_bytes(self.folder / "buffer"))

    def tell(self, name: str) -> None:
        """Make the file for which its clock or its devices wait."""
        (self.folder / name).touch()

    @property
    def started(self) -> bool:
        """Whether its devices have begun to speak."""
        return (self.folder / "speaking").exists()

    def phases(self, number: int) -> list[Phase] | None:
        """What was said up to the end of a phase; none while it is not over."""
        path = self.folder / f"phase-{number}.json"
        return load(path) if path.exists() else None


def _rss_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _disk_bytes(folder: Path) -> int:
    size = 0
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):
            size += path.stat().st_blocks * 512
    return size
