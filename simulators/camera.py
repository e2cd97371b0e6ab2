"""A simulated camera: shows its programme scene by scene and journals it. Needs the extra `camera-sim`."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from simulators.camera_scenes import scene
from simulators.faults import DARK, GARBAGE, HANG, STALL, UNPLUG
from simulators.ledger import SaidScene

if TYPE_CHECKING:
    from simulators.camera_picture import Picture, Studio
    from simulators.camera_scenes import Programme, Scene
    from simulators.faults import Faults
    from simulators.ledger import Journal

COVERED: Final = "covered"
"""In the journal: the scene itself hides everybody."""
OFF: Final = "off"
"""In the journal's last line: the camera was told to stop."""
_FAULTS: Final = (UNPLUG, HANG, STALL, GARBAGE, DARK)
"""The worst first: the journal names one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """One picture to come: it is rendered only when somebody looks."""

    number: int
    """Counts from 0 at the camera's start, without gaps however many are looked at."""
    scene: Scene
    dark: bool
    studio: Studio

    def picture(self) -> Picture:
        """Render it."""
        return self.studio.picture(self.scene, number=self.number, dark=self.dark)


class Outlet(Protocol):
    """How pictures get out: RTSP or HTTP."""

    @property
    def port(self) -> int:
        """The port it listens on."""
        ...

    @property
    def viewers(self) -> int:
        """How many are connected."""
        ...

    async def start(self, group: asyncio.TaskGroup) -> None:
        """Listen and serve. Raises OSError if the address cannot be had."""
        ...

    def show(self, frame: Frame) -> None:
        """Hand a new picture to whoever looks; never waits."""
        ...

    def faults_changed(self) -> None:
        """Look at the faults again."""
        ...

    def close(self) -> None:
        """Stop listening and hang up."""
        ...


class Camera:
    """The camera; a `build.Device`."""

    def __init__(
        self,
        *,
        name: str,
        host: str,
        seed: int,
        programme: Programme,
        scene_s: float,
        fps: int,
        studio: Studio,
        outlet: Outlet,
        faults: Faults,
        journal: Journal,
    ) -> None:
        self.name = name
        self.points: set[str] = set()
        self._host = host
        self._seed = seed
        self._programme = programme
        self._scene_s = scene_s
        self._fps = fps
        self._studio = studio
        self._outlet = outlet
        self._faults = faults
        self._journal = journal
        self._number = 0
        self._scene = self._scene_at(0)
        self._told: tuple[int, bool, str | None] | None = None

    @property
    def endpoint(self) -> str:
        """host:port, an IPv6 host in brackets."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"{host}:{self._outlet.port}"

    @property
    def devices(self) -> dict[str, int]:
        """The camera and the number of its scene."""
        return {self.name: self._scene.n}

    @property
    def is_open(self) -> bool:
        """Whether somebody is connected."""
        return self._outlet.viewers > 0

    async def start(self, group: asyncio.TaskGroup) -> None:
        """Listen and begin the programme; raises OSError if the address cannot be had."""
        await self._outlet.start(group)
        self._show()
        group.create_task(self._run(), name="camera")

    def faults_changed(self) -> None:
        """Tell the outlet and the journal."""
        self._outlet.faults_changed()
        self._tell()

    def close(self) -> None:
        """Go away and say so."""
        self._outlet.close()
        self._tell(OFF)

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        begin_s = loop.time()
        while True:
            await asyncio.sleep(begin_s + (self._number + 1) / self._fps - loop.time())
            # After a standstill the programme goes on where it should be by now.
            self._number = max(self._number + 1, int((loop.time() - begin_s) * self._fps))
            self._show()

    def _show(self) -> None:
        n = self._scene_number(self._number)
        if n != self._scene.n:
            self._scene = self._scene_at(self._number)
        self._tell()
        if not any(self._faults.has(name) for name in (UNPLUG, HANG, STALL)):
            dark = self._faults.has(DARK)
            self._outlet.show(Frame(number=self._number, scene=self._scene, dark=dark, studio=self._studio))

    def _scene_number(self, number: int) -> int:
        # Counted in frames, so that picture k is the same in each run.
        return 1 + number // max(1, round(self._scene_s * self._fps))

    def _scene_at(self, number: int) -> Scene:
        return scene(self._programme, seed=self._seed, name=self.name, n=self._scene_number(number))

    def _tell(self, ended: str | None = None) -> None:
        """Journal what can be seen from now on, if that is something else than before."""
        fault = ended or next((name for name in _FAULTS if self._faults.has(name)), None)
        if fault is None and self._scene.covered:
            fault = COVERED
        dark = self._faults.has(DARK)
        if (self._scene.n, dark, fault) == self._told:
            return
        self._told = (self._scene.n, dark, fault)
        self._journal.write(
            SaidScene(
                device=self.name,
                n=self._scene.n,
                people=len(self._scene.people),
                dark=dark,
                fault=fault,
                at_ns=time.time_ns(),
            )
        )
