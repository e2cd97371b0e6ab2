"""Two ingest workers of one share group (`$share`) beside one alone: how they divide the load, what a value costs each.

The broker hands each batch to one of them in turn. Database, broker, workers and the gateways' stand-in run where the
kernel puts them, so on a machine of two cores two workers are no faster than one: asked is that neither does more
than its part and that a value costs at most a quarter more CPU. CPU is the kernel's count for each whole process.
"""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from benchmarks import _batches, _stage

if TYPE_CHECKING:
    from collections.abc import Sequence

BATCHES: Final = 40 * _batches.GATEWAYS
ASKED_SHARE: Final = 100 / 1.2
"""The one with less has at least so many percent of the other's: within 20 %."""
ASKED_COST: Final = 0.8


def measure(names: Sequence[str], gateways: Sequence[Sequence[bytes]], store: str = "influx") -> dict[str, Any]:
    """Return each worker's stored values and CPU seconds, by name."""
    done: dict[str, Any] = {}
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="campus-bench-")))
        mqtt = stack.enter_context(_stage.mosquitto(folder))
        url = f"sqlite://{folder}/store.sqlite"
        if store == "influx":
            url = f"influx1://{stack.enter_context(_stage.influxd(folder))}/bench"
        group = "workers" if len(names) > 1 else ""
        with contextlib.ExitStack() as working:
            workers = {
                name: working.enter_context(_stage.ingest(folder, mqtt=mqtt, store=url, name=name, group=group))
                for name in names
            }
            before = {name: _stage.cpu_s(worker.pid) for name, worker in workers.items()}
            _batches.publish(mqtt, gateways)
            spent = {name: _stage.cpu_s(worker.pid) - before[name] for name, worker in workers.items()}
        # Stopped, so that the counters are written.
        for name in names:
            done[name] = (_stage.counters(folder, name).get("writer.stored_values", 0), spent[name])
    return done


def run() -> list[dict[str, Any]]:
    """Return the figures."""
    gateways, values = _batches.make_gateways(BATCHES)
    ((_, alone_s),) = measure(["alone"], gateways).values()
    two = measure(["worker-1", "worker-2"], gateways)
    stored = sorted(count for count, _ in two.values())
    if sum(stored) != values:
        raise RuntimeError(f"two workers stored {sum(stored)} values, {values} were sent")
    alone = 1e6 * alone_s / values
    cost = 1e6 * sum(spent for _, spent in two.values()) / values
    return [
        {
            "name": "two workers, one share group: values of the one with less, of the other's",
            "figure": round(100 * stored[0] / stored[1], 1),
            "unit": "%",
            "limit": round(ASKED_SHARE, 1),
            "ratio": round(stored[0] / stored[1] / (ASKED_SHARE / 100), 3),
        },
        _stage.no_more_than(
            "two workers, one share group: CPU a value, beside one worker's",
            cost,
            "µs",
            round(alone, 3),
            at_least=ASKED_COST,
            compare="ratio",
        ),
    ]


if __name__ == "__main__":
    for row in run():
        print(row)
