"""Puts a camera together: studio, programme and the outlet of its kind. Needs the extra `camera-sim`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from simulators.camera import Camera, Outlet
from simulators.camera_auth import Login
from simulators.camera_http import HttpOutlet
from simulators.camera_picture import Studio
from simulators.camera_rtsp import RtspOutlet
from simulators.camera_scenes import PROGRAMMES, scene
from simulators.spec import CAMERA_URLS

if TYPE_CHECKING:
    import random

    from simulators.faults import Faults
    from simulators.ledger import Journal
    from simulators.spec import DeviceSpec
    from telemetry.counters import Counters


def camera_of(spec: DeviceSpec, *, rng: random.Random, faults: Faults, journal: Journal, counters: Counters) -> Camera:
    """Return the camera of a checked `spec`, not yet started."""
    studio = Studio(seed=spec.seed, name=spec.name)
    return Camera(
        name=spec.name,
        host=spec.host,
        seed=spec.seed,
        programme=PROGRAMMES[spec.scene],
        scene_s=spec.scene_s,
        fps=spec.fps,
        studio=studio,
        outlet=_outlet(spec, studio, rng=rng, faults=faults, journal=journal, counters=counters),
        faults=faults,
        journal=journal,
    )


def _outlet(
    spec: DeviceSpec, studio: Studio, *, rng: random.Random, faults: Faults, journal: Journal, counters: Counters
) -> Outlet:
    if spec.capture == "rtsp":
        first = scene(PROGRAMMES[spec.scene], seed=spec.seed, name=spec.name, n=1)
        return RtspOutlet(
            name=spec.name,
            host=spec.host,
            port=spec.port,
            fps=spec.fps,
            sample=studio.picture(first, number=0),
            login=Login(username=spec.username, password=spec.password, algorithm=spec.digest),
            offers_audio=spec.offers_audio,
            max_connections=spec.max_connections,
            rng=rng,
            faults=faults,
            journal=journal,
            counters=counters,
        )
    _scheme, path = CAMERA_URLS[spec.capture]
    return HttpOutlet(
        host=spec.host,
        port=spec.port,
        capture=spec.capture,
        path=path,
        login=Login(username=spec.username, password=spec.password, algorithm=spec.digest, basic=True),
        max_connections=spec.max_connections,
        rng=rng,
        faults=faults,
        counters=counters,
    )
