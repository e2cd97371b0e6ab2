"""What an agent costs that has next to nothing to do: a typical classroom (`_classroom.py`), CPU by the kernel.

Three states: the sensors read each minute and no card comes, with a healthy broker; the same with no broker at all, so
that the agent tries to connect again and again and keeps all on disk; and the sensors at their own 1 s, for comparison.
Then the resident memory of each.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any, Final

from benchmarks import _classroom, _stage
from benchmarks._standin import standin

WARM_S: Final = 6.0
MEASURED_S: Final = 45.0
REPEATS: Final = 1
SLOW_S: Final = 60.0
BUDGET_SHARE: Final = 1.0
BUDGET_MB: Final = 60.0


def _measure(config: Path, folder: Path) -> tuple[float, float]:
    """Return percent of a core, and resident MB."""
    with _stage.agent(config, folder / "agent.log") as agent:
        time.sleep(WARM_S)
        started, cpu = time.monotonic(), _stage.cpu_s(agent.pid)
        time.sleep(MEASURED_S)
        share = 100 * (_stage.cpu_s(agent.pid) - cpu) / (time.monotonic() - started)
        return share, _stage.rss_mb(agent.pid)


def run() -> list[dict[str, Any]]:
    """Return the figures."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="campus-bench-")))
        broker = stack.enter_context(_stage.mosquitto(folder))
        stack.enter_context(standin(broker))
        wires = stack.enter_context(_classroom.devices(folder))
        figures = []
        for what, mqtt, period_s in (
            ("each minute", broker, SLOW_S),
            ("each minute, no broker", _classroom.NOBODY, SLOW_S),
            ("each second", broker, None),
        ):
            shutil.rmtree(folder / "buffer", ignore_errors=True)
            config = _classroom.configure(folder, wires, mqtt=mqtt, period_s=period_s)
            share, rss = _measure(config, folder)
            name = f"agent of a classroom, sensors read {what}"
            figures.append(_stage.no_more_than(f"{name}: CPU", share, "% of a core", BUDGET_SHARE))
            figures.append(_stage.no_more_than(f"{name}: memory", rss, "MB", BUDGET_MB))
        return figures


if __name__ == "__main__":
    for row in run():
        print(row)
