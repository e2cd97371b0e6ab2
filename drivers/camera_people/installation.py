"""The check at installation: are the faces wide enough, is there light. It tells numbers, and shows nobody."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Final

from drivers.camera_people.assignment import pack
from drivers.camera_people.options import assignment_of
from drivers.camera_people.process import Worker
from drivers.camera_people.record import State, decode
from telemetry.errors import DeviceUnavailable

if TYPE_CHECKING:
    from drivers.camera_people.options import Options
    from drivers.camera_people.record import Record
    from drivers.links.camera import CameraLink

LEAST_PX: Final = 16
"""So wide the farthest face must be in the network's input: models/README.md says what is found of smaller ones."""
LOOKS: Final = 10
PAUSE_S: Final = 0.5
WAIT_MS: Final = 2000
STARTING_S: Final = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Installation:
    """What some looks at a camera told."""

    looks: int
    counted: int
    """Looks on which people could be counted."""
    people: int | None
    """The median, as it may be told; none if no look was counted."""
    brightness: float | None
    width: int
    height: int
    narrowest_px: float | None
    """Median of the looks' narrowest faces: the farthest person's. None without faces."""
    widest_px: float | None
    states: dict[str, int]
    """Word → looks."""

    @property
    def problem(self) -> str | None:
        """What is to be mended; none if all is well."""
        if not self.counted:
            return f"no picture could be counted ({', '.join(sorted(self.states))}): see to light, lens and connection"
        if self.narrowest_px is None:
            return "no face was seen: let somebody sit in the farthest seat, face to the camera, and check again"
        if self.narrowest_px < LEAST_PX:
            return (
                f"the farthest face is {self.narrowest_px:g} px wide, less than {LEAST_PX}: "
                "go nearer, take a longer lens or a larger picture, or raise input_width"
            )
        return None


async def check_installation(options: Options, link: CameraLink, *, looks: int = LOOKS) -> Installation:
    """Look `looks` times. Raises DeviceUnavailable if the worker fails, AuthError, ProtocolError."""
    worker = await Worker.start(pack(assignment_of(options, link, measure=True)))
    records: list[Record] = []
    try:
        async with asyncio.timeout(STARTING_S + looks * (PAUSE_S + WAIT_MS / 1000)):
            while len(records) < looks:
                records.append(decode(await worker.answer(wait_ms=WAIT_MS)))
                await asyncio.sleep(PAUSE_S)
    except TimeoutError:
        raise DeviceUnavailable("the camera's worker does not answer", timed_out=True) from None
    finally:
        await worker.stop()
    return summed(records)


def summed(records: list[Record]) -> Installation:
    """Return what the records say together."""
    counted = [record for record in records if record.state is State.COUNTED]
    seen = [record for record in records if record.brightness is not None]
    narrow = [record.narrowest_px for record in counted if record.narrowest_px is not None]
    wide = [record.widest_px for record in counted if record.widest_px is not None]
    states: dict[str, int] = {}
    for record in records:
        states[record.state.name.lower()] = states.get(record.state.name.lower(), 0) + 1
    return Installation(
        looks=len(records),
        counted=len(counted),
        people=int(median(record.people or 0 for record in counted)) if counted else None,
        brightness=round(median(record.brightness or 0.0 for record in seen), 4) if seen else None,
        width=seen[-1].width if seen else 0,
        height=seen[-1].height if seen else 0,
        narrowest_px=median(narrow) if narrow else None,
        widest_px=median(wide) if wide else None,
        states=states,
    )
