"""What one core takes through every stage of the agent, from the wire to the acknowledgement.

The whole program, `edge-agent run`, pinned to one core, reads 32 air boxes over Modbus TCP (shipped profile: seven
values a reading, two requests each, one report rule) as fast as they answer: sockets, driver, collector, judge, report
rules, gate, buffer, publisher, a real mosquitto. Boxes, broker and the stand-in that acknowledges are other processes.
Counted are the values in the batches that came, live, and were acknowledged; what the report rule left out is not. CPU
is the kernel's.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from benchmarks import _boxes, _stage
from benchmarks._standin import standin, values_in

if TYPE_CHECKING:
    from collections.abc import Iterator

BOXES: Final = 32
PERIOD_S: Final = 0.001
"""Shorter than a reading takes: each box is asked again as soon as it has answered."""
WARM_S: Final = 3.0
MEASURED_S: Final = 20.0
NEEDED_VALUES_S: Final = 20_000
_HEAD: Final = """
site = "bench"
gateway = "gw-1"
simulated = true
[mqtt]
url = "{mqtt}"
[buffer]
path = "{folder}/buffer"
[clock]
assume_synced = true
"""
_BOX: Final = """
[[link]]
name = "box-{number}"
kind = "tcp"
host = "::1"
port = {port}
[[device]]
name = "air-{number}"
room = "r{number}"
profile = "modbus/airbox_tcp"
link = "box-{number}"
period_s = {period_s}
"""


@contextlib.contextmanager
def boxes() -> Iterator[int]:
    """Run the boxes; yield their port."""
    running = subprocess.Popen([sys.executable, "-m", "benchmarks._boxes"], stdout=subprocess.PIPE, text=True)
    try:
        assert running.stdout is not None  # noqa: S101 - it is a pipe
        yield int(running.stdout.readline())
    finally:
        running.terminate()
        running.wait(10)
        assert running.stdout is not None  # noqa: S101
        running.stdout.close()


def configure(folder: Path, *, mqtt: str, port: int) -> Path:
    """Write the agent's settings; return their path."""
    path = folder / "agent.toml"
    each = "".join(_BOX.format(number=number, port=port, period_s=PERIOD_S) for number in range(BOXES))
    path.write_text(_HEAD.format(mqtt=mqtt, folder=folder) + each)
    return path


def run() -> list[dict[str, Any]]:
    """Return the figures."""
    core = max(os.sched_getaffinity(0))
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="campus-bench-")))
        mqtt = stack.enter_context(_stage.mosquitto(folder))
        heard = stack.enter_context(standin(mqtt))
        port = stack.enter_context(boxes())
        config = configure(folder, mqtt=mqtt, port=port)
        agent = stack.enter_context(_stage.agent(config, folder / "agent.log", core=core))
        time.sleep(WARM_S)
        heard.arrivals.clear()
        started, cpu = time.monotonic(), _stage.cpu_s(agent.pid)
        time.sleep(MEASURED_S)
        span_s, cpu_s, arrivals = time.monotonic() - started, _stage.cpu_s(agent.pid) - cpu, heard.arrivals[:]
        said = (folder / "agent.log").read_text()[-1500:]
    good, bad = values_in(arrivals)
    live = sum("/live" in topic for _, topic, _ in arrivals)
    if bad > 0.001 * good or live < 0.99 * len(arrivals) or not good:
        raise RuntimeError(f"{good} good values and {bad} bad, {live} of {len(arrivals)} batches live:\n{said}")
    name = f"agent, wire to broker, {_boxes.VALUES} values a reading"
    return [
        _stage.at_least(f"{name}: acknowledged on one core", good / span_s, "values/s", NEEDED_VALUES_S),
        _stage.at_least("the same, for a second of CPU", good / cpu_s, "values", NEEDED_VALUES_S),
    ]


if __name__ == "__main__":
    for row in run():
        print(json.dumps(row))
