"""Days without broker or database: bounded memory and disk, nothing lost, and live values first afterwards."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from edge_agent.buffer import read_status
from tests.outage.outage import MB, Influxdb, Outage, Plan, Sqlite
from tests.outage.processes import Watched
from tests.servers import Server, free_port, influxd, make_influxd, make_mosquitto, mosquitto

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["influxd", "make_influxd", "make_mosquitto", "mosquitto"]
SHORT = Plan(gateways=2, devices=6, hours=6.0, step_s=20.0, fast_s=1.5, max_bytes=4_194_304)
LONG = Plan(gateways=20, devices=30, hours=72.0, step_s=60.0, fast_s=90.0, max_bytes=4_194_304)
LATEST_S = 2.0


async def play(outage: Outage, *, broker: bool) -> None:
    async with outage.running():
        await outage.healthy()
        await outage.out(broker=broker)
        await outage.hours_pass()
        await outage.back(broker=broker)
        await outage.drained()
        await outage.quiet()


def kept(outage: Outage, *, share: float = 0.0, strict: bool = False) -> None:
    """All that an outage must not do; unless `strict`, a busy machine may take its time with some live samples."""
    sys.stderr.write(f"{outage.report()}\n")  # shown with -s, and when something is wrong
    assert outage.wrong() == {}
    longest, number, unseen = outage.late()
    assert number > 0
    assert longest <= (LATEST_S if strict else 2 * LATEST_S)
    assert len(unseen) <= (0 if strict else number // 10), unseen
    assert max(gateway.grown for gateway in outage.gateways) < 10 * MB
    assert outage.ingest.grown < 50 * MB
    assert outage.counted("buffer.dropped") == 0
    for gateway in outage.gateways[1:]:
        assert share * gateway.max_bytes <= gateway.disk_peak <= gateway.max_bytes


async def some_hours(mosquitto: Server, folder: Path, *, broker: bool) -> None:
    store = Sqlite(folder / "store.sqlite")
    outage = Outage(folder, SHORT, mosquitto, store)
    await play(outage, broker=broker)
    kept(outage)
    assert outage.written_values == store.values(), "nothing was written twice"


@pytest.mark.server("mosquitto")
async def test_pain_10_some_hours_without_a_broker(mosquitto: Server, tmp_path: Path) -> None:
    await some_hours(mosquitto, tmp_path, broker=True)


@pytest.mark.server("mosquitto")
async def test_pain_09_some_hours_without_a_database(mosquitto: Server, tmp_path: Path) -> None:
    await some_hours(mosquitto, tmp_path, broker=False)


@pytest.mark.server("mosquitto")
async def test_pain_11_it_boots_without_a_broker_and_keeps_all_also_when_it_is_killed(
    mosquitto: Server, tmp_path: Path
) -> None:
    outage = Outage(tmp_path, replace(SHORT, gateways=1), mosquitto, Sqlite(tmp_path / "store.sqlite"))
    (agent,) = outage.gateways
    mosquitto.kill()
    agent.start()
    try:
        await outage.until(lambda: agent.started, 20)
        await outage.hours_pass()
        await asyncio.sleep(LATEST_S)
    finally:
        agent.kill()
    said = sum(phase.ticks for phase in agent.phases(2) or []) * 7 * len(agent.devices)
    assert read_status(agent.folder / "buffer", max_bytes=agent.max_bytes).values >= said


@pytest.mark.server("mosquitto")
async def test_pain_04_killed_while_it_drains_it_leaves_one_copy(mosquitto: Server, tmp_path: Path) -> None:
    store = Sqlite(tmp_path / "store.sqlite")
    outage = Outage(tmp_path, replace(SHORT, gateways=1, backfill_bytes_per_s=40_000), mosquitto, store)
    (agent,) = outage.gateways
    async with outage.running():
        await outage.healthy()
        await outage.out(broker=True)
        await outage.hours_pass()
        await outage.back(broker=True)
        agent.tell("quiet")
        await outage.until(lambda: agent.phases(3) is not None, 20)
        await asyncio.sleep(LATEST_S)  # what is said is on disk by now
        assert outage.waits(agent.name) > 0.1 * outage.plan.values, "too late to be killed"
        agent.kill()
        agent.start()
        await outage.quiet()
    assert outage.wrong() == {}
    assert outage.written_values == store.values(), "nothing was written twice"


async def until_it_ended(outage: Outage) -> None:
    async with outage.running():
        assert outage.ingest.process is not None
        outage.ingest.process.wait(10)


async def test_a_process_that_ends_by_itself_is_told(tmp_path: Path) -> None:
    nobody = Server(command=[], host="::1", port=free_port(), folder=tmp_path)
    outage = Outage(tmp_path, replace(SHORT, gateways=0), nobody, Sqlite(tmp_path / "store.sqlite"))
    outage.ingest = Watched("ingest", ["false"], tmp_path / "ingest")
    with pytest.raises(AssertionError, match="ingest ended"):
        await until_it_ended(outage)


@pytest.mark.long
@pytest.mark.timeout(450)
@pytest.mark.server("mosquitto", "influxd")
async def test_pain_10_three_days_without_a_broker(mosquitto: Server, influxd: Server, tmp_path: Path) -> None:
    outage = Outage(tmp_path, LONG, mosquitto, Influxdb(influxd))
    await play(outage, broker=True)
    kept(outage, share=0.7, strict=True)


@pytest.mark.long
@pytest.mark.timeout(450)
@pytest.mark.server("mosquitto", "influxd")
async def test_pain_09_three_days_without_a_database(mosquitto: Server, influxd: Server, tmp_path: Path) -> None:
    outage = Outage(tmp_path, LONG, mosquitto, Influxdb(influxd))
    await play(outage, broker=False)
    kept(outage, share=0.7, strict=True)
