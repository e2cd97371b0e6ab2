"""Promise 1 under force: what is killed, stopped, cut or paused costs nothing but what is younger than W."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simulators.control import Request
from simulators.demo.options import DemoOptions
from simulators.demo.orchestra import Demo

if TYPE_CHECKING:
    from simulators.demo.report import Report
    from tests.servers import Server

W_VALUES = 3 * 6 * 3
"""What three devices with six points say in W, and the one reading that is on its way."""


def promise_kept(report: Report) -> None:
    assert report.reasons == []
    for family in report.families.values():
        assert family["lost"] == family["duplicated"] == family["altered"] == family["leaked"] == 0
        assert family["stored"] > 0


async def test_kill_9_of_agent_broker_ingest_and_database_in_turn(tmp_path: Path, influxd: Server) -> None:
    options = DemoOptions(
        data=tmp_path / "data", store=f"influx1://{influxd.authority}/demo", store_files=(influxd.folder,)
    )
    async with Demo(options) as demo:
        for name in ("agent", "broker", "ingest"):
            await asyncio.sleep(2.5)
            await demo.kill(name)
            await asyncio.sleep(1.5)
            await demo.start_process(name)
        await asyncio.sleep(2.5)
        influxd.kill()
        await asyncio.sleep(2.0)
        await asyncio.to_thread(influxd.start)
        await asyncio.sleep(3.0)
        report = await demo.finish()
    promise_kept(report)
    assert report.outages == ["agent killed", "broker killed", "ingest killed"]
    assert report.families["environment"]["younger_than_w"] <= W_VALUES
    assert report.withheld_by_agent is None


async def test_sigterm_of_agent_and_ingest_loses_nothing_at_all(tmp_path: Path) -> None:
    async with Demo(DemoOptions(data=tmp_path / "data", scenario="classroom")) as demo:
        for name in ("agent", "ingest", "agent"):
            await asyncio.sleep(2.0)
            assert await demo.stop(name) < 5
            await demo.start_process(name)
        await asyncio.sleep(2.5)
        report = await demo.finish()
    promise_kept(report)
    assert all(family["younger_than_w"] == 0 for family in report.families.values())


async def test_a_silent_then_cut_network_loses_nothing(tmp_path: Path) -> None:
    async with Demo(DemoOptions(data=tmp_path / "data", scenario="classroom", proxy=True)) as demo:
        assert demo.proxy is not None
        await asyncio.sleep(4.0)
        demo.proxy.pause()
        await asyncio.sleep(5.0)
        demo.proxy.resume()
        await asyncio.sleep(2.0)
        demo.proxy.cut(refuse=True)
        await asyncio.sleep(3.0)
        demo.proxy.resume()
        await asyncio.sleep(2.0)
        report = await demo.finish()
    promise_kept(report)
    assert all(family["younger_than_w"] == 0 for family in report.families.values())


async def test_sick_devices_cost_only_their_own_readings(tmp_path: Path) -> None:
    async with Demo(DemoOptions(data=tmp_path / "data", scenario="classroom", unobserved_share=0.7)) as demo:
        await asyncio.sleep(3.0)
        await demo.ask("bus-1", Request(op="fault", fault="corruption", rate=0.01, seconds=4.0))
        await demo.ask("hall-box", Request(op="fault", fault="stall", seconds=3.0))
        await demo.ask("gate-usb", Request(op="fault", fault="unplug", seconds=2.0))
        await asyncio.sleep(5.0)
        await demo.kill("device:hall-box")
        await demo.start_process("device:hall-box")
        await asyncio.sleep(4.0)
        report = await demo.finish()
    promise_kept(report)


def stored(demo: Demo, measurement: str, device: str) -> list[dict[str, Any]]:
    """The rows of one device, as a user asks for them."""
    program = str(Path(sys.executable).with_name("cloud-ingest"))
    options = ["--measurement", measurement, "--where", f"device={device}", "--last", "all", "--format", "json"]
    done = subprocess.run(
        [program, "query", "--store", demo.options.store_url, *options], capture_output=True, check=True
    )
    rows: list[dict[str, Any]] = json.loads(done.stdout)
    return rows


def sequences(rows: list[dict[str, Any]]) -> list[int]:
    return [int(row["sequence"]) for row in rows if row.get("sequence") is not None]


async def test_one_unplugged_one_silent_one_babbling_and_the_others_have_no_gap(tmp_path: Path) -> None:
    """What the store shows then: the healthy without a gap, the sick as bad with the reason, back within 2 s."""
    sick_s = 5.0
    async with Demo(DemoOptions(data=tmp_path / "data", scenario="classroom", unobserved_share=0.8)) as demo:
        await asyncio.sleep(3.0)
        began_ns = time.time_ns()
        await demo.ask("bus-1", Request(op="fault", fault="silence", device="r102-air", seconds=sick_s))
        await demo.ask("hall-box", Request(op="fault", fault="unplug", seconds=sick_s))
        await demo.ask("gate-usb", Request(op="fault", fault="corruption", rate=1.0, seconds=sick_s))
        plugged_ns = time.time_ns() + int(sick_s * 1e9)
        await asyncio.sleep(sick_s + 4.0)
        report = await demo.finish()
        healthy = sequences(stored(demo, "environment", "r101-air"))
        silent, unplugged = (stored(demo, "environment", name) for name in ("r102-air", "hall-air"))
        cards = stored(demo, "attendance", "r101-reader")
    promise_kept(report)
    assert len(healthy) >= 10
    assert healthy == list(range(healthy[0], healthy[0] + len(healthy)))
    assert len(cards) >= 2
    for rows, sick in ((silent, "r102-air"), (unplugged, "hall-air")):
        during = [row for row in rows if began_ns + 1e9 < row["time_ns"] < plugged_ns - 0.5e9]
        assert during, sick
        for row in during:
            assert row["co2_bad"] == "timeout", sick
            assert row.get("co2") is None
            assert row.get("sequence") is None
    back_ns = min(row["time_ns"] for row in unplugged if row["time_ns"] > plugged_ns - 0.5e9 and row.get("co2"))
    assert back_ns - plugged_ns < 2e9
