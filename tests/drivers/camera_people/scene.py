"""A simulated camera watched as the agent does it, and what it truly showed."""

from __future__ import annotations

import asyncio
import copy
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from device_profiles import load_profile
from drivers.camera_people.driver import CameraPeopleDriver
from drivers.links.camera import CameraLink
from edge_agent.collector import DeviceState, poll
from telemetry.counters import Counters
from telemetry.crowd import told
from tests.drivers.helpers import context, running
from tests.waiting import until

if TYPE_CHECKING:
    from pathlib import Path

    from simulators.held import HeldDevice
    from telemetry.sample import Reason, Sample

PERIOD_S = 0.2
PATIENCE_S = 30.0
"""For what must come at last: on a busy machine a worker alone takes many seconds to start."""
LAG_S = 0.6
"""What a picture may take from the camera's journal to our clock on a busy machine."""
PROFILE = copy.copy(load_profile("camera/people_counter"))
object.__setattr__(PROFILE, "deadline_s", 0.6)  # frozen for everybody else
PASSWORD = "s3cr:t w/ord"  # noqa: S105 - a simulated camera's


class Watch:
    """What the collector got from one camera."""

    def __init__(self, camera: HeldDevice | None) -> None:
        self.camera = camera
        self.samples: list[Sample] = []
        self.counters = Counters()
        self.state = DeviceState(device="r101-camera")
        self.drivers: list[CameraPeopleDriver] = []

    @property
    def pid(self) -> int | None:
        return self.drivers[-1].worker_pid if self.drivers else None

    async def emit(self, sample: Sample) -> None:
        self.samples.append(sample)

    async def next_value(self, *, within_s: float = PATIENCE_S) -> Sample:
        """Return the next sample that knows how many people there are."""
        seen = len(self.samples)
        await until(lambda: any("people" in sample.values for sample in self.samples[seen:]), within_s=within_s)
        return next(sample for sample in self.samples[seen:] if "people" in sample.values)

    async def next_bad(self, *reasons: Reason, within_s: float = PATIENCE_S) -> Sample:
        """Return the next sample that is bad for one of these reasons."""
        seen = len(self.samples)

        def found() -> list[Sample]:
            return [sample for sample in self.samples[seen:] if sample.bad.get("people") in reasons]

        await until(found, within_s=within_s)
        return found()[0]

    def wrong(self) -> list[tuple[float, list[int]]]:
        """Return the values that the camera did not show at their time, each with what it showed."""
        scenes = [line for line in self.camera.said() if line["type"] == "scene"]
        changes = [(line["at_ns"], told(line["people"])) for line in scenes]
        ends = [at_ns for at_ns, _ in changes[1:]] + [time.time_ns()]
        found = []
        for sample in self.samples:
            if "people" not in sample.values:
                continue
            at_ns = sample.acquired_at_ns
            shown = [
                people
                for (from_ns, people), until_ns in zip(changes, ends, strict=True)
                if from_ns <= at_ns and at_ns - until_ns <= LAG_S * 1e9
            ]
            if sample.values["people"] not in shown:
                found.append((sample.values["people"], shown))
        return found


@asynccontextmanager
async def watching(
    camera: HeldDevice,
    folder: Path,
    *,
    password: str = PASSWORD,
    silent_s: float = 5.0,
    deadline_s: float = 0.6,
    **options,
):
    """Yield a Watch; the camera is polled until the block ends."""
    profile = copy.copy(PROFILE)
    object.__setattr__(profile, "deadline_s", deadline_s)
    watch = Watch(camera)
    file = folder / "password"
    file.write_text(password + "\n")
    file.chmod(0o600)
    link = CameraLink(
        "lens",
        watch.counters,
        url=camera.url,
        capture=camera.spec.capture,
        username=camera.spec.username,
        password_file=file if camera.spec.username else None,
    )
    described = context("r101-camera", profile, watch.counters, **{"stalled_s": 0.8, "method": "faces", **options})

    def create():
        watch.drivers.append(CameraPeopleDriver(described, link, silent_s=silent_s))
        return watch.drivers[-1]

    async with running(poll(described, create, watch.emit, watch.state, period_s=PERIOD_S)):
        yield watch
    assert not link.is_open


class Heart:
    """Beats in the event loop; the longest time between two beats shows what kept it."""

    def __init__(self) -> None:
        self.slowest_s = 0.0
        self.beats = 0

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            before = loop.time()
            await asyncio.sleep(0.005)
            self.slowest_s = max(self.slowest_s, loop.time() - before - 0.005)
            self.beats += 1
