"""A camera: how fast the worker looks at a picture, what memory it needs, and what the agent's event loop feels of it.

The pictures are a simulated camera's, 640x480 by RTSP (H.264, five a second). Speed: both shipped models on one thread,
from a JPEG to the number of people. Memory: the peak of the worker process on the real stream, by the kernel.
The face model alone, one pass without decoding, has a row of its own: that is `method = "faces"`.
Delay: a heartbeat each 5 ms in a process that runs the real driver, polled as the agent does it. Each round kills the
worker once, so that starting one is in it; of three rounds the quietest counts: what other programs on the machine do
to a round is not ours, and what we do is in each. The same process's bare loop, measured the same way, stands beside.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from benchmarks import _stage

if TYPE_CHECKING:
    from telemetry.sample import Sample

# Before onnxruntime is imported, which would tell its maker about this machine.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

PICTURES: Final = 30
SIZES: Final = ((640, 480), (1280, 720))
ROUNDS: Final = 3
ROUND_S: Final = 10.0
PERIOD_S: Final = 1.0
BEAT_S: Final = 0.005
_CHILD: Final = """
import asyncio, json, sys
from benchmarks.camera import delays
print(json.dumps(asyncio.run(delays(sys.argv[1]))))
"""


def _medians_ms() -> dict[str, float]:
    """Return how long the worker takes for a picture, by its method and the picture's size, in ms.

    Decoding a JPEG, light, cover and motion, all models, and fusion are in it.
    """
    import cv2  # noqa: PLC0415 - the event loop's child has no use for it
    import numpy as np  # noqa: PLC0415

    from drivers.camera_people.worker.counting import FUSED, counter_of  # noqa: PLC0415
    from drivers.camera_people.worker.pictures import brightness_of  # noqa: PLC0415
    from drivers.camera_people.worker.surface import Surface  # noqa: PLC0415
    from simulators.camera_picture import Studio  # noqa: PLC0415
    from simulators.camera_scenes import PROGRAMMES, scene  # noqa: PLC0415

    cv2.setNumThreads(1)
    studio = Studio(seed=1, name="bench")
    scenes = [scene(PROGRAMMES["rooms"], seed=1, name="bench", n=n) for n in range(1, 6)]
    pictures = [studio.picture(shown, number=shown.n)[:, :, ::-1] for shown in scenes]
    counter, surface = counter_of(method=FUSED, input_width=640, face_threshold=0.35, people_threshold=0.5), Surface()
    found = {}
    for width, height in SIZES:
        sized = [cv2.resize(np.ascontiguousarray(picture), (width, height)) for picture in pictures]
        jpegs = [np.asarray(cv2.imencode(".jpg", picture)[1]) for picture in sized]
        took = []
        for number in range(PICTURES + 5):
            started = time.perf_counter()
            picture = np.asarray(cv2.imdecode(jpegs[number % len(jpegs)], cv2.IMREAD_COLOR), np.uint8)
            brightness_of(picture)
            surface.look(picture)
            counter.count(picture)
            took.append(time.perf_counter() - started)
        found[f"{width}x{height}"] = 1000 * sorted(took[5:])[PICTURES // 2]
    return found


def _passes_per_s() -> float:
    """Return how many 640x480 pictures a second the face model alone looks at, on one thread; the median pass."""
    from drivers.camera_people.worker.counting import counter_of  # noqa: PLC0415
    from simulators.camera_picture import Studio  # noqa: PLC0415
    from simulators.camera_scenes import PROGRAMMES, scene  # noqa: PLC0415

    shown = scene(PROGRAMMES["lesson"], seed=1, name="bench", n=1)
    picture = Studio(seed=1, name="bench").picture(shown, number=1)[:, :, ::-1]
    counter = counter_of(method="faces", input_width=640, face_threshold=0.5, people_threshold=0.5)
    took = []
    for _ in range(PICTURES + 5):
        started = time.perf_counter()
        counter.count(picture)
        took.append(time.perf_counter() - started)
    return 1 / sorted(took[5:])[PICTURES // 2]


async def _worst_s(seconds: float) -> float:
    """Beat in the event loop for so long; return the worst delay of a beat."""
    loop = asyncio.get_running_loop()
    end, worst_s = loop.time() + seconds, 0.0
    while (before := loop.time()) < end:
        await asyncio.sleep(BEAT_S)
        worst_s = max(worst_s, loop.time() - before - BEAT_S)
    return worst_s


async def delays(url: str) -> dict[str, float]:
    """Return the bare loop's worst delay, the worst with a camera, both in ms, and the worker's peak memory in MB."""
    from device_profiles import load_profile  # noqa: PLC0415 - this is the child's own process
    from drivers.camera_people.driver import CameraPeopleDriver  # noqa: PLC0415
    from drivers.links.camera import CameraLink  # noqa: PLC0415
    from edge_agent.collector import DeviceState, poll  # noqa: PLC0415
    from telemetry.counters import Counters  # noqa: PLC0415
    from telemetry.driver import DeviceContext  # noqa: PLC0415

    bare_s = min([await _worst_s(ROUND_S / 2) for _ in range(ROUNDS)])
    profile, counters = load_profile("camera/people_counter"), Counters()
    context = DeviceContext(
        device="camera", profile=profile, options=profile.options, now_ns=time.time_ns, counters=counters
    )
    link = CameraLink("lens", counters, url=url, capture="rtsp")
    drivers: list[CameraPeopleDriver] = []
    samples: list[Sample] = []

    def create() -> CameraPeopleDriver:
        drivers.append(CameraPeopleDriver(context, link))
        return drivers[-1]

    async def emit(sample: Sample) -> None:
        samples.append(sample)

    polling = asyncio.create_task(
        poll(context, create, emit, DeviceState(device="camera"), period_s=PERIOD_S), name="camera"
    )
    await asyncio.sleep(ROUND_S / 2)
    peak_mb = _stage.peak_rss_mb(drivers[-1].worker_pid or 0)
    worst_s = []
    for _ in range(ROUNDS):
        os.kill(drivers[-1].worker_pid or 0, signal.SIGKILL)
        worst_s.append(await _worst_s(ROUND_S))
    polling.cancel()
    await asyncio.gather(polling, return_exceptions=True)
    good = sum("people" in sample.values for sample in samples)
    if good < 0.6 * ROUNDS * ROUND_S / PERIOD_S:
        raise RuntimeError(f"only {good} good readings in {ROUNDS * ROUND_S:g} s: {counters.snapshot()}")
    return {"bare_ms": 1000 * bare_s, "ms": 1000 * min(worst_s), "mb": peak_mb}


def run() -> list[dict[str, Any]]:
    """Return the figures."""
    medians, passes_per_s = _medians_ms(), _passes_per_s()
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="campus-bench-")))
        camera = stack.enter_context(_stage.device("camera", "--capture", "rtsp", log=folder / "camera.log"))
        child = [sys.executable, "-c", _CHILD, camera["url"]]
        ended = subprocess.run(child, check=True, stdout=subprocess.PIPE, timeout=120)
    found = json.loads(ended.stdout)
    return [
        _stage.at_least(
            "camera, single pass of the face model at 640x480 on one thread", passes_per_s, "pictures/s", 10
        ),
        *(
            _stage.no_more_than(
                f"camera, full cycle at {size} on one thread (decode, 3x3 tiles, fusion)", ms, "ms", 400
            )
            for size, ms in medians.items()
        ),
        _stage.no_more_than("camera's worker with both models, RTSP 640x480: peak memory", found["mb"], "MB", 220),
        _stage.no_more_than(
            "agent's event loop with a camera whose worker is killed, worst delay", found["ms"], "ms", 20
        ),
        {"name": "the same loop without one", "figure": round(found["bare_ms"], 3), "unit": "ms"}
        | {"limit": None, "ratio": None},
    ]


if __name__ == "__main__":
    for row in run():
        print(row)
