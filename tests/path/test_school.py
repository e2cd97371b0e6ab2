"""The school with bands and cameras: what is said is stored or accounted for; whoever is sick stops nobody else."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simulators.control import Request
from simulators.demo.options import DemoOptions
from simulators.demo.orchestra import Demo
from tests.path.test_faults import promise_kept, sequences, stored
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    RunDemo = Callable[..., tuple[int, dict[str, Any]]]

RADIO, BANDS = "gym-radio", "gym-bands"
RECOVERED_S = 10.0


def test_without_a_rule_for_vitals_no_heart_rate_leaves(run_demo: RunDemo) -> None:
    code, report = run_demo("--seconds", "12", "--no-vitals")
    assert (code, report["reasons"]) == (0, [])
    vitals = report["families"]["vitals"]
    assert vitals["stored"] == vitals["leaked"] == vitals["aggregates"] == 0
    assert vitals["withheld"]["class_not_allowed"] > 200
    assert report["withheld_by_agent"]["sensitive.class_not_allowed"] >= vitals["withheld"]["class_not_allowed"]
    assert report["families"]["attendance"]["stored"] > 0
    assert report["first_stored_by_family_s"]["vitals"] is None


def test_a_bands_address_on_the_way_turns_it_red(run_demo: RunDemo) -> None:
    code, report = run_demo("--seconds", "8", "--sabotage", "leak-band")
    assert (code, report["verdict"]) == (1, "red")
    assert any(leak.startswith("address of band") and "mqtt.tap" in leak for leak in report["leaks"])


async def test_kill_9_of_the_agent_among_bands_loses_nothing(tmp_path: Path) -> None:
    async with Demo(DemoOptions(data=tmp_path / "data")) as demo:
        for _ in range(2):
            await asyncio.sleep(4.0)
            await demo.kill("agent")
            await demo.start_process("agent")
        await asyncio.sleep(4.0)
        report = await demo.finish()
    promise_kept(report)
    assert report.families["vitals"]["younger_than_w"] <= 2 * 48 * 2
    assert report.families["vitals"]["stored"] > 200


async def heard_since(demo: Demo, device: str, at_ns: int) -> None:
    """Return when something of `device` that was acquired after `at_ns` has been published."""
    async with asyncio.timeout(RECOVERED_S):
        while demo.tap.latest.get(device, (0, {}))[0] <= at_ns:  # noqa: ASYNC110 - the tap has no event for it
            await asyncio.sleep(0.05)


def readings(rows: list[dict[str, Any]]) -> Mapping[str, list[tuple[int, int]]]:
    """Subject → (number of the reading, time), in the order of time."""
    found: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: row["time_ns"]):
        if row.get("subject"):
            found[row["subject"]].append((round(row["energy"] * 3600), row["time_ns"]))
    return found


def without_gap(numbers: list[int]) -> bool:
    return numbers == list(range(numbers[0], numbers[0] + len(numbers)))


async def test_pain_13_a_hanging_adapter_is_heard_again_and_the_others_have_no_gap(tmp_path: Path) -> None:
    sick_s = 4.0
    async with Demo(DemoOptions(data=tmp_path / "data", unobserved_share=0.9)) as demo:
        await asyncio.sleep(3.0)
        await demo.ask(RADIO, Request(op="fault", fault="hang", seconds=sick_s))
        well_ns = time.time_ns() + int(sick_s * 1e9)
        await asyncio.sleep(sick_s)
        await heard_since(demo, BANDS, well_ns)
        await asyncio.sleep(2.0)
        report = await demo.finish()
        vitals = readings(stored(demo, "vitals", BANDS))
        air = [sequences(stored(demo, "environment", name)) for name in ("r101-air", "r102-air", "hall-air")]
    promise_kept(report)
    assert all(without_gap(numbers) and len(numbers) > 5 for numbers in air)
    assert len(vitals) == 45
    back_ns = [min(at_ns for _, at_ns in series if at_ns > well_ns) for series in vitals.values()]
    assert max(back_ns) - well_ns < RECOVERED_S * 1e9


async def test_a_band_that_vanishes_is_heard_again_and_the_others_have_no_gap(tmp_path: Path) -> None:
    gone_s = 3.0
    async with Demo(DemoOptions(data=tmp_path / "data", unobserved_share=0.5)) as demo:
        wearer = demo.scene.bands[6]
        await asyncio.sleep(3.0)
        await demo.ask(RADIO, Request(op="fault", fault="vanish", device=wearer.band.name, seconds=gone_s))
        back_ns = time.time_ns() + int(gone_s * 1e9)
        await asyncio.sleep(gone_s + 3.0)
        report = await demo.finish()
        vitals = readings(stored(demo, "vitals", BANDS))
        air = sequences(stored(demo, "environment", "r101-air"))
        handle = demo.site.band(wearer.identifier)
    promise_kept(report)
    assert without_gap(air)
    gaps = {subject for subject, series in vitals.items() if not without_gap([number for number, _ in series])}
    assert (len(vitals), gaps) == (45, {handle})
    assert min(at_ns for _, at_ns in vitals[handle] if at_ns > back_ns) - back_ns < RECOVERED_S * 1e9


def workers(demo: Demo) -> list[int]:
    """Process ids of the cameras' workers, from /proc."""
    popen = demo.processes["agent"].popen
    assert popen is not None
    children = Path(f"/proc/{popen.pid}/task/{popen.pid}/children").read_text().split()
    return [int(pid) for pid in children if b"camera_people" in Path(f"/proc/{pid}/cmdline").read_bytes()]


def counted_since(demo: Demo, camera: str, at_ns: int) -> bool:
    """Whether the last that was published of the camera is a count, and newer."""
    seen_ns, told = demo.tap.latest.get(camera, (0, {}))
    return seen_ns > at_ns and isinstance(told.get("people"), float | int)


def counted_ns(demo: Demo, camera: str) -> list[int]:
    return [row["time_ns"] for row in stored(demo, "occupancy", camera) if row.get("people") is not None]


async def test_pain_18_a_stalled_stream_and_a_killed_worker_are_back_and_the_others_have_no_gap(tmp_path: Path) -> None:
    stalled_s = 6.0
    async with Demo(DemoOptions(data=tmp_path / "data", unobserved_share=0.5)) as demo:
        await asyncio.sleep(6.0)
        await demo.ask("r101-lan", Request(op="fault", fault="stall", seconds=stalled_s))
        well_ns = time.time_ns() + int(stalled_s * 1e9)
        await asyncio.sleep(stalled_s)
        await heard_since(demo, "r101-camera", well_ns)
        await asyncio.sleep(2.0)
        killed_ns = time.time_ns()
        killed = workers(demo)
        assert len(killed) == 2
        for pid in killed:
            os.kill(pid, signal.SIGKILL)
        cameras = ("r101-camera", "r102-camera")
        await until(lambda: all(counted_since(demo, name, killed_ns) for name in cameras), within_s=RECOVERED_S)
        assert len(set(workers(demo)) - set(killed)) == 2
        report = await demo.finish()
        counts = {name: counted_ns(demo, name) for name in ("r101-camera", "r102-camera")}
        reasons = {row.get("people_bad") for row in stored(demo, "occupancy", "r101-camera")}
        air = [sequences(stored(demo, "environment", name)) for name in ("r101-air", "r102-air", "hall-air")]
        bands = readings(stored(demo, "vitals", BANDS))
    promise_kept(report)
    assert "stale" in reasons
    assert not reasons & {"dark", "decode"}
    assert min(at for at in counts["r101-camera"] if at > well_ns) - well_ns < RECOVERED_S * 1e9
    for name, times in counts.items():
        assert min(at for at in times if at > killed_ns) - killed_ns < RECOVERED_S * 1e9, name
    assert all(without_gap(numbers) and len(numbers) > 10 for numbers in air)
    assert all(without_gap([number for number, _ in series]) for series in bands.values())
