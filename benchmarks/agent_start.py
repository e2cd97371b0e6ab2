"""How soon a started agent tells something: from the exec of `edge-agent run` to its first batches at a real mosquitto.

The very first batch is the gateway's own row; the first reading of a device comes in one of class `open`. The
configuration is a typical classroom's (`_classroom.py`), keys, policy and consents included. Cold: the interpreter, the
libraries and our files have been thrown out of the kernel's page cache (needs root); warm: the run after another. Each
start begins with an empty buffer, as the first one does, and with compiled bytecode, as pip installs it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any, Final

from benchmarks import _classroom, _stage
from benchmarks._standin import Standin, standin

STARTS: Final = 5
BUDGET_S: Final = 1.5
_FORGET_PAGES: Final = "3"


def forget_pages() -> bool:
    """Throw the page cache away; false where that is not allowed."""
    os.sync()
    try:
        Path("/proc/sys/vm/drop_caches").write_text(_FORGET_PAGES)
    except OSError:
        return False
    return True


def start(config: Path, folder: Path, heard: Standin) -> tuple[float, float, float]:
    """Start the agent once; return seconds to its first batch, to the first with a reading, and its CPU s by then."""
    known = len(heard.arrivals)
    started = time.monotonic()

    def reading() -> float | None:
        return next((at for at, topic, _ in heard.arrivals[known:] if "/telemetry/open/" in topic), None)

    with _stage.agent(config, folder / "agent.log") as agent:
        _stage.wait_until(lambda: reading() is not None, "the first reading came")
        cpu = _stage.cpu_s(agent.pid)
        return heard.arrivals[known][0] - started, (reading() or 0.0) - started, cpu


def run() -> list[dict[str, Any]]:
    """Return the figures."""
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="campus-bench-")))
        mqtt = stack.enter_context(_stage.mosquitto(folder))
        heard = stack.enter_context(standin(mqtt))
        wires = stack.enter_context(_classroom.devices(folder))
        config = _classroom.configure(folder, wires, mqtt=mqtt)
        start(config, folder, heard)
        times: dict[str, list[tuple[float, float, float]]] = {"cold": [], "warm": []}
        for _ in range(STARTS):
            for kind in ("cold", "warm"):
                for left in ("buffer", "privacy"):
                    shutil.rmtree(folder / left, ignore_errors=True)
                if kind == "warm" or forget_pages():
                    times[kind].append(start(config, folder, heard))
    figures = []
    for kind, found in times.items():
        for place, what in enumerate(("first batch", "first reading of a device") if found else ()):
            name = f"agent of a classroom, {kind}: from exec to the {what} at the broker"
            figures.append(_stage.no_more_than(name, statistics.median(one[place] for one in found), "s", BUDGET_S))
    cpu = statistics.median(cpu for *_, cpu in times["warm"])
    return [*figures, _stage.no_more_than("the same, warm: CPU by then", cpu, "s", BUDGET_S)]


if __name__ == "__main__":
    for row in run():
        print(row)
