"""5,000 connected gateways, each with a batch every 10 s: how long until it is stored, and how much memory that takes.

One ingest, one mosquitto, InfluxDB 1.6, nothing pinned. Each gateway has a connection, a will and a retained birth of
its own, closes its batch (one device, six points, ten samples) at a moment of its own and waits for its own
acknowledgement: the time is from the batch's close to that, so it holds the store's confirmation and the way back.

Then 1,000 of them lose their connections for what counts as a minute, and come back in the same instant, each with six
batches, while the others go on: without the jitter that the agent's reconnects have, so this is the worst case. At the
end the rows in the database are counted and compared with what was sent.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import statistics
import tempfile
import time
import urllib.parse
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from benchmarks import _stage
from benchmarks._gateways import PERIOD_S, SAMPLES, Fleet, Tally, need_files

if TYPE_CHECKING:
    from collections.abc import Callable

GATEWAYS: Final = 5000
HERD: Final = 1000
MEASURED_S: Final = 60.0
REPEATS: Final = 1
"""Thousands of batches make its percentiles."""
MISSED: Final = 6
"""Batches that each of the herd has made while it was cut off."""
CONNECTS_A_SECOND: Final = 500.0
ASKED_P99_S: Final = 2.0
ASKED_RSS_MB: Final = 300
ASKED_HERD_S: Final = 30.0
"""After so long an agent sends again what was not acknowledged, and the load would grow by itself."""
_SETTLE_S: Final = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What one run saw; times in seconds."""

    latencies: list[float]
    during_herd: list[float]
    """Of the others, from the herd's coming back until all of it was served."""
    served: float
    caught_up: float
    batches: int
    peak_rss_mb: float
    cpu_s: float
    """Of the ingest, while the latencies were measured."""


async def _drive(fleet: Fleet, ingest: int, *, herd: int, seconds: float, period_s: float) -> Seen:
    tally = fleet.tally
    await fleet.connect(fleet.gateways, a_second=CONNECTS_A_SECOND)
    await fleet.run(period_s, period_s=period_s)
    await fleet.settled(fleet.gateways, _SETTLE_S)
    tally.latencies_s.clear()
    before = _stage.cpu_s(ingest)
    await fleet.run(seconds, period_s=period_s)
    cpu_s = _stage.cpu_s(ingest) - before
    await fleet.settled(fleet.gateways, _SETTLE_S)
    latencies = tally.latencies_s[:]

    lost, of_lost = fleet.gateways[:herd], Tally()
    for gateway in lost:
        gateway.cut()
        gateway.tally = of_lost
    for missed in range(MISSED, 0, -1):
        for gateway in lost:
            gateway.close_batch(age_s=missed * PERIOD_S)
        await asyncio.sleep(0)
    owed = [(gateway, gateway.next_number) for gateway in lost]
    tally.latencies_s.clear()
    going_on = asyncio.create_task(fleet.run(_SETTLE_S, period_s=period_s), name="the others")
    try:
        started = time.monotonic()
        async with asyncio.timeout(_SETTLE_S):
            await fleet.connect(lost)
            for gateway in lost:
                await gateway.served.wait()
        served = time.monotonic() - started
        during = tally.latencies_s[:]
        await _until(lambda: not any(gateway.has_before(number) for gateway, number in owed))
        caught_up = time.monotonic() - started
    finally:
        going_on.cancel()
        await asyncio.gather(going_on, return_exceptions=True)
    await fleet.settled(fleet.gateways, _SETTLE_S)
    peak = _stage.peak_rss_mb(ingest)
    await fleet.leave()
    refused, hung_up = tally.refused + of_lost.refused, tally.hung_up + of_lost.hung_up
    if refused or hung_up:
        raise RuntimeError(f"{refused} refusals, {hung_up} connections closed by the broker")
    return Seen(
        latencies=latencies,
        during_herd=during,
        served=served,
        caught_up=caught_up,
        batches=tally.closed + of_lost.closed,
        peak_rss_mb=peak,
        cpu_s=cpu_s,
    )


async def _until(condition: Callable[[], bool]) -> None:
    """Return when `condition` holds. Raises TimeoutError."""
    deadline = time.monotonic() + _SETTLE_S
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {_SETTLE_S:g} s")
        await asyncio.sleep(0.02)


def measure(gateways: int, *, herd: int, seconds: float, period_s: float = PERIOD_S) -> Seen:
    """Run the load. Raises RuntimeError if a single row is missing, or one too many, in the database."""
    need_files(gateways)
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="campus-bench-")))
        influx = stack.enter_context(_stage.influxd(folder))
        mqtt = stack.enter_context(_stage.mosquitto(folder))
        ingest = stack.enter_context(_stage.ingest(folder, mqtt=mqtt, store=f"influx1://{influx}/many"))
        fleet = Fleet("::1", int(mqtt.rpartition(":")[2]), gateways)
        seen = asyncio.run(_drive(fleet, ingest.pid, herd=herd, seconds=seconds, period_s=period_s))
        stored = _count(influx)
    if stored != seen.batches * SAMPLES:
        raise RuntimeError(f"{stored} rows are in the database, {seen.batches * SAMPLES} were sent")
    return seen


def _count(influx: str) -> int:
    query = urllib.parse.urlencode({"db": "many", "q": 'SELECT count("co2") FROM "environment"'})
    with urllib.request.urlopen(f"http://{influx}/query?{query}", timeout=60) as answer:
        document = json.load(answer)
    return int(document["results"][0]["series"][0]["values"][0][1])


def percentile(values: list[float], percent: int) -> float:
    """Return a percentile of at least two values."""
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]


def run() -> list[dict[str, Any]]:
    """Return the figures."""
    seen = measure(GATEWAYS, herd=HERD, seconds=MEASURED_S)
    name = f"{GATEWAYS:,} gateways, a batch each {PERIOD_S:g} s"
    share = 100 * seen.cpu_s / MEASURED_S
    curve = [[percent, round(percentile(seen.latencies, percent), 4)] for percent in range(1, 100)]
    return [
        _stage.no_more_than(
            f"{name}: batch closed to stored, p99",
            percentile(seen.latencies, 99),
            "s",
            ASKED_P99_S,
            compare="figure",
            curve=curve,
        ),
        _stage.told(f"{name}: the same, median", statistics.median(seen.latencies), "s", compare="figure"),
        _stage.no_more_than(f"{name}: peak memory of the ingest", seen.peak_rss_mb, "MB", ASKED_RSS_MB),
        _stage.told(f"{name}: CPU of the ingest", share, "% of a core"),
        _stage.no_more_than(
            f"{HERD:,} of them back in one instant, {MISSED} batches each: until each is served",
            seen.served,
            "s",
            ASKED_HERD_S,
        ),
        _stage.told("the same: until all that they had is stored", seen.caught_up, "s"),
        _stage.told(
            "the same: batch closed to stored of the others meanwhile, p99", percentile(seen.during_herd, 99), "s"
        ),
    ]


if __name__ == "__main__":
    for row in run():
        print({key: value for key, value in row.items() if key != "curve"})
