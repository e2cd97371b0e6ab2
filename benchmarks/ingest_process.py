"""The whole `cloud-ingest run` process, fed with batches of about 1,000 values: CPU a value, values a second a core.

The ingest has a core for itself; database, broker and the gateways' stand-in share the other. CPU is the kernel's count
for the whole process (`/proc/PID/stat`: Python, its threads, system calls), so it covers MQTT, gzip, decoding,
validation, the memory of identities, line protocol, HTTP and acknowledgements. The database is InfluxDB 1.6, a process
of its own as in use. With SQLite the database works inside the ingest's process and is counted with it: told beside.
"""

from __future__ import annotations

import contextlib
import os
import statistics
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from benchmarks import _batches, _stage

if TYPE_CHECKING:
    from collections.abc import Sequence

BATCHES: Final = 48 * _batches.GATEWAYS
ROUNDS: Final = 3
ASKED_RATE: Final = 600_000
ASKED_US: Final = 2.0


def _measure(store: str, rounds: Sequence[Sequence[Sequence[bytes]]], values: int) -> tuple[float, float]:
    """Return (the best of values a second, the median of microseconds of CPU a value) of the rounds."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        raise RuntimeError("needs two cores: one for the ingest, one for everything else")
    mine, others = cores[0], cores[-1]
    rates, costs = [], []
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="campus-bench-")))
        mqtt = stack.enter_context(_stage.mosquitto(folder, core=others))
        if store == "influx":
            url = f"influx1://{stack.enter_context(_stage.influxd(folder, core=others))}/bench"
        else:
            url = f"sqlite://{folder}/store.sqlite"
        ingest = stack.enter_context(_stage.ingest(folder, mqtt=mqtt, store=url, core=mine))
        os.sched_setaffinity(0, {others})
        stack.callback(os.sched_setaffinity, 0, set(cores))
        for gateways in rounds:
            before = _stage.cpu_s(ingest.pid)
            rates.append(values / _batches.publish(mqtt, gateways))
            costs.append(1e6 * (_stage.cpu_s(ingest.pid) - before) / values)
    return max(rates), statistics.median(costs)


def run() -> list[dict[str, Any]]:
    """Return the figures."""
    gateways, values = _batches.make_gateways(BATCHES)
    rounds = [gateways, *(_batches.again(gateways, f"{number:016x}") for number in range(1, ROUNDS))]
    rate, cost = _measure("influx", rounds, values)
    _, sqlite_cost = _measure("sqlite", [[payloads[: len(payloads) // 4] for payloads in gateways]], values // 4)
    return [
        _stage.at_least("ingest process on one core, 1,000 values a batch", rate, "values/s", ASKED_RATE),
        _stage.no_more_than("ingest process, 1,000 values a batch: CPU a value", cost, "µs", ASKED_US),
        _stage.told("the same with SQLite, which works inside the process", sqlite_cost, "µs"),
    ]


if __name__ == "__main__":
    for row in run():
        print(row)
