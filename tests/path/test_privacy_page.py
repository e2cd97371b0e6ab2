"""What leaves is what the privacy page and the data map say: every batch of a whole demo against both."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import unicodedata
from collections import Counter
from typing import TYPE_CHECKING, Any

from device_profiles import load_profile, profile_ids
from simulators.demo.options import DemoOptions
from simulators.demo.orchestra import Demo
from simulators.demo.scene import VITALS
from simulators.demo.truth import journals
from simulators.ledger import read_beats
from telemetry.batch import Batch, decode_batch
from tests.path.test_faults import promise_kept
from tests.waiting import until
from tools import data_map

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

SECONDS = 10.0
COUNTED_S = 20.0
"""How many bands are there is told each ten seconds; on a busy machine that may take longer."""
HEAD = b'{"schema":"campus.batch/1"'
Told = tuple[str, str, str]
"""Class, purpose, point."""


def batches(tap: Path) -> Iterator[Batch]:
    """Yield each batch that was on the broker, once."""
    known = set()
    for line in tap.read_bytes().split(b"\n"):
        at = line.find(HEAD)
        if at < 0 or not line.endswith(b"}"):
            continue  # not a batch, or one that is just being written
        batch = decode_batch(line[at:])
        if (batch.epoch, batch.number) not in known:
            known.add((batch.epoch, batch.number))
            yield batch


def told_by(heard: Iterable[Batch]) -> set[Told]:
    """Return what the batches tell, each point with the class under which it left and its profile's purpose."""
    told: set[Told] = set()
    for batch in heard:
        for block in batch.devices:
            purposes = {point.name: point.purpose for point in load_profile(block.profile.partition("@")[0]).points}
            names = {name for sample in block.samples for name in (*sample.values, *(sample.bad or {}))}
            told |= {(str(batch.data_class), purposes[name], name) for name in names}
    return told


def heard_by(demo: Demo) -> set[Told]:
    demo.tap.flush()
    return told_by(batches(demo.options.data / "mqtt.tap"))


def page_of(config: Path, *options: str) -> str:
    command = [sys.executable, "-m", "edge_agent", "privacy", "show", "--config", str(config), *options]
    return subprocess.run(command, capture_output=True, check=True, timeout=30, text=True).stdout


def unsaid(demo: Demo) -> set[str]:
    """Return the points of bands that no band of the scene ever says."""
    said = {
        name for path in journals(demo.said, demo.scene, VITALS) for beat in read_beats(path) for name in beat.values
    }
    profiles = {device.profile for device in demo.scene.scenario.devices if demo.scene.kinds[device.name] == VITALS}
    points = {point.name for profile in profiles for point in load_profile(profile).points}
    return points - said - {"bands_seen"}


async def test_what_leaves_is_what_the_page_and_the_map_say(tmp_path: Path) -> None:
    async with Demo(DemoOptions(data=tmp_path / "data")) as demo:
        await asyncio.sleep(SECONDS)
        await until(lambda: ("group", "pe_lesson", "bands_seen") in heard_by(demo), within_s=COUNTED_S)
        report = await demo.finish()
        silent = unsaid(demo)
    promise_kept(report)
    heard = list(batches(tmp_path / "data" / "mqtt.tap"))
    samples = Counter[str]()
    for batch in heard:
        for block in batch.devices:
            samples[block.measurement] += len(block.samples)
    assert samples == demo.tap.published
    assert set(samples) == {"gateway", "environment", "occupancy", "vitals", "attendance"}
    published = told_by(heard)

    config = tmp_path / "data" / "agent" / "agent.toml"
    page: dict[str, Any] = json.loads(page_of(config, "--json"))
    assert (page["schema"], page["site"]) == ("campus.privacy-page/1", demo.site.name)
    listed = {
        (row["data_class"], row["purpose"], point) for row in page["rows"] if row["leaves"] for point in row["points"]
    }
    assert published <= listed
    assert {point for _, _, point in listed - published} == silent
    assert not silent & {"heart_rate", "energy"}

    entries = data_map.entries(load_profile(profile) for profile in profile_ids())
    mapped = {(str(entry.data_class), entry.purpose, name) for entry in entries for name, _ in entry.points}
    assert published <= mapped
    lines = data_map.table(entries, "zh").splitlines()
    for data_class, purpose, point in published:
        assert any(all(f"`{word}`" in line for word in (data_class, purpose, point)) for line in lines)

    shown = page_of(config, "--lang", "zh").splitlines()
    assert len(shown) <= 50
    assert max(sum(2 if unicodedata.east_asian_width(one) in "WF" else 1 for one in line) for line in shown) <= 100
    leaves = "\n".join(shown).partition("离开本网关的数据")[2].partition("留在本地")[0]
    assert all(point in leaves for _, _, point in published)
